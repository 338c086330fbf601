"""`agreement`: how far the people who scored the same pairs agree, and whether a run is within their disagreement."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from consistency.data.ratings import Ratings, read_ratings
from consistency.errors import InputError
from consistency.evaluation.agreement import (
    Alpha,
    Ceiling,
    PairAgreement,
    all_pairs,
    alpha_of,
    ceiling_of,
    pair_agreement,
)
from consistency.evaluation.systems import competes
from consistency.options import AgreementOptions
from consistency.runs.read import read_run
from consistency.scale import Ints

ANSWERED = ("test", "cv")  # rows on which a system did not learn


@dataclass(frozen=True)
class Disagreement:
    """A pair whose scores differ; `scores` by rater, None where there is none."""

    row: int
    image: str
    hashtag: str
    scores: dict[str, int | None]
    spread: int


@dataclass(frozen=True, eq=False)
class Agreed:
    """Result of `agreement`.

    Attributes
    ----------
    path : Path
        The table.
    rows, images : int
        Number of rows and of their images.
    by_doubt : int
        Rows with two scores or more that were rated because their label was doubtful; they represent no others.
    alpha : Alpha
        Of all raters.
    pairs : list of PairAgreement
        Every two raters.
    models : list of PairAgreement
        Every system of the run with every rater.
    ceilings : list of Ceiling
        Every system beside the raters.
    disagreements : list of Disagreement
        The widest first.
    """

    path: Path
    rows: int
    images: int
    by_doubt: int
    alpha: Alpha
    pairs: list[PairAgreement]
    models: list[PairAgreement]
    ceilings: list[Ceiling]
    disagreements: list[Disagreement]

    def as_dict(self) -> dict[str, Any]:
        """What `agreement --json` prints."""
        return {
            "data": str(self.path),
            "rows": self.rows,
            "images": self.images,
            "by_doubt": self.by_doubt,
            "krippendorff_alpha_ordinal": asdict(self.alpha),
            "pairs": [{**vars(pair), "confusion": pair.confusion.tolist()} for pair in self.pairs],
            "models": [{**vars(pair), "confusion": pair.confusion.tolist()} for pair in self.models],
            "ceilings": [asdict(each) for each in self.ceilings],
            "disagreements": [asdict(each) for each in self.disagreements],
        }


def run_agreement(options: AgreementOptions) -> Agreed:
    """Measure the agreement of the raters and, with a run, of its systems with them.

    Raises
    ------
    InputError
        If the columns are not scores of several raters, or the run answered for other rows than those of the table.
    """
    return agree(read_ratings(options.source, options.columns.split(",")), options.run)


def agree(ratings: Ratings, run: Path | None) -> Agreed:
    """Measure the agreement of some ratings; raises InputError as `run_agreement` does."""
    scores, images = ratings.scores, ratings.images
    models, ceilings = [], []
    for system, predicted in _predicted(run, ratings).items() if run else ():
        models += [
            pair_agreement(system, rater, predicted, scores[:, at], images) for at, rater in enumerate(ratings.raters)
        ]
        ceilings.append(ceiling_of(system, predicted, scores, images))
    return Agreed(
        path=ratings.path,
        rows=len(images),
        images=len(set(images)),
        by_doubt=ratings.by_doubt,
        alpha=alpha_of(scores, images),
        pairs=all_pairs(ratings.raters, scores, images),
        models=models,
        ceilings=ceilings,
        disagreements=_disagreements(ratings),
    )


def _disagreements(ratings: Ratings) -> list[Disagreement]:
    lowest = np.where(ratings.scores > 0, ratings.scores, 9).min(axis=1)
    spread = ratings.scores.max(axis=1) - lowest
    return [
        Disagreement(
            row=int(ratings.rows[at]),
            image=str(ratings.images[at]),
            hashtag=str(ratings.hashtags[at]),
            scores={
                name: score or None for name, score in zip(ratings.raters, ratings.scores[at].tolist(), strict=True)
            },
            spread=int(spread[at]),
        )
        for at in np.argsort(-spread, kind="stable").tolist()
        if spread[at] > 0
    ]


def _predicted(run: Path, ratings: Ratings) -> dict[str, Ints]:
    """The scores, (n,) int64, of each system that competes, for rows on which it did not learn; 0 for others."""
    found: dict[str, Ints] = {}
    place = {int(row): at for at, row in enumerate(ratings.rows.tolist())}
    for result in read_run(run).results:
        p = result.predictions
        if p.split not in ANSWERED or not competes(p.system):
            continue
        column = found.setdefault(p.system, np.zeros(len(ratings.rows), dtype=np.int64))
        for row, image, hashtag, score in zip(p.rows.tolist(), p.images, p.hashtags, p.predicted, strict=True):
            at = place.get(row)
            if at is None or (ratings.images[at], ratings.hashtags[at]) != (image, hashtag):
                raise InputError(
                    f"row {row} of {run} is {image} with {hashtag}, but not in {ratings.path}: "
                    "name the table that the run was made on, with the raters' columns added"
                )
            if not column[at] or p.split == "cv":
                column[at] = score
    if not found:
        raise InputError(f"{run} has no predictions of a trained system for test rows: name a run of heads or finetune")
    return found
