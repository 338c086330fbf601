"""Reading what every command starts from: the pair table, its pictures, and who each picture is."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from consistency.errors import DataError
from consistency.images import ImageFile, find_images, image_identity
from consistency.pairs import PairTable, Skipped, read_pairs
from workflows.options import OnError, Source


@dataclass(frozen=True, eq=False)
class Inputs:
    """A pair table with its pictures found."""

    table: PairTable
    files: dict[str, ImageFile]
    skipped: tuple[Skipped, ...]  # rows of the CSV that could not be read

    @cached_property
    def identity(self) -> npt.NDArray[np.object_]:
        """(n,) object, one value per distinct picture content."""
        return image_identity(self.table.images, self.files)


def read_table(source: Source, *, require_scores: bool = True) -> PairTable:
    return read_pairs(
        source.data,
        image_column=source.image_column,
        hashtag_column=source.hashtag_column,
        score_column=source.score_column,
        encoding=source.encoding,
        require_scores=require_scores,
    )


def read_inputs(source: Source, *, require_scores: bool = True) -> Inputs:
    """The pair table and its pictures. Raises DataError where not one picture is there."""
    table = read_table(source, require_scores=require_scores)
    files = find_images(table.images, source.images)
    if not any(file.path for file in files.values()):
        raise DataError(
            f"none of the {len(files)} pictures that {source.data} names is in {source.images}: "
            "put them there, or name their folder with --images"
        )
    refuse_skipped(table.skipped, source.on_error)
    return Inputs(table, files, table.skipped)


def refuse_skipped(skipped: Sequence[Skipped], on_error: OnError) -> None:
    """--on-error abort: the first thing that would be left out ends the command."""
    if skipped and on_error == "abort":
        first = skipped[0]
        where = f"row {first.row}" if first.row else first.image
        raise DataError(f"{where}: {first.reason} ({len(skipped)} such; --on-error skip leaves them out and goes on)")
