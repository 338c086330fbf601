"""How often prediction sets hold the label of new images, and how many scores they hold.

    python -m benchmarks.sets

It draws the demo data set for each seed. On each draw it trains the default head as `heads` does, and calibrates its
sets on its answers for the test rows and on those out of fold (`--folds 5`). The sets are then made for all images of
the other draws, which neither the training nor the calibration has seen. Coverage is that of a random row of a random
image. The rule was chosen on draws 811 to 815, which prove nothing here.
"""

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.encoded import encoded_draw
from benchmarks.timing import machine
from consistency.backbone.embeddings import PairEmbeddings
from consistency.data.folds import with_folds
from consistency.data.splits import Split
from consistency.evaluation.conformal import PredictionSets
from consistency.evaluation.seeds import Spread
from consistency.progress import Progress
from consistency.text import number
from demo.dataset import IMAGES
from heads.config import HeadConfig
from heads.train import train_head
from koclip_consistency.screen.console import Screen
from koclip_consistency.workflows.demo import QUICK_IMAGES

SEEDS = (831, 832, 833, 834, 835, 836)
LEVELS = (0.8, 0.9)
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Draw:
    """A drawn data set: its pairs, labels (n,), images (n,), training rows and test rows."""

    seed: int
    pairs: PairEmbeddings
    split: Split
    images: npt.NDArray[np.object_]
    train: Rows
    test: Rows

    @property
    def kept(self) -> Rows:
        """All rows without repeats."""
        return np.sort(np.concatenate([self.train, self.test]))

    def probabilities(self, learned: Rows, asked: Sequence[PairEmbeddings]) -> list[npt.NDArray[np.float64]]:
        """Train the default head on some rows and return its probabilities for other pairs."""
        head, _ = train_head(HeadConfig(), self.pairs.take(learned), self.split.labels[learned], seed=self.seed)
        return [head.predict_proba(pairs) for pairs in asked]


def make_draw(folder: Path, seed: int, *, quick: bool, progress: Progress) -> Draw:
    """Draw a data set and encode it."""
    images = QUICK_IMAGES if quick else IMAGES
    inputs, split, encoded = encoded_draw(folder, seed, images=images, progress=progress)
    pairs = encoded.at(encoded.usable(np.arange(len(inputs.table))))
    return Draw(
        seed, pairs, with_folds(split, 5), inputs.identity, encoded.side(split, "train"), encoded.side(split, "test")
    )


def calibrate(
    draw: Draw, others: Sequence[PairEmbeddings]
) -> tuple[dict[str, PredictionSets], list[npt.NDArray[np.float64]]]:
    """Return the sets by what calibrates them, and the head's probabilities for the pairs of other draws."""
    labels, images, kept = draw.split.labels, draw.images, draw.kept
    tested, *asked = draw.probabilities(draw.train, [draw.pairs.take(draw.test), *others])
    pooled = np.empty((len(labels), 5))
    for fold in range(5):
        held = kept[draw.split.fold[kept] == fold]
        (pooled[held],) = draw.probabilities(kept[draw.split.fold[kept] != fold], [draw.pairs.take(held)])
    return {
        "test": PredictionSets.fit(tested, labels[draw.test], images[draw.test], calibrated_on="test"),
        "cv": PredictionSets.fit(pooled[kept], labels[kept], images[kept], calibrated_on="cv"),
    }, asked


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.sets", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="at least two (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="60 images a draw: a smoke test")
    given = parser.parse_args()
    screen = Screen()
    with tempfile.TemporaryDirectory() as name:
        draws = [
            make_draw(Path(name) / str(seed), seed, quick=given.quick, progress=screen.progress) for seed in given.seeds
        ]
    coverage: dict[tuple[str, float], list[float]] = {}
    width: dict[tuple[str, float], list[float]] = {}
    for draw in draws:
        others = [other for other in draws if other is not draw]
        sets, asked = calibrate(draw, [other.pairs.take(other.kept) for other in others])
        truth = np.concatenate([other.split.labels[other.kept] for other in others])
        image = np.unique(
            np.concatenate([[f"{other.seed} {image}" for image in other.images[other.kept]] for other in others]),
            return_inverse=True,
        )[1]
        weight = 1 / np.bincount(image)[image] / (image.max() + 1)
        for on, found in sets.items():
            for level in LEVELS:
                low, high = found.ranges(np.concatenate(asked), level).T - 1
                coverage.setdefault((on, level), []).append(float(weight @ ((low <= truth) & (truth <= high))))
                width.setdefault((on, level), []).append(float(weight @ (high - low + 1)))
        screen.note(f"Draw {draw.seed}: " + ", ".join(f"{on} {found.images} images" for on, found in sets.items()))
    print(machine(), end="\n\n")
    columns = ["calibrated on", "level", *map(str, given.seeds), "mean (95 % interval)", "scores in a set"]
    print("\n".join(f"| {' | '.join(line)} |" for line in (columns, ["---"] * len(columns))))
    for (on, level), shares in coverage.items():
        over = Spread.of(shares)
        mean = f"{number(over.mean)} ({number(over.low)} to {number(over.high)})"
        size = number(float(np.mean(width[on, level])), 2)
        print(f"| {' | '.join([on, number(level, 2), *map(number, shares), mean, size])} |")


if __name__ == "__main__":
    main()
