"""From predictions to a finished run folder: the same steps for every system, controls always beside it."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from consistency.controls import control_predictions
from consistency.pairs import Skipped
from consistency.runs import Predictions, Result, RunFolder, evaluate_predictions
from consistency.splits import Leakage, Split, leakage, make_split
from workflows.console import NO_BACKBONE
from workflows.inputs import Inputs
from workflows.options import Encoding, Evaluation, Source, as_config

CLASSES = np.arange(1, 6)
Rows = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
BOOTSTRAP_SEED = 42  # whatever --seed is: intervals of two runs share their resamples


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a command that evaluates hands to the screen."""

    path: Path
    results: tuple[Result, ...]
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...] = ()


def split_table(inputs: Inputs, source: Source, evaluation: Evaluation) -> Split:
    return make_split(
        inputs.table,
        inputs.identity,
        protocol=evaluation.protocol,
        seed=evaluation.seed,
        test_fraction=evaluation.test_fraction,
        on_conflict=source.on_conflict,
    )


def open_run(evaluation: Evaluation, command: str, backbone: str) -> RunFolder:
    """The run folder: a new one, or the unfinished one of `--resume`."""
    if evaluation.resume is not None:
        return RunFolder.reopen(evaluation.resume, command=command, backbone=backbone)
    return RunFolder.create(evaluation.out, runs=evaluation.runs, command=command, backbone=backbone)


def predictions_of(
    system: str,
    encoding: Encoding | None,
    inputs: Inputs,
    split: Split,
    rows: npt.NDArray[np.int64],
    *,
    predicted: npt.NDArray[np.int64] | None = None,
    values: npt.NDArray[np.float64] | None = None,
    probabilities: npt.NDArray[np.float64] | None = None,
    side: str = "test",
) -> Result:
    """Predictions for `rows` of the table, evaluated.

    predicted: (n,) 1..5, the most probable score where it is not given. values: (n,), the expected score likewise.
    """
    if probabilities is not None:
        predicted = probabilities.argmax(axis=1) + 1 if predicted is None else predicted
        values = probabilities @ CLASSES if values is None else values
    if predicted is None or values is None:
        raise ValueError("without probabilities, predicted scores and values are needed")
    table = inputs.table
    return evaluate_predictions(
        Predictions(
            system=system,
            backbone=encoding.backbone if encoding else NO_BACKBONE,
            protocol=split.protocol,
            split=side,
            rows=table.rows[rows],
            images=table.images[rows],
            hashtags=table.hashtags[rows],
            scores=split.labels[rows] + 1,
            predicted=predicted,
            values=values,
            probabilities=probabilities,
        ),
        seed=BOOTSTRAP_SEED,
    )


def control_probabilities(inputs: Inputs, split: Split, train: Rows, test: Rows) -> dict[str, Floats]:
    """What can be had without looking at a picture: (n_test, 5) of majority, text-only and name-and-text."""
    t = inputs.table
    return control_predictions(
        t.images[train], t.hashtags[train], split.labels[train], t.images[test], t.hashtags[test]
    )


def controls(inputs: Inputs, split: Split, train: Rows, test: Rows) -> list[Result]:
    """The controls, trained on `train` and evaluated on `test`: they stand in every table."""
    answers = control_probabilities(inputs, split, train, test)
    return [
        predictions_of(system, None, inputs, split, test, probabilities=chances) for system, chances in answers.items()
    ]


def leakage_note(split: Split, inputs: Inputs) -> str:
    leak = leakage(split, inputs.identity, inputs.table.hashtags)
    return f"protocol {split.protocol}: {describe_leakage(leak)}"


def describe_leakage(leak: Leakage) -> str:
    return (
        f"of {leak.n} test rows {leak.image} have their picture in train, "
        f"{leak.pair} their exact pair, {leak.hashtag} their hashtag"
    )


@dataclass
class Clock:
    """Seconds spent, by step, for `run.json`."""

    seconds: dict[str, float] = field(default_factory=dict)
    _last: float = field(default_factory=time.perf_counter)

    def lap(self, step: str) -> None:
        now = time.perf_counter()
        self.seconds[step] = round(self.seconds.get(step, 0.0) + now - self._last, 3)
        self._last = now


def write_run(
    folder: RunFolder,
    inputs: Inputs,
    split: Split,
    results: Sequence[Result],
    skipped: Sequence[Skipped],
    *,
    options: Mapping[str, Any],
    seed: int,
    fingerprint: str | None = None,
    clock: Clock,
    notes: Sequence[str] = (),
) -> Outcome:
    """Everything but the weights; run.json last, so that a folder without it is known to be unfinished."""
    folder.write_results(list(results))
    folder.write_split(inputs.table, split)
    folder.write_skipped(list(skipped))
    clock.lap("write")
    folder.finish(
        as_config(**options),
        seeds={"seed": seed, "bootstrap": BOOTSTRAP_SEED},
        data_digest=inputs.table.digest,
        fingerprint=fingerprint,
        timings=clock.seconds,
    )
    return Outcome(folder.path, tuple(results), tuple(skipped), (leakage_note(split, inputs), *notes))
