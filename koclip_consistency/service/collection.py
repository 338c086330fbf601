"""The labelled images of the app: a pair table, what a run predicts for it, and what of both is asked for."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from consistency.data.distinct import number_distinct
from consistency.data.files import ImageFile, find_images
from consistency.data.hashtags import hashtag_identity
from consistency.data.inputs import read_table
from consistency.errors import InputError
from consistency.evaluation.results import Audited, Result
from consistency.options import Source

PAGE = 24  # images
LEAST = 8  # rows, or images, below which a mean has no interval
REPEATS = ("any", "repeats", "conflicts")
ORDERS = ("table", "error", "doubt")

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Filters:
    """Which rows are shown, and in which order.

    Attributes
    ----------
    text : str
        Part of the hashtag or of the image's name.
    label, predicted : int
        Score from 1 to 5; 0 for any.
    split : str
        Side of the split; empty for any.
    error : int
        Least distance of prediction and label; 0 also shows rows without a prediction.
    doubt : bool
        Only rows whose label an audit doubts.
    repeats : {"any", "repeats", "conflicts"}
        Only pairs that occur several times, or with different labels.
    order : {"table", "error", "doubt"}
        What images are sorted by, the largest first.
    """

    text: str = ""
    label: int = 0
    predicted: int = 0
    split: str = ""
    error: int = 0
    doubt: bool = False
    repeats: str = "any"
    order: str = "table"

    def __post_init__(self) -> None:
        for name, allowed in (("repeats", REPEATS), ("order", ORDERS)):
            if getattr(self, name) not in allowed:
                raise InputError(f"{name} is {getattr(self, name)!r}, expected one of {', '.join(allowed)}")


FILTERS = tuple(each.name for each in fields(Filters))


@dataclass(frozen=True, eq=False)
class Opinions:
    """What runs say about the n rows of a collection.

    Attributes
    ----------
    predicted : (n,) int64
        Score, 1 to 5; 0 where there is none.
    values : (n,) float64
        What ranks the rows; NaN where there is none.
    sides : (n,) object
        Side of the split; empty where it is unknown.
    doubt : (n,) float64
        Doubt of an audit; NaN where there is none.
    suggested : (n,) int64
        Score that the audit suggests; 0 where there is none.
    """

    predicted: Rows
    values: npt.NDArray[np.float64]
    sides: npt.NDArray[np.object_]
    doubt: npt.NDArray[np.float64]
    suggested: Rows


class Collection:
    """The rows of a pair table, which needs no scores.

    Parameters
    ----------
    source : Source
        The table and its images, which need not be there.

    Attributes
    ----------
    names : list of str
        Distinct images, in the order in which they first appear; their indices identify them in requests.
    image : (n,) int64
        Image of each row.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.table = read_table(source, require_scores=False)
        firsts, self.image = number_distinct(self.table.images)
        self.names: list[str] = self.table.images[firsts].tolist()
        self.hashtags = np.array([hashtag_identity(text) for text in self.table.hashtags], dtype=object)
        pairs = zip(self.image.tolist(), self.hashtags, strict=True)
        self._first, self._pair = number_distinct(pairs)
        both = zip(self.table.hashtags, self.table.images, strict=True)
        self._texts = [f"{hashtag}\n{name}".casefold() for hashtag, name in both]
        self._files: dict[str, ImageFile] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.table)

    @cached_property
    def times(self) -> Rows:
        """How often the pair of each row occurs, (n,) int64."""
        return np.bincount(self._pair)[self._pair]

    @cached_property
    def conflicting(self) -> npt.NDArray[np.bool_]:
        """Rows whose pair has different labels, (n,) bool."""
        scores = self.table.scores
        lowest, highest = np.full(len(self._first), 9), np.zeros(len(self._first), np.int64)
        np.minimum.at(lowest, self._pair[scores > 0], scores[scores > 0])
        np.maximum.at(highest, self._pair, scores)
        return (lowest < highest)[self._pair]

    def files(self, images: Sequence[int] | None = None) -> dict[int, ImageFile]:
        """The files of some images, or of all, each looked for and hashed once."""
        asked = range(len(self.names)) if images is None else images
        with self._lock:
            missing = [self.names[at] for at in asked if self.names[at] not in self._files]
            self._files.update(find_images(missing, self.source.images) if missing else {})
            return {at: self._files[self.names[at]] for at in asked}

    def opinions(self, result: Result | None, sides: Mapping[int, str], audited: Sequence[Audited] | None) -> Opinions:
        """What a result, a split and an audit say about the rows; what they say about other tables is left out."""
        n = len(self)
        place = {int(row): at for at, row in enumerate(self.table.rows.tolist())}
        predicted, values = np.zeros(n, np.int64), np.full(n, np.nan)
        doubt, suggested = np.full(n, np.nan), np.zeros(n, np.int64)
        where = np.full(n, "", dtype=object)
        for row, side in sides.items():
            if row in place:
                where[place[row]] = side
        if result is not None:
            p = result.predictions
            for k, row in enumerate(p.rows.tolist()):
                at = place.get(row, -1)
                if at >= 0 and self._is(at, p.images[k], p.hashtags[k]):
                    predicted[at], values[at] = p.predicted[k], p.values[k]
        for line in audited or ():
            for row in (line.row, *line.repeats):
                at = place.get(row, -1)
                if at >= 0 and self._is(at, line.image, line.hashtag):
                    doubt[at], suggested[at] = line.doubt, line.suggested
        return Opinions(predicted, values, where, doubt, suggested)

    def _is(self, at: int, image: str, hashtag: str) -> bool:
        return self.table.images[at] == image and hashtag_identity(hashtag) == self.hashtags[at]

    def matching(self, filters: Filters, said: Opinions) -> Rows:
        """Indices of the rows that pass the filters, in the order of the table."""
        scores = self.table.scores
        keep = np.ones(len(self), bool)
        if words := filters.text.casefold().strip():
            keep &= np.array([words in text for text in self._texts], bool)
        if filters.label:
            keep &= scores == filters.label
        if filters.predicted:
            keep &= said.predicted == filters.predicted
        if filters.split:
            keep &= said.sides == filters.split
        if filters.error:
            keep &= self.errors(said) >= filters.error
        if filters.doubt:
            keep &= said.doubt > 0
        if filters.repeats != "any":
            keep &= self.conflicting if filters.repeats == "conflicts" else self.times > 1
        return np.flatnonzero(keep)

    def errors(self, said: Opinions) -> Rows:
        """Distance of prediction and label, (n,) int64; -1 where either is missing."""
        scores = self.table.scores
        return np.where((said.predicted > 0) & (scores > 0), np.abs(said.predicted - scores), -1)

    def page(self, filters: Filters, said: Opinions, number: int) -> dict[str, Any]:
        """A page of images with their rows that pass the filters, as JSON; pages count from 1."""
        rows = self.matching(filters, said)
        images, member = np.unique(self.image[rows], return_inverse=True)
        if filters.order != "table":
            worth = self.errors(said)[rows] if filters.order == "error" else np.nan_to_num(said.doubt[rows], nan=-1)
            most = np.full(len(images), -np.inf)
            np.maximum.at(most, member, worth)
            order = np.argsort(-most, kind="stable")
        else:
            order = np.arange(len(images))
        pages = max(1, -(-len(images) // PAGE))
        number = min(max(1, number), pages)
        chosen = order[(number - 1) * PAGE : number * PAGE]
        return {
            "rows": len(rows),
            "images": len(images),
            "page": number,
            "pages": pages,
            "posts": [self._post(int(images[at]), rows[member == at], said) for at in chosen.tolist()],
        }

    def _post(self, image: int, rows: Rows, said: Opinions) -> dict[str, Any]:
        return {"id": image, "name": self.names[image], "rows": self.described(rows, said)}

    def described(self, rows: Rows, said: Opinions) -> list[dict[str, Any]]:
        """Rows as JSON has them."""
        scores = self.table.scores
        return [
            {
                "row": int(self.table.rows[at]),
                "image": int(self.image[at]),
                "hashtag": str(self.table.hashtags[at]),
                "label": int(scores[at]) or None,
                "predicted": int(said.predicted[at]) or None,
                "value": None if np.isnan(said.values[at]) else float(said.values[at]),
                "split": str(said.sides[at]) or None,
                "doubt": None if np.isnan(said.doubt[at]) else float(said.doubt[at]),
                "suggested": int(said.suggested[at]) or None,
                "times": int(self.times[at]),
                "conflict": bool(self.conflicting[at]),
            }
            for at in rows.tolist()
        ]

    def of_hashtag(self, hashtag: str) -> Rows:
        """Rows of a hashtag in any spelling."""
        return np.flatnonzero(self.hashtags == hashtag_identity(hashtag))

    def of_image(self, image: int) -> Rows:
        """Rows of an image. Raises InputError if there is no such image."""
        if not 0 <= image < len(self.names):
            raise InputError(f"there is no image {image}: the table names {len(self.names)}")
        return np.flatnonzero(self.image == image)

    def summary(self, rows: Rows, said: Opinions) -> dict[str, Any]:
        """Mean label and mean error (prediction minus label) of some rows, as JSON.

        The 95 % interval of the mean error is Student's t over images, or over rows where all are of one image; None
        for fewer than LEAST of them.
        """
        scores, rows = self.table.scores, np.asarray(rows)
        labelled = rows[scores[rows] > 0]
        both = labelled[said.predicted[labelled] > 0]
        errors = (said.predicted[both] - scores[both]).astype(float)
        groups = self.image[both]
        if len(np.unique(groups)) > 1:
            errors = np.array([errors[groups == each].mean() for each in np.unique(groups)])
        return {
            "n": len(rows),
            "mean_label": float(scores[labelled].mean()) if len(labelled) else None,
            "n_errors": len(both),
            "mean_error": float(errors.mean()) if len(errors) else None,
            "interval": mean_interval(errors),
        }


def mean_interval(values: npt.NDArray[np.float64]) -> tuple[float, float] | None:
    """The 95 % interval of a mean by Student's t; None for fewer than LEAST values."""
    n = len(values)
    if n < LEAST:
        return None
    from scipy.special import stdtrit

    half = float(stdtrit(n - 1, 0.975) * values.std(ddof=1) / np.sqrt(n))
    return float(values.mean()) - half, float(values.mean()) + half
