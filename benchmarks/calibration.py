"""What a temperature is worth: calibration before and after it, on fresh draws of the demo data set.

    python -m benchmarks.calibration                         the default head and the grid on six draws
    python -m benchmarks.calibration --systems finetune      fine-tuning

For each seed it draws the data set, splits it by image, trains with the packaged backbone, and measures the test rows
with probabilities as they are (`none`) and with temperatures that are fitted on different rows:

- `nested`: rows of train held out by heads that train for a number of epochs which these rows did not choose. This is
  what the grid does.
- `stopped`: the same rows, held out by heads that train for the number of epochs which was best on them.
- `validation`: the validation rows of fine-tuning, which also chose its epoch. This is what `finetune` does.

ECE has bins of equal mass, as reliability diagrams have. It is biased upwards on few rows, so the log loss is shown as
well: both are better when lower. The intervals (Student's t) are over draws.
"""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.draws import interval
from benchmarks.timing import machine
from consistency.backbone.embeddings import PairEmbeddings
from consistency.data.folds import make_divisions
from consistency.data.inputs import read_inputs
from consistency.evaluation.reliability import equal_mass_bins
from consistency.options import Encoding, Evaluation, FinetuneOptions, Output, Source
from consistency.scale import Floats, Ints
from consistency.text import number
from demo.dataset import write_demo
from heads.config import HeadConfig
from heads.grid import Objects, calibrated, default_grid, run_grid
from heads.load import load_head
from heads.model import TrainedHead
from heads.train import Job, train_head, train_heads
from koclip_consistency.screen.console import Screen
from koclip_consistency.workflows.demo import IMAGES, QUICK_IMAGES
from koclip_consistency.workflows.division import split_table
from koclip_consistency.workflows.encode import encode_pairs
from koclip_consistency.workflows.finetune import run_finetune

SEEDS = (901, 902, 903, 904, 905, 906)
SYSTEMS = ("heads", "heads-grid", "finetune")
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
    folder: Path, seed: int, images: int, *, systems: Sequence[str], grid: Sequence[HeadConfig], screen: Screen
) -> dict[tuple[Variant, str], float]:
    """Measure every variant on the test rows of one draw, by variant and measure."""
    write_demo(folder / "data", seed=seed, images=images)
    source = Source(data=folder / "data" / "combined_data.csv", images=folder / "data" / "image")
    encoding = Encoding(backbone="tiny", cache=folder / "cache", device="cpu")
    evaluation = Evaluation(seed=seed)
    inputs = read_inputs(source)
    split = split_table(inputs, source, evaluation)
    encoded = encode_pairs(inputs, encoding, source)
    train, test = encoded.side(split, "train"), encoded.side(split, "test")
    pairs, labels, groups = encoded.at(train), split.labels[train], split.groups_of(train)
    found: dict[Variant, Floats] = {}

    if "heads" in systems:
        screen.note(f"draw {seed}: heads")
        head, _ = train_head(HeadConfig(), pairs, labels, seed=seed)
        nested = fitted(head, head.config.epochs, pairs, labels, groups, 1)  # no row chooses its number of epochs
        for name, one in ((NONE, head), ("nested", nested)):
            found["heads", name] = one.predict_proba(encoded.at(test))
    if "heads-grid" in systems:
        screen.note(f"draw {seed}: heads-grid")
        result = run_grid(grid, pairs, labels, groups, folds=FOLDS, repeats=REPEATS, seed=seed)
        winner = result.trained
        assert isinstance(winner, TrainedHead)
        stopped = fitted(winner, result.entries[result.chosen].epochs, pairs, labels, groups, REPEATS)
        for name, one in ((NONE, replace(winner, temperature=1.0)), ("stopped", stopped), ("nested", winner)):
            found["heads-grid", name] = one.predict_proba(encoded.at(test))
    if "finetune" in systems:
        screen.note(f"draw {seed}: finetune")
        output = Output(out=folder / "finetune")
        options = FinetuneOptions(source=source, encoding=encoding, evaluation=evaluation, output=output)
        (tuned,) = (r for r in run_finetune(options).results if r.predictions.system == "finetune")
        chances = tuned.predictions.probabilities
        assert chances is not None
        kept = load_head(folder / "finetune")
        assert isinstance(kept, TrainedHead)
        assert kept.config.loss == "cross-entropy"  # what `undone` undoes
        found["finetune", NONE], found["finetune", "validation"] = undone(chances, kept.temperature), chances
    return {
        (variant, measure): compute(split.labels[test], chances)
        for variant, chances in found.items()
        for measure, compute in MEASURES.items()
    }


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
    parser.add_argument("--systems", choices=SYSTEMS, nargs="+", default=SYSTEMS[:2], help="(default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="60 images and a grid of four heads: a smoke test")
    given = parser.parse_args()
    screen, draws = Screen(), []
    grid = default_grid()[24:28] if given.quick else default_grid()
    images = QUICK_IMAGES if given.quick else IMAGES
    for seed in given.seeds:
        with tempfile.TemporaryDirectory() as folder:
            draws.append(calibrate_draw(Path(folder), seed, images, systems=given.systems, grid=grid, screen=screen))
    print(machine("scikit-learn"), end="\n\n")
    print(markdown(given.seeds, draws), end="")


if __name__ == "__main__":
    main()
