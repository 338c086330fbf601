"""Reading what every command starts from: the pair table, its images, and who each image is."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from consistency.data.files import ImageFile, find_images, image_identity
from consistency.data.pairs import PairTable, Skipped, read_pairs, skipped_csv
from consistency.durable import write_file
from consistency.errors import DataError
from consistency.options import OnError, Source
from consistency.progress import Progress, silent

if TYPE_CHECKING:
    from consistency.data.near_duplicates import NearDuplicates


@dataclass(frozen=True, eq=False)
class Inputs:
    """A pair table with its images found."""

    table: PairTable
    files: dict[str, ImageFile]
    skipped: tuple[Skipped, ...]  # rows of the CSV that could not be read
    near: "NearDuplicates | None" = None  # where they were looked for

    @cached_property
    def identity(self) -> npt.NDArray[np.object_]:
        """(n,) object, one value per distinct image content."""
        return image_identity(self.table.images, self.files)

    @property
    def scenes(self) -> npt.NDArray[np.object_] | None:
        """(n,) object, one value for images that are near-duplicates; None where those were not looked for."""
        return None if self.near is None else self.near.scenes

    @property
    def alike(self) -> npt.NDArray[np.object_]:
        """(n,) object, one value for what is taken for one image."""
        return self.identity if self.scenes is None else self.scenes

    @property
    def none_found(self) -> bool:
        return not any(file.path for file in self.files.values())

    @property
    def pictures_digest(self) -> str:
        """SHA-256, in hex, of the images' contents in the order of the rows: what the CSV's own digest leaves out."""
        return sha256("\n".join(self.identity).encode()).hexdigest()


def read_table(source: Source, *, require_scores: bool = True) -> PairTable:
    return read_pairs(
        source.data,
        image_column=source.image_column,
        hashtag_column=source.hashtag_column,
        score_column=source.score_column,
        encoding=source.encoding,
        require_scores=require_scores,
    )


def read_inputs(
    source: Source,
    *,
    require_scores: bool = True,
    near_duplicates: int | None = None,
    pictures_needed: bool = True,
    progress: Progress = silent,
) -> Inputs:
    """The pair table and its images. Raises DataError where not one image is there, unless none is needed.

    near_duplicates: bits in which the hashes of near-duplicates differ at most; None looks for none.
    """
    table = read_table(source, require_scores=require_scores)
    files = find_images(table.images, source.images)
    inputs = Inputs(table, files, table.skipped)
    if inputs.none_found and (pictures_needed or near_duplicates is not None):
        raise DataError(
            f"none of the {len(files)} images that {source.data} names is in {source.images}: "
            "put them there, or name their folder with --images"
        )
    refuse_skipped(table.skipped, source.on_error)
    if near_duplicates is None:
        return inputs
    from consistency.data.near_duplicates import find_near_duplicates

    near = find_near_duplicates(
        table.images, inputs.identity, files, limit=near_duplicates, limits=source.limits, progress=progress
    )
    return replace(inputs, near=near)


def refuse_skipped(skipped: Sequence[Skipped], on_error: OnError) -> None:
    """--on-error abort: the first thing that would be left out ends the command."""
    if skipped and on_error == "abort":
        first = skipped[0]
        where = f"row {first.row}" if first.row else first.image
        raise DataError(f"{where}: {first.reason} ({len(skipped)} such; --on-error skip leaves them out and goes on)")


def skipped_beside(out: Path) -> Path:
    """The list of what `out` leaves out."""
    return out.with_name(f"{out.stem}.skipped.csv")


def list_skipped(out: Path, skipped: Sequence[Skipped]) -> None:
    """Write that list, or remove that of an earlier `out` where nothing is left out."""
    if skipped:
        write_file(skipped_beside(out), skipped_csv(skipped))
    else:
        skipped_beside(out).unlink(missing_ok=True)
