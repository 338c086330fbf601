"""Pair tables without files."""

from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from consistency.data.pairs import PairTable


def make_table(images: list[str], hashtags: list[str], scores: list[int]) -> PairTable:
    return PairTable(
        rows=np.arange(1, len(scores) + 1),
        images=np.array(images, dtype=object),
        hashtags=np.array(hashtags, dtype=object),
        scores=np.array(scores, dtype=np.int64),
        path=Path("pairs.csv"),
        digest="",
        skipped=(),
    )


def realistic_table(images: int = 172, rows: int = 1800, seed: int = 0) -> PairTable:
    """Skewed scores that depend on the image, as many rows per image as chance gives."""
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(12 * np.array([0.04, 0.1, 0.16, 0.27, 0.43]), size=images)
    owner = np.r_[np.arange(images), rng.integers(0, images, rows - images)]
    scores = [int(rng.choice(5, p=shares[image])) + 1 for image in owner]
    return make_table([f"{image}.png" for image in owner], [f"#tag{i}" for i in range(rows)], scores)


@st.composite
def tables(draw: st.DrawFn, *, least_images: int = 2) -> PairTable:
    """A random table of few images, few hashtags and many repeats, whose scores agree."""
    images = draw(st.integers(least_images, 9))
    cells = st.tuples(st.integers(0, images - 1), st.integers(0, 6))
    pairs = [(image, 0) for image in range(images)] + draw(st.lists(cells, max_size=60))
    pairs = draw(st.permutations(pairs))
    scores = draw(st.lists(st.integers(1, 5), min_size=7 * images, max_size=7 * images))
    tags = ["#맛집", "맛집 ", "카페", "韓国", "☕", "x", "#x"]
    hashtag = [0, 0, 2, 3, 4, 5, 5]  # two of them in two spellings, which share their score
    return make_table(
        [f"{image}.jpg" for image, _ in pairs],
        [tags[tag] for _, tag in pairs],
        [scores[7 * image + hashtag[tag]] for image, tag in pairs],
    )
