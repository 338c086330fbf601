"""What a temperature is worth: calibration before and after it, on fresh draws of the demo data set.

    python -m benchmarks.calibration --out runs/draws                         the default head and the grid
    python -m benchmarks.calibration --out runs/draws --systems finetune      fine-tuning

It takes the runs of `python -m benchmarks.draws` in --out, or makes those that are missing, and measures the test rows
with probabilities as they are (`none`) and with temperatures that are fitted on different rows:

- `nested`: rows of train held out by heads that train for a number of epochs which these rows did not choose. This is
  what the grid does.
- `stopped`: the same rows, held out by heads that train for the number of epochs which was best on them.
- `validation`: the validation rows of fine-tuning, which also chose its epoch. This is what `finetune` does.

ECE has bins of equal mass, as reliability diagrams have. It is biased upwards on few rows, so the log loss is shown as
well: both are better when lower. The intervals (Student's t) are over draws.
"""

import argparse
import csv
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.draws import SEEDS, interval, run_draw
from benchmarks.encoded import encoded_draw
from benchmarks.timing import machine
from consistency.backbone.embeddings import PairEmbeddings
from consistency.data.folds import make_divisions
from consistency.evaluation.reliability import equal_mass_bins
from consistency.runs.read import Run
from consistency.scale import Floats, Ints
from consistency.text import number
from heads.grid import Objects, calibrated
from heads.load import load_head
from heads.model import TrainedHead
from heads.train import Job, train_heads
from koclip_consistency.screen.console import Screen

STEPS = {"heads": "heads-default", "heads-grid": "heads-grid", "finetune": "finetune"}  # of benchmarks.draws
FOLDS, REPEATS = 5, 3  # the grid's own
NONE = "none"
Variant = tuple[str, str]  # the system, and the rows that its temperature is fitted on


def equal_mass_ece(labels: Ints, probabilities: Floats) -> float:
    """Expected calibration error of n rows in bins of equal mass. labels: (n,) from 0; probabilities: (n, 5)."""
    confidence = probabilities.max(axis=1)
    surplus = confidence - (probabilities.argmax(axis=1) == labels)
    return float(np.abs(np.bincount(equal_mass_bins(confidence), weights=surplus)).sum() / len(labels))


def log_loss(labels: Ints, probabilities: Floats) -> float:
    """Mean of -log of the label's probability; labels: (n,) from 0; probabilities: (n, 5)."""
    return float(-np.log(probabilities[np.arange(len(labels)), labels]).mean())


MEASURES = {"ECE, equal mass": equal_mass_ece, "log loss": log_loss}


def fitted(
    head: TrainedHead, epochs: int, pairs: PairEmbeddings, labels: Ints, groups: Objects | None, repeats: int
) -> TrainedHead:
    """The head with a temperature fitted on rows held out by heads like it that train for `epochs` epochs."""
    divisions = make_divisions(labels, groups, folds=FOLDS, repeats=repeats, seed=head.seed)
    held_out = [np.flatnonzero(division == fold) for division in divisions for fold in range(FOLDS)]
    seeds = np.random.SeedSequence(head.seed).generate_state(len(held_out)).tolist()
    every = np.arange(len(labels))
    jobs = [
        Job(head.config, np.setdiff1d(every, rows), seed, stop=epochs)
        for rows, seed in zip(held_out, seeds, strict=True)
    ]
    outcomes = train_heads(jobs, pairs, labels)
    outputs = [
        replace(head, head=outcome.head).outputs(pairs.take(rows))
        for outcome, rows in zip(outcomes, held_out, strict=True)
    ]

    return calibrated(head, torch.cat(outputs), labels[np.concatenate(held_out)])


def calibrate_draw(
    out: Path, seed: int, *, systems: Collection[str], quick: bool, screen: Screen
) -> dict[tuple[Variant, str], float]:
    """Measure every variant on the test rows of one draw, by variant and measure."""
    steps = [STEPS[system] for system in systems]
    done = run_draw(out, seed, finetune="finetune" in systems, quick=quick, screen=screen, only=steps)
    runs = {step.name: step.run for step in done}
    _, split, encoded = encoded_draw(out / str(seed) / "data", seed, cache=out / "cache")
    train, test = encoded.side(split, "train"), encoded.side(split, "test")
    pairs, tested, labels, groups = encoded.at(train), encoded.at(test), split.labels[train], split.groups_of(train)
    found: dict[Variant, Floats] = {}
    if "heads" in systems:
        head = of_one(runs["heads-default"])
        nested = fitted(head, head.config.epochs, pairs, labels, groups, 1)  # no row chooses its number of epochs
        found["heads", NONE], found["heads", "nested"] = head.predict_proba(tested), nested.predict_proba(tested)
    if "heads-grid" in systems:
        winner = of_one(runs["heads-grid"])
        with (runs["heads-grid"].path / "leaderboard.csv").open(encoding="utf-8", newline="") as file:
            (epochs,) = (int(row["refit_epochs"]) for row in csv.DictReader(file) if row["chosen"] == "True")
        stopped = fitted(winner, epochs, pairs, labels, groups, REPEATS)
        for name, one in ((NONE, replace(winner, temperature=1.0)), ("stopped", stopped), ("nested", winner)):
            found["heads-grid", name] = one.predict_proba(tested)
    if "finetune" in systems:
        (tuned,) = (result for result in runs["finetune"].results if result.predictions.system == "finetune")
        chances, head = tuned.predictions.probabilities, of_one(runs["finetune"])
        assert chances is not None
        assert head.config.loss == "cross-entropy"  # what `undone` undoes
        found["finetune", NONE], found["finetune", "validation"] = undone(chances, head.temperature), chances
    return {
        (variant, measure): compute(split.labels[test], chances)
        for variant, chances in found.items()
        for measure, compute in MEASURES.items()
    }


def of_one(run: Run) -> TrainedHead:
    """The head of a run that trained one."""
    head = load_head(run.path)
    assert isinstance(head, TrainedHead)
    return head


def undone(probabilities: Floats, temperature: float) -> Floats:
    """What a softmax says without its temperature. probabilities: (n, 5), with it."""
    raised = probabilities**temperature
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def markdown(seeds: Sequence[int], draws: Sequence[Mapping[tuple[Variant, str], float]]) -> str:
    """Make a table for each measure: every variant, and how far it is from no temperature, by draw and over draws."""
    lines = []
    variants = list(dict.fromkeys(variant for variant, _ in draws[0]))
    for measure in MEASURES:
        columns = [measure, "temperature fitted on", *map(str, seeds), "mean (95 % interval)"]
        lines += [columns, ["---"] * len(columns)]
        of = {variant: np.array([draw[variant, measure] for draw in draws]) for variant in variants}
        for (system, rows), values in of.items():
            lines.append([system, rows, *map(number, values), interval(values)])
        for (system, rows), values in of.items():
            if rows != NONE:
                change = values - of[system, NONE]
                lines.append([f"{system}, change", rows, *map(number, change), interval(change)])
        lines.append([])
    return "".join(f"| {' | '.join(line)} |\n" if line else "\n" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.calibration",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="one draw each (default: %(default)s)")
    parser.add_argument(
        "--systems", choices=STEPS, nargs="+", default=("heads", "heads-grid"), help="(default: %(default)s)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs/draws"), help="folder of the runs (default: %(default)s)"
    )
    parser.add_argument("--quick", action="store_true", help="60 images and 2 epochs of fine-tuning: a smoke test")
    given = parser.parse_args()
    screen = Screen()
    draws = [
        calibrate_draw(given.out, seed, systems=given.systems, quick=given.quick, screen=screen) for seed in given.seeds
    ]
    print(machine("scikit-learn"), end="\n\n")
    print(markdown(given.seeds, draws), end="")


if __name__ == "__main__":
    main()
