"""Posts like those of the published data set: their hashtags alone predict the scores about as well as they do there.

In the plain demo every hashtag is drawn for its image, so those of a post that agree with each other are the ones that
fit. Here a post has 1 to 30 hashtags, which tend to begin with the best. Longer posts have more that do not fit; these
belong to a second topic that the image does not show, or are popular anywhere. Some posts are scored higher or lower as
a whole, as their style suggests. The constants were chosen on draws 1, 2, 11 and 12 so that controls that see no image
reach about the same QWK as on the published table (`python -m benchmarks.controls`).
"""

import math
import random
from bisect import bisect

from consistency.data.hashtags import hashtag_identity
from demo.vocabulary import CONCEPTS, GENERIC, SUFFIXES, Content, clean_score, sample_content

IMAGES = 172
# Number of distinct hashtags of a post at these quantiles of the published table.
QUANTILES = (0, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 1)
SIZES = (1, 3, 5, 5, 7.5, 14.25, 22.8, 26.45, 30)
TYPICAL_SIZE = 7.8
SCORE_WEIGHTS = {1: 1.5, 2: 7, 3: 15, 4: 29, 5: 57}  # in a post of typical size
TILT = 0.36  # how much rarer a higher score gets in a post that is e times as long, on the logarithmic scale
SECOND_TOPIC, POPULAR = 3, 5.5  # how many times as frequent its hashtags and generic ones are as others of their score
BEST_FIRST, FADING = 1.6, 0.62  # preference for a higher score at the first position, and its factor for each next one
MOVED = 0.22  # share of scores that are moved by one
LEANING, LEANT = 0.25, 0.6  # share of posts that lean up, and down; share of their scores that are moved that way
TWICE = 0.13  # share of posts that are in the table twice
NUMBER_SIGN = 0.58  # share of posts whose hashtags begin with #
SUFFIXED = 0.6
REACH, REACH_BELOW_FOUR, REACH_OF_LEAN = 0.17, 0.34, 0.18  # share of suffixes that promote; less in posts that lean up
PROMOTING = (
    ("이벤트", "챌린지", "소통", "맞팔", "스타", "그램데일리")
    + ("kr", "정보", "꿀팁", "오늘", "필수", "tok")
)  # fmt: skip
DESCRIBING = (
    *SUFFIXES, "맛집", "투어", "모음", "타임", "러버", "생활", "코스", "명소", "후기", "풍경", "나들이", "놀이", "2024",
    "스냅", "룩", "취미", "산책", "힐링", "준비", "부자", "메이트", "클럽", "하기", "좋아", "감성샷", "핫플", "가이드",
    "아카이브",
)  # fmt: skip


def sample_post(content: Content, rng: random.Random) -> list[tuple[str, int, int]]:
    """Draw the hashtags of an image in their order.

    Parameters
    ----------
    content : Content
        What the image shows.
    rng : random.Random
        Source of randomness.

    Returns
    -------
    list of (str, int, int)
        Hashtag, score and clean score (1 to 5); distinct hashtags, or all of them twice.
    """
    size = _size(rng)
    lean = rng.choices((-1, 0, 1), (LEANING, 1 - 2 * LEANING, LEANING))[0]
    sign = "#" if rng.random() < NUMBER_SIGN else ""
    found: dict[str, tuple[str, int]] = {}
    choices = _choices(content, sample_content(rng), size)
    concepts, weights = list(choices), list(choices.values())
    while len(found) < size:
        concept = rng.choices(concepts, weights)[0]
        clean = clean_score(content, concept)
        hashtag = sign + _worded(concept, clean, lean, rng)
        found.setdefault(hashtag_identity(hashtag), (hashtag, clean))
    rows = [(hashtag, _scored(clean, lean, rng), clean) for hashtag, clean in _ordered(list(found.values()), rng)]
    return rows * 2 if rng.random() < TWICE else rows


def _size(rng: random.Random) -> int:
    """Number of distinct hashtags, distributed as in the published table."""
    at = rng.random()
    above = bisect(QUANTILES, at)
    low, high = QUANTILES[above - 1 : above + 1]
    share = (at - low) / (high - low)
    return round(SIZES[above - 1] * (1 - share) + SIZES[above] * share)


def _choices(content: Content, second: Content, size: int) -> dict[str | None, float]:
    """Weight of each concept (None: generic) for a post of `size` hashtags with a second topic."""
    tilt = TILT * math.log(size / TYPICAL_SIZE)
    by_score: dict[int, dict[str | None, float]] = {}
    for concept in (*CONCEPTS, None):
        weight = POPULAR if concept is None else SECOND_TOPIC if concept in second.concepts else 1
        by_score.setdefault(clean_score(content, concept), {})[concept] = weight
    return {
        concept: SCORE_WEIGHTS[score] * math.exp(-tilt * score) * weight / sum(weights.values())
        for score, weights in by_score.items()
        for concept, weight in weights.items()
    }


def _worded(concept: str | None, clean: int, lean: int, rng: random.Random) -> str:
    text = rng.choice(GENERIC if concept is None else CONCEPTS[concept])
    if rng.random() >= SUFFIXED:
        return text
    promoting = (REACH if clean > 3 else REACH_BELOW_FOUR) - REACH_OF_LEAN * lean
    return text + rng.choice(PROMOTING if rng.random() < promoting else DESCRIBING)


def _ordered(hashtags: list[tuple[str, int]], rng: random.Random) -> list[tuple[str, int]]:
    """Hashtags with their clean scores, where high scores tend to come first."""
    left = list(hashtags)
    ordered: list[tuple[str, int]] = []
    while left:
        preference = BEST_FIRST * FADING ** len(ordered)
        chosen = rng.choices(range(len(left)), [math.exp(preference * clean) for _, clean in left])[0]
        ordered.append(left.pop(chosen))
    return ordered


def _scored(clean: int, lean: int, rng: random.Random) -> int:
    """The score of a hashtag: the clean one, moved as the post leans or at random."""
    move = 0
    if lean and rng.random() < LEANT:
        move = lean
    elif rng.random() < MOVED:
        move = rng.choice((-1, 1))
    return min(5, max(1, clean + move))
