"""Reads the inputs of every command: the pair table, its images, and the identity of each image."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from consistency.data.distinct import join_groups
from consistency.data.files import ImageFile, find_images, image_identity
from consistency.data.formats import Cell
from consistency.data.hashtags import describe_several
from consistency.data.memo import DigestMemo
from consistency.data.pairs import PairRows, PairTable, Skipped, read_pairs, skipped_csv
from consistency.data.scores import check_scores
from consistency.data.shards import Shard
from consistency.data.tables import TableFile, open_table
from consistency.durable import writing
from consistency.errors import DataError, InputError
from consistency.options import OnError, Source
from consistency.progress import Progress, silent
from consistency.text import without_formula

if TYPE_CHECKING:
    from consistency.data.near_duplicates import NearDuplicates


@dataclass(frozen=True, eq=False)
class Inputs:
    """A pair table whose images have been found.

    Attributes
    ----------
    table : PairTable
        With n rows.
    files : dict of str to ImageFile
        Image file by name.
    skipped : tuple of Skipped
        Rows of the table that cannot be used.
    near : NearDuplicates or None
        Near-duplicate images; None if they were not searched for.
    shard : Shard or None
        The part of a larger table that these rows are.
    all_hashtags : tuple of str or None
        The distinct hashtags of the larger table; None where there is no shard.
    """

    table: PairTable
    files: dict[str, ImageFile]
    skipped: tuple[Skipped, ...]
    near: "NearDuplicates | None" = None
    shard: Shard | None = None
    all_hashtags: tuple[str, ...] | None = None

    @property
    def hashtags(self) -> list[str]:
        """The distinct hashtags of the table, or of the larger table that it is a part of."""
        return list(dict.fromkeys(self.table.hashtags) if self.all_hashtags is None else self.all_hashtags)

    @cached_property
    def identity(self) -> npt.NDArray[np.object_]:
        """(n,) object, equal for rows whose images have the same content."""
        return image_identity(self.table.images, self.files)

    @cached_property
    def posts(self) -> npt.NDArray[np.object_]:
        """(n,) object, equal for rows of the same post, as `--post-column` says; else rows of identical images."""
        if self.table.posts is None:
            return self.identity
        posts = np.empty(len(self.table), dtype=object)
        posts[:] = [f"post:{post}" if post else own for post, own in zip(self.table.posts, self.identity, strict=True)]
        return posts

    @property
    def scenes(self) -> npt.NDArray[np.object_] | None:
        """(n,) object, equal for rows whose images are near-duplicates; None if they were not searched for."""
        return None if self.near is None else self.near.scenes

    @cached_property
    def alike(self) -> npt.NDArray[np.object_]:
        """(n,) object, equal for rows that a split keeps together.

        These are rows of the same image, of near-duplicates if they were searched for, and of the same post if the
        table has a column of posts; and all rows that a chain of these links.
        """
        same = self.identity if self.scenes is None else self.scenes
        return same if self.table.posts is None else join_groups(same, self.posts)

    @cached_property
    def several(self) -> str | None:
        """One line about rows whose cell holds several hashtags; None if there are none."""
        return describe_several(self.table.rows.tolist(), self.table.hashtags.tolist())

    @property
    def none_found(self) -> bool:
        return not any(file.path for file in self.files.values())

    @property
    def pictures_digest(self) -> str:
        """SHA-256 in hexadecimal over the contents of the images, in the order of the rows."""
        return sha256("\n".join(self.identity).encode()).hexdigest()


def open_source(source: Source) -> TableFile:
    """Open the table of `source`; raises DataError as `tables.open_table` does."""
    wanted = [source.image_column, source.hashtag_column, *source.score_columns]
    wanted += [source.post_column] if source.post_column else []
    return open_table(source.data, encoding=source.encoding, separator=source.separator, wanted=wanted)


def read_table(source: Source, *, require_scores: bool = True, table: TableFile | None = None) -> PairTable:
    """Read the pair table of `source` with `pairs.read_pairs`; unlike `read_inputs`, without checking its scale."""
    return read_pairs(
        table or open_source(source),
        **_columns(source),
        split=source.split_hashtags,
        require_scores=require_scores,
        score_map=source.score_map,
    )


def read_batches(
    source: Source, size: int, *, table: TableFile | None = None
) -> Iterator[tuple[list[list[Cell]], list[int], PairTable]]:
    """Read a table whose rows need no score, `size` rows at a time.

    Yields
    ------
    cells : list of lists
        The rows of the file, with all their cells.
    counts : list of int
        Number of pairs in each row: 1, unless cells of several hashtags are split.
    pairs : PairTable
        Their pairs, perhaps none; `skipped` lists those that cannot be used.
    """
    rows = _rows(table or open_source(source), source, require_scores=False)
    every = rows.cells(every=True)
    while batch := list(islice(every, size)):
        yield batch, [rows.add(cells) for cells in batch], rows.take()


def read_parts(source: Source, size: int, *, table: TableFile, require_scores: bool) -> Iterator[PairTable]:
    """Read the pairs of `size` rows of a table at a time, as `read_table` reads all; a part may have no pair."""
    rows = _rows(table, source, require_scores=require_scores)
    needed = rows.cells()
    while batch := list(islice(needed, size)):
        for cells in batch:
            rows.add(cells)
        yield rows.take()


def _rows(table: TableFile, source: Source, *, require_scores: bool) -> PairRows:
    return PairRows(
        table,
        **_columns(source),
        split=source.split_hashtags,
        require_scores=require_scores,
        score_map=source.score_map,
    )


def _columns(source: Source) -> dict[str, Any]:
    return {
        "image_column": source.image_column,
        "hashtag_column": source.hashtag_column,
        "score_column": source.score_columns,
        "aggregate": source.aggregate,
        "post_column": source.post_column,
    }


def read_inputs(
    source: Source,
    *,
    require_scores: bool = True,
    near_duplicates: int | None = None,
    images_needed: bool = True,
    table: TableFile | None = None,
    memo: DigestMemo | None = None,
    shard: Shard | None = None,
    progress: Progress = silent,
) -> Inputs:
    """Read the pair table and find its images.

    Parameters
    ----------
    source : Source
        The table, the image folder, and what to do with rows that cannot be used.
    require_scores : bool
        Whether every row needs a score on the scale from 1 to 5.
    near_duplicates : int, optional
        Largest number of bits in which the hashes of near-duplicates differ; None does not search for them.
    images_needed : bool
        Whether it is an error if none of the images exists.
    table : TableFile, optional
        The table, opened; None opens the one of `source`.
    memo : DigestMemo, optional
        Digests of images that are known from earlier runs.
    shard : Shard, optional
        Part of the table to return, whose images alone are read.
    progress : Progress
        Progress of hashing images.

    Returns
    -------
    Inputs

    Raises
    ------
    DataError
        If the table cannot be read or is labelled on another scale, if none of the images exists, or, with
        `--on-error abort`, if a row cannot be used.
    """
    pairs = read_table(source, require_scores=require_scores, table=table)
    if require_scores:
        allow = source.on_error == "allow"
        check_scores(pairs.unscored, pairs.score_counts, path=pairs.path, allow=allow, mapped=pairs.mapped)
    hashtags = None
    if shard is not None:
        hashtags, pairs = tuple(dict.fromkeys(pairs.hashtags)), shard.rows(pairs)
    files = find_images(pairs.images, source.images, memo)
    inputs = Inputs(pairs, files, pairs.skipped, shard=shard, all_hashtags=hashtags)
    # None of the few images of a part may be there though others are.
    needed = images_needed and (shard is None or not source.images.exists())
    if files and inputs.none_found and (needed or near_duplicates is not None):
        raise no_image_found(source, files)
    refuse_skipped(pairs.skipped, source.on_error)
    if near_duplicates is None:
        return inputs
    from consistency.data.near_duplicates import find_near_duplicates

    near = find_near_duplicates(
        pairs.images, inputs.identity, files, limit=near_duplicates, limits=source.limits, progress=progress
    )
    return replace(inputs, near=near)


def no_image_found(source: Source, files: Mapping[str, ImageFile]) -> DataError:
    """The error for a table of whose images, `files`, none can be used."""
    if not source.images.exists():
        return DataError(f"there is no folder {source.images}: name the folder of the images with --images")
    first = next(iter(files.values()))
    return DataError(
        f"none of the {len(files)} images named in {source.data} is in {source.images} ({first.problem}): "
        "put them there, or name their folder with --images"
    )


def refuse_overwriting(source: Source, out: Path) -> None:
    """Raise InputError if the output file `out` is the pair table itself."""
    if out.exists() and source.data.exists() and out.samefile(source.data):
        raise InputError(f"-o {out} is the pair table itself: choose another file")


def refuse_skipped(skipped: Sequence[Skipped], on_error: OnError, count: int | None = None) -> None:
    """With --on-error abort, raise DataError for the first row or image that would be skipped.

    `count` is the number of these if `skipped` is only the beginning of them.
    """
    if skipped and on_error == "abort":
        first = skipped[0]
        where = f"row {first.row}" if first.row else first.image
        in_all = count or len(skipped)
        raise DataError(f"{where}: {first.reason} ({in_all} in all; to continue without, use --on-error skip)")


def skipped_beside(out: Path) -> Path:
    """Path of the list of rows that are missing from `out`: `scored.skipped.csv` for `scored.csv`."""
    return out.with_name(f"{out.stem}.skipped.csv")


def list_skipped(out: Path, skipped: Sequence[Skipped]) -> None:
    """Write the list of `skipped_beside`, or remove an earlier one if nothing was skipped."""
    with listing_skipped(out) as add:
        add(skipped)


@contextmanager
def listing_skipped(out: Path, *, formulas: bool = True) -> Iterator[Callable[[Sequence[Skipped]], None]]:
    """Write the same list part by part; it appears when the block ends. `formulas` is as for `table_writer`."""
    write: Callable[[bytes], None] | None = None
    with ExitStack() as stack:

        def add(skipped: Sequence[Skipped]) -> None:
            nonlocal write
            if skipped:
                begun = write is not None
                write = write or stack.enter_context(writing(skipped_beside(out)))
                if not formulas:
                    skipped = [Skipped(s.row, *map(without_formula, (s.image, s.hashtag, s.reason))) for s in skipped]
                write(skipped_csv(skipped, header=not begun))

        yield add
    if write is None:
        skipped_beside(out).unlink(missing_ok=True)
