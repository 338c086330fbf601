"""The health of a data set before training: repeats, conflicts, broken images, leakage."""

import os
import unicodedata
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from consistency.data.files import ImageFile
from consistency.data.hashtags import describe_long, describe_several, identities
from consistency.data.images import decode_image, has_several_frames
from consistency.data.inputs import Inputs
from consistency.data.leakage import Leakage, leakage
from consistency.data.pairs import PairTable, Skipped
from consistency.data.repeats import merge_repeats
from consistency.data.scores import check_scores
from consistency.data.splits import PROTOCOLS, make_split
from consistency.errors import DataError, ImageError
from consistency.evaluation.control_figures import ControlChoice, ControlFigures, control_figures
from consistency.options import ImageLimits, Protocol
from consistency.progress import Progress, silent
from consistency.scale import SCORES


@dataclass(frozen=True)
class ImageFiles:
    """The image files that a table names.

    Attributes
    ----------
    named : int
        Number of distinct names.
    missing, broken : tuple of (name, reason)
        Images that were not found, and images that cannot be decoded.
    duplicates : tuple of tuples of str
        Names of images with the same content.
    animated : tuple of str
        Images with several frames or pages, of which the first is used.
    """

    named: int
    missing: tuple[tuple[str, str], ...]
    broken: tuple[tuple[str, str], ...]
    duplicates: tuple[tuple[str, ...], ...]
    animated: tuple[str, ...]

    @property
    def usable(self) -> int:
        """Number of images that can be decoded."""
        return self.named - len(self.missing) - len(self.broken)

    @property
    def none_found(self) -> bool:
        """Whether no image was found, so that all results come from the CSV alone."""
        return len(self.missing) == self.named


@dataclass(frozen=True)
class Health:
    """The result of `check`. Counts are of usable rows.

    Attributes
    ----------
    path, digest
        The table, and the SHA-256 of its bytes in hexadecimal.
    format, encoding : str
        The format for people, and the text encoding; empty for a binary format.
    rows : int
        Usable rows.
    rows_with_image : int
        Rows whose image is usable too, which other commands work with; `rows_with_picture` in JSON.
    skipped : tuple of Skipped
        Rows of the table that cannot be used.
    images : int
        Number of distinct image names.
    posts : int
        Number of posts: of `--post-column`, else of distinct images.
    hashtags : int
        Number of distinct spellings of hashtags.
    distinct_hashtags : int
        Number of distinct hashtags by `hashtag_identity`.
    pairs, repeats, conflicts : int
        Distinct pairs of an image and a hashtag, both by identity; rows after the first of their pair; and pairs whose
        rows have different scores.
    score_counts : dict of int to int
        Number of rows with each score.
    scale : str or None
        Why the labels are not scores from 1 to 5, and what to do, in one line; None if they are.
    several_hashtags, long_hashtags : str or None
        Rows whose cell has several hashtags, and rows whose hashtag a model may truncate, each in one line.
    with_hash, not_nfc : int
        Rows whose hashtag begins with #, and rows whose hashtag is not in Unicode form NFC.
    image_files : ImageFiles
        Which images can be used; `pictures` in JSON.
    published_leakage, grouped_leakage, hashtag_leakage : Leakage or None
        Leakage of the split of each protocol; None if the table is too small for it.
    not_drawn : tuple of (protocol, reason)
        Splits that cannot be drawn.
    controls : dict or None
        `{"paper": ..., "grouped": ...}` without splits that cannot be drawn, each `{system: {metric: value}}`. The
        grouped values are means over 10 divisions of the images. None if not requested.
    controls_out_of_fold : dict or None
        `{system: {"metrics": {metric: value}, "ci95": {metric: (low, high)}}}` of out-of-fold predictions of all
        distinct pairs. None if not requested.
    order_gamma : float or None
        How the scores run along the posts, see `post_texts.order_gamma`. None if positions are not used.
    """

    path: Path
    digest: str
    format: str
    encoding: str
    rows: int
    rows_with_image: int
    skipped: tuple[Skipped, ...]
    images: int
    posts: int
    hashtags: int
    distinct_hashtags: int
    pairs: int
    repeats: int
    conflicts: int
    score_counts: dict[int, int]
    scale: str | None
    several_hashtags: str | None
    long_hashtags: str | None
    with_hash: int
    not_nfc: int
    image_files: ImageFiles
    published_leakage: Leakage | None
    grouped_leakage: Leakage | None
    hashtag_leakage: Leakage | None
    not_drawn: tuple[tuple[str, str], ...]
    controls: dict[str, dict[str, dict[str, float | None]]] | None
    controls_out_of_fold: dict[str, dict[str, Any]] | None = None
    order_gamma: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values, under the keys that `data check --json` has always had."""
        files = self.image_files
        values = {{"rows_with_image": "rows_with_picture"}.get(key, key): value for key, value in asdict(self).items()}
        pictures = {**values.pop("image_files"), "usable": files.usable, "none_found": files.none_found}
        return {**values, "path": str(self.path), "pictures": pictures}


def check(
    table: PairTable,
    files: Mapping[str, ImageFile],
    *,
    limits: ImageLimits | None = None,
    controls: ControlChoice | None = None,
    progress: Progress = silent,
) -> Health:
    """Examine every row and decode every image.

    Parameters
    ----------
    table : PairTable
        The pair table.
    files : mapping of str to ImageFile
        The image files by name.
    limits : ImageLimits, optional
        Largest images that are decoded.
    controls : ControlChoice, optional
        How to train and evaluate the controls that use no image; None does not.
    progress : Progress
        Receives the progress.

    Returns
    -------
    Health
        What was found.
    """
    inputs = Inputs(table, dict(files), table.skipped)
    identity = inputs.identity
    merged = merge_repeats(table, identity, "first")
    disagrees = table.scores != table.scores[merged.first]
    leaks, not_drawn = leakage_by_protocol(table, identity, inputs.alike)
    blind = ControlFigures() if controls is None else control_figures(inputs, controls, progress)
    image_files = check_images(files, limits or ImageLimits(), progress)
    without = {name for name, _ in image_files.missing + image_files.broken}
    return Health(
        path=table.path,
        digest=table.digest,
        format=table.format,
        encoding=table.encoding,
        rows=len(table),
        rows_with_image=sum(image not in without for image in table.images),
        skipped=table.skipped,
        images=len(set(table.images)),
        posts=len(set(inputs.posts)),
        hashtags=len(set(table.hashtags)),
        distinct_hashtags=len(set(identities(table.hashtags))),
        pairs=len(set(merged.first.tolist())),
        repeats=int((merged.first != np.arange(len(table))).sum()),
        conflicts=len(np.unique(merged.first[disagrees])),
        score_counts={int(score): int((table.scores == score).sum()) for score in SCORES},
        scale=_scale_fault(table),
        several_hashtags=describe_several(table.rows.tolist(), table.hashtags.tolist()),
        long_hashtags=describe_long(table.rows.tolist(), table.hashtags.tolist()),
        with_hash=sum(tag.lstrip().startswith("#") for tag in table.hashtags),
        not_nfc=sum(not unicodedata.is_normalized("NFC", tag) for tag in table.hashtags),
        image_files=image_files,
        published_leakage=leaks.get("paper"),
        grouped_leakage=leaks.get("grouped"),
        hashtag_leakage=leaks.get("hashtag"),
        not_drawn=not_drawn,
        controls=blind.by_protocol,
        controls_out_of_fold=blind.out_of_fold,
        order_gamma=blind.order_gamma,
    )


def _scale_fault(table: PairTable) -> str | None:
    """Return why commands that train or evaluate refuse the labels of `table`; None if they accept them."""
    try:
        check_scores(table.unscored, table.score_counts, path=table.path, allow=False, mapped=table.mapped)
    except DataError as error:
        return str(error).removeprefix(f"{table.path}: ")
    return None


def leakage_by_protocol(
    table: PairTable, identity: npt.NDArray[np.object_], together: npt.NDArray[np.object_]
) -> tuple[dict[Protocol, Leakage], tuple[tuple[str, str], ...]]:
    """Compute the leakage under each protocol, and (protocol, reason) for splits that cannot be drawn.

    identity, together: (n,) object, equal for rows of one image, and for rows that the grouped split keeps together.
    """
    leaks: dict[Protocol, Leakage] = {}
    not_drawn = []
    for protocol in PROTOCOLS:
        try:
            split = make_split(table, identity, protocol=protocol, on_conflict="first", scenes=together)
        except DataError as error:
            not_drawn.append((protocol, str(error)))
        else:
            leaks[protocol] = leakage(split, identity, table.hashtags)
    return leaks, tuple(not_drawn)


def check_images(files: Mapping[str, ImageFile], limits: ImageLimits, progress: Progress) -> ImageFiles:
    """Decode every image once: many broken files can be opened and fail only in decoding."""
    missing = tuple((file.name, file.problem or "not found") for file in files.values() if file.path is None)
    present = [file for file in files.values() if file.path is not None]
    names: dict[bytes, list[str]] = {}
    for file in present:
        if file.digest is not None:
            names.setdefault(file.digest, []).append(file.name)
    with (
        progress("Decoding images", len(present)) as advance,
        ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool,
    ):
        broken, animated = [], []
        examined = pool.map(lambda file: _examine(file, limits), present)
        for file, (problem, several) in zip(present, examined, strict=True):
            advance(1)
            if problem:
                broken.append((file.name, problem))
            elif several:
                animated.append(file.name)
    duplicates = tuple(tuple(same) for same in names.values() if len(same) > 1)
    return ImageFiles(len(files), missing, tuple(broken), duplicates, tuple(animated))


def _examine(file: ImageFile, limits: ImageLimits) -> tuple[str | None, bool]:
    """Why an image cannot be used, None if it can; and whether it has several frames."""
    try:
        data = file.read()
        decode_image(data, limits=limits)
        return None, has_several_frames(data)
    except ImageError as error:
        return str(error), False
