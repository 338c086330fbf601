"""Do the rates and ridge strengths of the default grid suit embeddings as wide as CLIP's (512) and koCLIP's (768)?

    python -m benchmarks.widths

This benchmark approximates those embeddings, because it does not have the weights. A random rotation maps the 128
numbers of the packaged backbone on the demo data to `width` numbers. Each image and hashtag gets its own noise in all
directions, as long as its vector (which a head can overfit), and all images and all hashtags get a common offset (the
gap between CLIP's images and texts: Liang et al., Mind the Gap, NeurIPS 2022). For a ridge regression and two heads
with a hidden layer it prints the score of `heads --grid` (mean of QWK and macro-F1 over 5 inner folds of train) at the
settings of the default grid (*) and beyond them. If a setting outside the grid were clearly better than all inside, the
grid would search in the wrong place. No test row is used. It takes about 2 minutes on 2 cores.
"""

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.encoded import encoded_draw
from benchmarks.timing import machine
from consistency.backbone.embeddings import PairEmbeddings
from consistency.text import number
from heads.config import HeadConfig
from heads.grid import default_grid, run_grid
from koclip_consistency.screen.console import Screen

Vectors = npt.NDArray[np.float32]
RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
STRENGTHS = (1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)


def families() -> dict[str, list[HeadConfig]]:
    """Configurations that differ in one setting, which goes beyond the default grid's values on both sides."""
    grid = default_grid()
    ridge = next(config for config in grid if config.optimizer == "ridge" and config.loss == "regression")
    hidden = next(config for config in grid if config.hidden == (64,) and config.features == "full")
    product = next(config for config in grid if config.hidden == (64,) and config.features == "product")
    return {
        "ridge": [replace(ridge, weight_decay=strength) for strength in STRENGTHS],
        "full, 64, cross-entropy": [replace(hidden, lr=rate) for rate in RATES],
        "product, 64, cross-entropy": [replace(product, lr=rate) for rate in RATES],
    }


def widened(vectors: Vectors, width: int, rng: np.random.Generator, rotation: Vectors) -> Vectors:
    """(n, d) unit vectors as (n, width) ones."""
    noise, offset = rng.normal(size=(len(vectors), width)), rng.normal(size=width)
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    wide = vectors @ rotation + noise + offset / np.linalg.norm(offset)
    return (wide / np.linalg.norm(wide, axis=1, keepdims=True)).astype(np.float32)


def wide_pairs(pairs: PairEmbeddings, width: int, seed: int) -> PairEmbeddings:
    rng = np.random.default_rng(seed)
    rotation = np.linalg.qr(rng.normal(size=(width, pairs.dim)))[0].T.astype(np.float32)
    images, hashtags = (widened(table, width, rng, rotation) for table in (pairs.images, pairs.hashtags))
    return replace(pairs, images=images, hashtags=hashtags)


def table(name: str, configs: Sequence[HeadConfig], scores: dict[int, list[float]]) -> list[str]:
    """Scores by width and setting as Markdown; the best of a row is bold, the default grid's settings have a *."""
    setting = "weight_decay" if configs[0].optimizer == "ridge" else "lr"
    of_grid = {
        getattr(config, setting)
        for config in default_grid()
        if (config.features, config.hidden, config.optimizer)
        == (configs[0].features, configs[0].hidden, configs[0].optimizer)
    }
    values = [getattr(config, setting) for config in configs]
    titles = [f"{value:g}*" if value in of_grid else f"{value:g}" for value in values]
    lines = [f"| {name}, {setting} | {' | '.join(titles)} |", "| --- " * (len(values) + 1) + "|"]
    for width, row in scores.items():
        cells = [f"**{number(score)}**" if score == max(row) else number(score) for score in row]
        lines.append(f"| {width} | {' | '.join(cells)} |")
    return [*lines, ""]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.widths", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--widths", type=int, nargs="+", default=(128, 512, 768), help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the draw and the noise (default: %(default)s)")
    parser.add_argument("--folds", type=int, default=5, help="inner folds of train (default: %(default)s)")
    given = parser.parse_args()
    screen = Screen()
    with tempfile.TemporaryDirectory() as name:
        _, split, encoded = encoded_draw(Path(name), given.seed, progress=screen.progress)
        rows = encoded.side(split, "train")
    scores: dict[str, dict[int, list[float]]] = {name: {} for name in families()}
    for width in given.widths:
        pairs = wide_pairs(encoded.at(rows), width, given.seed)
        for name, configs in families().items():
            result = run_grid(
                configs,
                pairs,
                split.labels[rows],
                split.groups_of(rows),
                folds=given.folds,
                repeats=1,
                seed=given.seed,
                progress=screen.progress,
            )
            scores[name][width] = [entry.mean for entry in result.entries]
    print(machine("scikit-learn"), end="\n\n")
    for name, configs in families().items():
        print("\n".join(table(name, configs, scores[name])))


if __name__ == "__main__":
    main()
