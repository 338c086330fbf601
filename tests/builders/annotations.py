"""Answers of annotators, made up."""

from dataclasses import replace
from itertools import count

from consistency.data.annotations import Annotation

_NUMBERS = count(1)


def answer(
    row: int,
    score: int | None,
    *,
    annotator: str = "kim",
    hashtag: str = "바다",
    digest: str = "a",
    note: str = "",
    queue: str = "random",
    blind: bool = True,
    seconds: int | None = None,
    undo_of: str = "",
) -> Annotation:
    """An answer with an id of its own, ten seconds after the last one unless `seconds` says when."""
    number = next(_NUMBERS)
    at = 10 * number if seconds is None else seconds
    time = f"2026-11-27T{at // 3600 % 24:02}:{at // 60 % 60:02}:{at % 60:02}.000Z"
    sha256 = digest if len(digest) == 64 else digest * 64
    return Annotation(annotator, time, f"id-{number:08}", row, sha256, hashtag, score, undo_of, note, queue, blind)


def undoing(line: Annotation) -> Annotation:
    """The line that undoes another."""
    return replace(answer(line.row, None, undo_of=line.id), annotator=line.annotator, hashtag=line.hashtag,
                   image_sha256=line.image_sha256)  # fmt: skip
