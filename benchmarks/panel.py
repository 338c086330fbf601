"""What labels from several people are worth: heads trained on one, on the median, the mean and the shares of three.

    python -m benchmarks.panel --out runs/panel
    python -m benchmarks.panel --out runs/panel --noise 0.6 --missing 0.3

For each draw of the demo three simulated annotators score every pair, each erring on a stated share of them
(`demo.annotators`). The default head is trained on the same rows with each kind of label, and tested against the clean
scores of the test images, which nobody has moved. Each kind of label is trained with five seeds, whose metrics are
averaged. Intervals (Student's t) are over draws. It also prints the quadratic kappas of the annotators with the known
one beside them. Draws 811 to 814 were used while this was developed.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.draws import interval
from benchmarks.timing import machine
from consistency.data.pairs import PairTable
from consistency.data.ratings import rating_shares
from consistency.data.scores import aggregate
from consistency.evaluation.agreement import WEIGHTS, all_pairs, kappa
from consistency.evaluation.metrics import evaluate
from consistency.scale import Floats, Ints
from consistency.text import number, with_interval
from demo.annotators import NOISE, annotate, column_names, expected_confusion
from demo.dataset import sample_rows, write_demo
from heads.config import HeadConfig
from heads.train import train_head
from koclip_consistency.python.embeddings import embed
from koclip_consistency.python.pairs import make_split, read_pairs

SEEDS = (841, 842, 843, 844, 845, 846)
TRAININGS = 5
ANNOTATORS = 3
METRICS = ("qwk", "macro_f1", "accuracy", "mae")
KINDS: dict[str, Callable[[Ints], tuple[Ints, Floats | None]]] = {
    "one annotator": lambda ratings: (first_given(ratings), None),
    "median of three": lambda ratings: (aggregated(ratings, "median"), None),
    "mean of three": lambda ratings: (aggregated(ratings, "mean"), None),
    "shares of three (soft)": lambda ratings: (aggregated(ratings, "median"), rating_shares(ratings)),
}
CLEAN = "clean scores"


def first_given(ratings: Ints) -> Ints:
    """The score of the first annotator who gave one, (n,), from (n, k)."""
    return ratings[np.arange(len(ratings)), (ratings > 0).argmax(axis=1)]


def aggregated(ratings: Ints, how: str) -> Ints:
    return np.array([aggregate(scores, "mean" if how == "mean" else "median") for scores in ratings.tolist()])


def measure(out: Path, seed: int, noise: float, missing: float) -> tuple[dict[tuple[str, str], float], str]:
    """The metrics of one draw by kind of label and metric, and a line about the annotators."""
    folder = out / str(seed)
    if not (folder / "combined_data.csv").is_file():
        write_demo(folder, seed=seed)
    rows = sample_rows(seed)
    clean = np.array([row.clean for row in rows])
    drawn = annotate([(row.image, row.hashtag, row.clean) for row in rows], ANNOTATORS, seed=seed, noise=noise,
                     missing=missing)  # fmt: skip
    ratings = np.array([[score or 0 for score in scores] for scores in drawn], dtype=np.int64)
    pairs = read_pairs(folder / "combined_data.csv", folder / "image")
    table: PairTable = pairs.inputs.table
    split = make_split(pairs, seed=seed)
    embeddings = embed(pairs, backbone="tiny", cache=out / "cache", device="cpu")
    at = table.rows - 1
    rated = (ratings[at] > 0).any(axis=1)
    train, test = np.flatnonzero(split.kept & (split.side == "train") & rated), split.rows("test")
    figures: dict[tuple[str, str], list[float]] = {}
    labels = {kind: label(ratings[at[train]]) for kind, label in KINDS.items()} | {CLEAN: (clean[at[train]], None)}
    for kind, (scores, shares) in labels.items():
        for training in range(TRAININGS):
            head, _ = train_head(
                HeadConfig(), embeddings[train], scores - 1, shares=shares, seed=1000 * seed + training
            )
            said = head.predict(embeddings[test])
            found = evaluate(clean[at[test]], said.predicted + 1, said.values, said.probabilities)
            for metric in METRICS:
                figures.setdefault((kind, metric), []).append(found[metric] or 0.0)
    known = float(kappa(expected_confusion(clean, noise), WEIGHTS["kappa_quadratic"]))
    agreed = all_pairs(column_names(ANNOTATORS), ratings, np.array([row.image for row in rows], dtype=object))
    key = "kappa_quadratic"
    line = ", ".join(with_interval(pair.figures[key], pair.ci95[key]) for pair in agreed)
    return {name: float(np.mean(values)) for name, values in figures.items()}, f"{seed}: {line}; known {number(known)}"


def markdown(seeds: list[int], draws: list[dict[tuple[str, str], float]]) -> str:
    """A table for each metric: kinds of label by draw and over draws, and their differences from one annotator."""
    lines = []
    for metric in METRICS:
        head = [metric, *map(str, seeds), "mean (95 % interval)", "minus one annotator"]
        lines += [head, ["---"] * len(head)]
        base = np.array([draw["one annotator", metric] for draw in draws])
        for kind in (*KINDS, CLEAN):
            values = np.array([draw[kind, metric] for draw in draws])
            lines.append([kind, *map(number, values), interval(values), interval(values - base)])
        lines.append([])
    return "".join(f"| {' | '.join(line)} |\n" if line else "\n" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.panel", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="one draw each (default: %(default)s)")
    parser.add_argument("--noise", type=float, default=NOISE, help="share of scores moved (default: %(default)s)")
    parser.add_argument("--missing", type=float, default=0.0, help="share of pairs left out (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("runs/panel"), help="folder (default: %(default)s)")
    given = parser.parse_args()
    measured = [measure(given.out, seed, given.noise, given.missing) for seed in given.seeds]
    print(machine("scikit-learn"), end="\n\n")
    print("Quadratic kappas of the annotators, 95 % intervals over images:\n")
    print("".join(f"- {line}\n" for _, line in measured))
    print(markdown(list(given.seeds), [figures for figures, _ in measured]), end="")


if __name__ == "__main__":
    main()
