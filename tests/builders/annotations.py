"""Answers of annotators, made up."""

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from itertools import count
from pathlib import Path

from consistency.data.annotations import Annotation
from tests.builders.commands import rows_of

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


def lines_about(demo: Path, rows: Sequence[int], scores: Sequence[int], **fields: str) -> list[Annotation]:
    """Answers to rows of the demo's table."""
    table, found = rows_of(demo / "combined_data.csv"), []
    for row, score in zip(rows, scores, strict=True):
        cells = table[row - 1]
        digest = sha256((demo / "image" / cells["Image Filename"]).read_bytes()).hexdigest()
        found.append(answer(row, score, hashtag=cells["Hashtag"], digest=digest, **fields))  # type: ignore[arg-type]
    return found
