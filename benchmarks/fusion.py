"""Two backbones as one, against each alone: `python -m benchmarks.fusion --other FOLDER --out FOLDER`.

FOLDER is a second backbone; without one there, `tiny` is trained from another seed with a third of the steps. For each
drawn data set the default head is trained on each backbone, on their vectors side by side, and on each with averaged
probabilities, from three seeds. Prints a Markdown table of the means on the test rows, then paired
differences of the first seed, averaged over the data sets, with 95 % intervals over images.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.encoded import encoded_draw
from consistency.backbone.embeddings import PairEmbeddings
from consistency.scale import Floats, Ints, confusion, macro_f1, qwk
from demo.train_backbone import Recipe, train_backbone
from heads.config import HeadConfig
from heads.train import train_head

SEEDS = (42, 43, 44)
RESAMPLES = 1000
WAYS = ("tiny", "other", "side by side", "averaged heads")
AGAINST = (("side by side", "tiny"), ("averaged heads", "tiny"), ("averaged heads", "side by side"))


def probabilities(folder: Path, seed: int, other: Path) -> tuple[Ints, Ints, dict[str, list[Floats]]]:
    """Labels and images, (n,) each, of the test rows of a draw, and what each way says about them, (n, 5) per seed."""
    inputs, split, encoded = encoded_draw(folder, seed, backbone=f"tiny,{other}")
    train, test = encoded.side(split, "train"), encoded.side(split, "test")
    said: dict[str, list[Floats]] = {way: [] for way in WAYS}
    for start in SEEDS:
        joined, asked = encoded.at(train), encoded.at(test)
        labels = split.labels[train]
        widths = [member.cache.dim or 0 for member in encoded.members]
        alone = [train_head(HeadConfig(), part, labels, seed=start)[0] for part in apart(joined, widths)]
        answers = [head.predict_proba(part) for head, part in zip(alone, apart(asked, widths), strict=True)]
        whole = train_head(HeadConfig(), joined, labels, seed=start)[0].predict_proba(asked)
        for way, answer in zip(WAYS, (*answers, whole, np.mean(answers, axis=0)), strict=True):
            said[way].append(answer)
    return split.labels[test], np.unique(inputs.identity[test], return_inverse=True)[1], said


def apart(joined: PairEmbeddings, widths: Sequence[int]) -> list[PairEmbeddings]:
    """The embeddings of each backbone, of unit norm."""
    scale, ends = np.float32(np.sqrt(len(widths))), np.cumsum(widths).tolist()
    return [
        PairEmbeddings(
            joined.images[:, end - width : end] * scale,
            joined.hashtags[:, end - width : end] * scale,
            joined.image_index,
            joined.hashtag_index,
        )
        for end, width in zip(ends, widths, strict=True)
    ]


def figures(labels: Ints, answer: Floats) -> tuple[float, float, float]:
    """QWK, macro-F1 and log loss."""
    counts = confusion(labels, answer.argmax(axis=1))
    loss = -np.log(answer[np.arange(len(labels)), labels]).mean()
    return float(qwk(counts)), float(macro_f1(counts)), float(loss)


def differences(draws: Sequence[tuple[Ints, Ints, dict[str, list[Floats]]]], one: str, other: str) -> Floats:
    """Resampled differences of QWK and macro-F1, (RESAMPLES, 2), averaged over the draws."""
    rng, found = np.random.default_rng(0), np.zeros((RESAMPLES, 2))
    for labels, images, said in draws:
        for row in found:
            drawn = np.bincount(rng.integers(0, images.max() + 1, images.max() + 1), minlength=images.max() + 1)
            rows = np.repeat(np.arange(len(labels)), drawn[images])
            pair = [figures(labels[rows], said[way][0][rows])[:2] for way in (one, other)]
            row += np.subtract(*pair) / len(draws)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--other", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--seeds", type=int, nargs="+", default=[811, 812])
    given = parser.parse_args()
    torch.set_num_threads(1)
    if not (given.other / "config.json").is_file():
        train_backbone(given.other, Recipe(seed=1, images=2500, steps=600))
    draws = [probabilities(given.out / str(seed), seed, given.other) for seed in given.seeds]
    print("| draw | backbone | QWK | macro-F1 | log loss |\n| --- | --- | --- | --- | --- |")
    for seed, (labels, _, said) in zip(given.seeds, draws, strict=True):
        for way in WAYS:
            means = np.mean([figures(labels, answer) for answer in said[way]], axis=0)
            print(f"| {seed} | {way} | " + " | ".join(f"{value:.3f}" for value in means) + " |")
    for one, other in AGAINST:
        found = differences(draws, one, other)
        for name, column in zip(("QWK", "macro-F1"), found.T, strict=True):
            low, high = np.percentile(column, [2.5, 97.5])
            print(f"{one} - {other}: {name} {column.mean():+.3f} ({low:.3f} to {high:.3f})")


if __name__ == "__main__":
    main()
