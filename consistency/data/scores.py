"""Turns the labels of a table into scores from 1 to 5, and recognises tables that are labelled on another scale."""

import re
import reprlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from consistency.errors import DataError, InputError
from consistency.options import Aggregate
from consistency.text import listed

ALLOWED_SHARE = 0.05  # of the rows that may be left out for their label before the table is refused
SHOWN = 8

_SCORE = re.compile(r" *([1-5])(?:\.0+)? *")
_SEVERAL = re.compile(r"[1-5](?:[ ,;/|]+[1-5])+")
_WHOLE = re.compile(r"(-?[0-9]{1,9})(?:\.0+)?")


def parse_score_map(text: str) -> dict[str, int]:
    """Read a mapping of labels to scores, as `--score-map` takes it.

    Parameters
    ----------
    text : str
        Pairs `LABEL=SCORE` separated by commas, for example `0=1,1=2,2=3,3=4,4=5` or `low=1,mid=3,high=5`.

    Returns
    -------
    dict of str to int
        The score, 1 to 5, of each label; a label is without surrounding space, and `4.0` is `4`.

    Raises
    ------
    InputError
        If a pair is not of this form, a label comes twice, or a score is not a whole number from 1 to 5.
    """
    scores: dict[str, int] = {}
    for pair in text.split(","):
        label, equals, score = pair.rpartition("=")
        if not equals or not label.strip():
            raise InputError(f"--score-map has {pair!r}, expected LABEL=SCORE pairs such as 0=1,1=2 or low=1,high=5")
        if score.strip() not in ("1", "2", "3", "4", "5"):
            raise InputError(f"--score-map gives {label.strip()!r} the score {score!r}, expected 1, 2, 3, 4 or 5")
        if plain_label(label) in scores:
            raise InputError(f"--score-map has the label {label.strip()!r} twice: give it one score")
        scores[plain_label(label)] = int(score)
    return scores


def plain_label(text: str) -> str:
    """A label as it is looked up: without surrounding space, whole numbers without decimals."""
    text = text.strip()
    return str(int(match[1])) if (match := _WHOLE.fullmatch(text)) else text


def score_of(text: str, score_map: Mapping[str, int] | None = None) -> int:
    """The score 1 to 5 of a label, 0 where it has none.

    Without `score_map` a label is a whole number in ASCII digits, perhaps with decimals of 0 and surrounding spaces.
    """
    if score_map is not None:
        return score_map.get(plain_label(text), 0)
    match = _SCORE.fullmatch(text)
    return int(match[1]) if match else 0


def aggregate(scores: Sequence[int], how: Aggregate) -> int:
    """The median or the mean of several people's scores, halves rounded up; 0 if there is none (0 stands for none)."""
    ordered = sorted(score for score in scores if score)
    if not ordered:
        return 0
    if how == "mean":
        return (2 * sum(ordered) + len(ordered)) // (2 * len(ordered))
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2] + 1) // 2


class Rated(NamedTuple):
    """Several people's scores of a pair (0 for none), their aggregate, and the first label that is no score."""

    scores: tuple[int, ...]
    score: int
    unused: str


def rate(labels: Sequence[str], score: Callable[[str], int], how: Aggregate) -> Rated:
    """Read the labels that several people gave a pair, empty for none; `score` gives the score of a label, or 0.

    A label that is no score leaves the pair without one.
    """
    texts = [label.strip() for label in labels]
    scores = tuple(score(text) if text else 0 for text in texts)
    unused = next((text for text, found in zip(texts, scores, strict=True) if text and not found), "")
    return Rated(scores, 0 if unused else aggregate(scores, how), unused)


def check_raters(columns: Sequence[str], *, split: bool) -> None:
    """Refuse columns of scores that are named twice, or several of them where cells are split into hashtags."""
    if len(set(columns)) < len(columns) or not columns:
        raise InputError(f"--score-column names {', '.join(columns) or 'nothing'}: expected different columns")
    if split and len(columns) > 1:
        raise InputError(
            f"--split-hashtags reads one column of scores, but --score-column names {len(columns)}: "
            f"{', '.join(columns)}"
        )


def score_fault(text: str, score_map: Mapping[str, int] | None = None) -> str:
    """Why a label that has no score is not used."""
    if score_map is not None:
        return f"score {reprlib.repr(text)} is not in --score-map"
    return f"score {reprlib.repr(text)}, expected a whole number from 1 to 5"


def describe_scale(unused: Mapping[str, int], used: Sequence[int]) -> str | None:
    """The scale of a table that is not labelled 1 to 5, in words with the option that maps it; None where it is.

    Labels are on another scale if whole numbers beyond 1 to 5 make up more than ALLOWED_SHARE of the rows, if there are
    zeros and no 5, or if no label is a score at all.

    Parameters
    ----------
    unused : mapping of str to int
        Rows of each label that is no score; labels as in the table.
    used : sequence of int
        Rows of each of the scores 1 to 5.
    """
    numbers: Counter[int] = Counter({score: count for score, count in enumerate(used, 1) if count})
    for text, count in unused.items():
        if match := _WHOLE.fullmatch(text.strip()):
            numbers[int(match[1])] += count
    beyond = sum(count for number, count in numbers.items() if not 1 <= number <= 5)
    rows = sum(used) + sum(unused.values())
    if beyond and (beyond > ALLOWED_SHARE * rows or (0 in numbers and 5 not in numbers)):
        low, high = min(numbers), max(numbers)
        levels = range(low, high + 1)
        return f"scores run {low} to {high}, expected 1 to 5: map them with --score-map {_example(levels)}"
    labels = [label for text in unused if (label := text.strip())]
    if labels and not any(used):
        if several := next(filter(_SEVERAL.fullmatch, labels), None):
            return f"cells hold several scores ({several!r}): give each hashtag its own with --split-hashtags"
        found = listed(dict.fromkeys(map(reprlib.repr, labels)), SHOWN)
        return f"scores are {found}, expected 1 to 5: map them with --score-map {plain_label(labels[0])}=1,..."
    return None


def check_scores(
    unused: Mapping[str, int], used: Sequence[int], *, path: object, allow: bool, mapped: bool = False
) -> None:
    """Refuse labels that would train or evaluate on something else than scores from 1 to 5.

    Parameters
    ----------
    unused, used
        As for `describe_scale`.
    path
        The table, for the message.
    allow : bool
        Whether more than ALLOWED_SHARE of the rows may be left out for their labels, as `--on-error allow` says.
    mapped : bool
        Whether `--score-map` has said which labels are scores, so that the others are no other scale.

    Raises
    ------
    DataError
        If the labels are on another scale, if too many have no score, or if only one score occurs.
    """
    if not mapped and (scale := describe_scale(unused, used)):
        raise DataError(f"{path}: {scale}")
    lost, rows = sum(unused.values()), sum(used) + sum(unused.values())
    if lost > ALLOWED_SHARE * rows and not allow:
        raise DataError(
            f"{path}: {lost} of {rows} rows have no score from 1 to 5 ({listed(map(reprlib.repr, unused), SHOWN)}): "
            "correct them, map them with --score-map LABEL=SCORE,..., or leave them out with --on-error allow"
        )
    if len(scores := [score for score, count in enumerate(used, 1) if count]) < 2:
        raise DataError(f"{path}: every score is {scores[0]}, and nothing can be learned from one score: add others")


def _example(levels: range) -> str:
    """Whole numbers spread evenly over 1 to 5, as `--score-map` takes them."""
    if len(levels) > 2 * SHOWN:
        return f"{levels[0]}=1,...,{levels[-1]}=5"
    return ",".join(f"{level}={1 + round(4 * place / max(1, len(levels) - 1))}" for place, level in enumerate(levels))
