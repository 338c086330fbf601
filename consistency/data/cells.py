"""What the cells of a row mean: their text, the pairs of a cell with several hashtags, and names of no image."""

import re
from collections.abc import Callable, Iterator

from consistency.data.formats import Cell
from consistency.data.hashtags import split_hashtags

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|data:")
_BETWEEN_LABELS = re.compile(r"[\s,;/|]+")


def plain(cell: Cell) -> str:
    """A cell as one text; a list is joined by spaces."""
    return cell if isinstance(cell, str) else " ".join(cell)


def pairs_of(
    cell: Cell, label: Cell, split: bool, score: Callable[[str], int]
) -> Iterator[tuple[str, str, str | None]]:
    """The hashtag, the label and the fault (None if there is none) of each pair that a row of a table holds."""
    if isinstance(cell, str) and not split:
        yield cell, plain(label), None
        return
    tags = split_hashtags(cell) if isinstance(cell, str) else [tag for tag in cell if tag.strip()]
    if not split:
        yield (
            " ".join(tags),
            plain(label),
            f"the cell is a list of {len(tags)} hashtags: split it with --split-hashtags",
        )
        return
    labels: list[str] = list(label or [""]) if isinstance(label, tuple) else [label]
    if isinstance(label, str) and not score(label) and len(several := _BETWEEN_LABELS.split(label.strip())) > 1:
        labels = several
    if len(labels) > 1 and len(labels) != len(tags):
        yield plain(cell), plain(label), f"the row has {len(labels)} scores for {len(tags)} hashtags"
        return
    for tag, given in zip(tags or [""], labels if len(labels) > 1 else labels * max(1, len(tags)), strict=True):
        yield tag, given, None


def image_fault(name: str) -> str | None:
    """Why `name` cannot name a file in the image folder; None if it can, or if that depends on the folder."""
    if not name.strip():
        return "the image has no name"
    if "\0" in name:
        return "the image's name has a NUL character"
    if _URL.match(name):
        return "the image is a URL, expected a file name: download it first"
    parts = re.split(r"[/\\]", name)
    if ".." in parts or name.startswith(("\\", "//")) or re.match(r"[A-Za-z]:", name):
        return "the image's name leads out of the image folder"
    return None
