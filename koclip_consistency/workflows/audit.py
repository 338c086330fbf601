"""`audit`: which labels of a data set are doubtful, judged by heads that were trained without the row's image."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from consistency.backbone.embeddings import PairEmbeddings
from consistency.backbone.resolve import ResolvedBackbone
from consistency.data.folds import make_divisions
from consistency.data.pairs import PairTable
from consistency.data.repeats import merge_repeats
from consistency.data.splits import Split
from consistency.data.trained_on import SeenByBackbone
from consistency.errors import DataError, os_errors_as
from consistency.evaluation.doubt import Precision, doubts, precision_at_moved, ranking
from consistency.evaluation.results import Audited
from consistency.options import AuditOptions
from consistency.progress import QUIET, Progress, Reporter, silent
from consistency.report.page import write_report
from consistency.runs.read import read_run
from consistency.text import number
from heads.config import HeadConfig
from heads.model import TrainedHead
from heads.post_head import PostConfig, TrainedPostHead
from heads.train import train_head
from koclip_consistency.workflows.answers import Answers
from koclip_consistency.workflows.trial import Outcome, Trial

SYSTEM = "heads-audit"
CLEAN_COLUMNS = ("row", "clean_score")
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Audit:
    """Result of an audit.

    Attributes
    ----------
    outcome : Outcome
        The run folder and the judges' own results.
    rows : list of Audited
        All rows of `audit.csv`, the most doubtful first.
    precision : Precision or None
        None without clean labels.
    """

    outcome: Outcome
    rows: list[Audited]
    precision: Precision | None

    @property
    def path(self) -> Path:
        return self.outcome.path

    def as_dict(self, top: int) -> dict[str, Any]:
        """What `--json` prints."""
        shown = [{**vars(row), "chances": list(row.chances), "repeats": list(row.repeats)} for row in self.rows[:top]]
        return {
            "run": str(self.outcome.path),
            "n": len(self.rows),
            "precision": self.precision.as_dict() if self.precision else None,
            "doubtful": shown,
        }


def out_of_fold(
    embeddings: PairEmbeddings,
    labels: Ints,
    images: npt.NDArray[np.object_],
    *,
    folds: int,
    repeats: int,
    seed: int,
    progress: Progress = silent,
) -> tuple[Floats, Ints]:
    """Predict every label with heads that are trained without the row's image.

    Parameters
    ----------
    embeddings : PairEmbeddings
        Embeddings of the n rows. If these have a context, the heads read the whole post, otherwise they are default
        heads.
    labels : ndarray of int64, shape (n,)
        Classes from 0 to 4.
    images : ndarray of object, shape (n,)
        Identity of each row's image; rows of the same image share it.
    folds : int
        Number of folds of a division.
    repeats : int
        Number of divisions.
    seed : int
        Random seed of the divisions and heads.
    progress : Progress
        Shows how many heads are trained.

    Returns
    -------
    probabilities : ndarray of float64, shape (n, 5)
        Mean class probabilities over the divisions.
    fold : ndarray of int64, shape (n,)
        Fold of each row in the first division.

    Raises
    ------
    DataError
        If there are fewer images than folds.
    """
    total = np.zeros((len(labels), 5))
    divisions = make_divisions(labels, images, folds=folds, repeats=repeats, seed=seed)
    head_seeds = np.random.SeedSequence(seed).generate_state(repeats).tolist()
    with progress("Judging labels", folds * repeats) as advance:
        for division, head_seed in zip(divisions, head_seeds, strict=True):
            for fold in range(folds):
                judged, others = np.flatnonzero(division == fold), np.flatnonzero(division != fold)
                head: TrainedHead | TrainedPostHead
                if embeddings.context is None:
                    head, _ = train_head(HeadConfig(), embeddings.take(others), labels[others], seed=head_seed)
                else:
                    head = TrainedPostHead.fit(embeddings.take(others), labels[others], seed=head_seed)
                total[judged] += head.predict_proba(embeddings.take(judged))
                advance()
    return total / repeats, divisions[0]


def run_audit(options: AuditOptions, reporter: Reporter = QUIET) -> Audit:
    """Rank all labels by doubt; writes `audit.csv`, `report.html` and the judges' own predictions.

    With `clean`, a CSV of `row, clean_score`, the ranking is measured against clean labels.
    """
    trial = Trial("audit", options, reporter)
    inputs, table, source = trial.inputs, trial.inputs.table, options.source
    truth = read_clean(options.clean, table) if options.clean else None
    merged = merge_repeats(table, inputs.identity, source.on_conflict)
    encoded = trial.encode(posts=options.context == "post")
    rows = encoded.usable(np.flatnonzero(merged.kept))
    if not len(rows):
        raise DataError(f"none of the {len(table)} rows has an image that can be used")
    labels, images = merged.scores[rows] - 1, inputs.alike[rows]
    chances, division = out_of_fold(
        encoded.at(rows),
        labels,
        images,
        folds=options.folds,
        repeats=options.repeats,
        seed=options.evaluation.seed,
        progress=reporter.progress,
    )
    trial.clock.lap("judge")
    doubt, suggested = doubts(chances, labels)
    repeats_of = _repeats(table, merged.first)
    audited = [
        Audited(
            rank=rank,
            row=int(table.rows[row]),
            image=str(table.images[row]),
            hashtag=str(table.hashtags[row]),
            score=int(labels[at]) + 1,
            suggested=int(suggested[at]) + 1,
            doubt=float(doubt[at]),
            chances=tuple(chances[at].tolist()),
            repeats=repeats_of.get(int(row), ()),
        )
        for rank, at in enumerate(ranking(doubt), start=1)
        for row in [rows[at]]
    ]
    precision = None if truth is None else precision_at_moved(doubt, truth[rows] != labels + 1, images)
    fold = np.full(len(table), -1, dtype=np.int64)
    fold[rows] = division
    trial.split = Split(
        protocol="grouped",
        seed=options.evaluation.seed,
        side=np.full(len(table), "train", dtype=object),
        fold=fold[merged.first],  # a merged repeat is in the fold of the row that was kept
        kept=merged.kept,
        labels=merged.scores - 1,
    )
    result = trial.add(SYSTEM, rows, Answers(probabilities=chances), side="cv")
    folder = trial.open()
    folder.write_audit(audited)
    config = PostConfig() if options.context == "post" else HeadConfig()
    outcome = trial.finish(
        usable=encoded.position >= 0,
        skipped=encoded.skipped,
        fields=encoded.cache.fields,
        details={"head": config.as_dict(), "precision": precision, "extraction": encoded.report},
        notes=(describe_judges(options.folds * options.repeats, encoded.resolved, result.trained_on), encoded.note),
    )
    write_report([read_run(folder.path)], folder.path / "report.html", images=source.images)
    return Audit(outcome, audited, precision)


def read_clean(path: Path, table: PairTable) -> Ints:
    """The clean score of every row of the table, (n,) int64 1..5. Raises DataError where the file has not all."""
    try:
        with os_errors_as(DataError, f"{path} cannot be read"), path.open(encoding="utf-8-sig", newline="") as file:
            scores = {int(line[CLEAN_COLUMNS[0]]): int(line[CLEAN_COLUMNS[1]]) for line in csv.DictReader(file)}
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise DataError(f"{path} is no table of clean labels, expected whole numbers in {CLEAN_COLUMNS}") from error
    missing = [int(row) for row in table.rows if scores.get(int(row)) not in range(1, 6)]
    if missing:
        raise DataError(f"{path} has no clean score from 1 to 5 for row {missing[0]} ({len(missing)} such rows)")
    return np.array([scores[int(row)] for row in table.rows], dtype=np.int64)


def describe_judges(heads: int, backbone: ResolvedBackbone, seen: SeenByBackbone | None) -> str:
    """How far the judges are unbiased: whether they, or the backbone below them, have seen what they judge."""
    if seen:
        return (
            f"judges: {heads} heads, each trained without the images that it judges, but {seen.images:,} of "
            f"{seen.n_images:,} of these images trained the backbone below them: their doubts are biased"
        )
    if not backbone.trained_on.complete:
        return (
            f"judges: {heads} heads, each trained without the images that it judges; whether the backbone below them "
            "has seen these is unknown"
        )
    return f"judges: {heads} heads, none of which has seen the images it judges"


def describe_precision(precision: Precision | None) -> str:
    if precision is None:
        return "the clean labels differ nowhere: there is nothing to find"
    p = precision
    return (
        f"of the {p.moved} most doubtful rows {p.found} are among the {p.moved} whose label was moved: precision "
        f"{number(p.precision)} (95 % {number(p.low)} to {number(p.high)} over images), by chance {number(p.chance)}"
    )


def _repeats(table: PairTable, first: Ints) -> dict[int, tuple[int, ...]]:
    """For every index with repeats, the CSV rows that repeat it."""
    found: dict[int, tuple[int, ...]] = {}
    for index in np.flatnonzero(first != np.arange(len(table))):
        found[int(first[index])] = (*found.get(int(first[index]), ()), int(table.rows[index]))
    return found
