"""Drawn posts: hashtags of themes, whose scores tell how many hashtags of the post share their theme."""

import numpy as np
import numpy.typing as npt

WORDS = (
    ("바다", "해변", "바닷가", "바다여행"),
    ("카페", "동네카페", "커피", "커피숍"),
    ("맛집", "한식맛집", "점심", "점심맛집"),
    ("가을", "가을날", "단풍", "단풍여행"),
)
Posts = tuple[npt.NDArray[np.object_], npt.NDArray[np.object_], npt.NDArray[np.int64]]


def drawn_posts(posts: int = 40, size: int = 8, seed: int = 0) -> Posts:
    """The post, the hashtag and the class of each row; every post is about one theme, and has hashtags of others."""
    rng = np.random.default_rng(seed)
    names, hashtags, labels = [], [], []
    for post in range(posts):
        theme = int(rng.integers(len(WORDS)))
        for _ in range(size):
            fits = rng.random() < 0.6
            of = theme if fits else int(rng.integers(len(WORDS)))
            words = WORDS[of]
            names.append(f"{post}.png")
            hashtags.append("#" * int(rng.integers(2)) + words[int(rng.integers(len(words)))])
            labels.append(int(np.clip((4 if of == theme else 1) + rng.integers(-1, 2), 0, 4)))
    return np.array(names, dtype=object), np.array(hashtags, dtype=object), np.array(labels)
