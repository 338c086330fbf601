"""How well the maps of `explain` find what a hashtag is about, on drawn images with two objects.

    python -m benchmarks.explain [--images 80] [--seed 1]

Every image shows a main object and a smaller second one. For each map of the packaged backbone:

A-vs-B  the map of the main object's hashtag minus that of the second one's: how often a patch of the main object has a
        larger difference than one of the second (an area under a ROC curve, so 0.5 by chance).
gap     insertion minus deletion of the cosine, mean over both hashtags; `second` is that of the second object alone.

`fixed place` is the control of the figure, and `mean map` the mean of attention's maps over all other images: neither
sees the image or the hashtag. A patch belongs to an object that covers a quarter of it. Intervals are 95 % from 2,000
resamples of the images.
"""

import argparse
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from PIL import Image
from sklearn.metrics import roc_auc_score

from benchmarks.timing import machine
from consistency.backbone.model import load_backbone
from consistency.backbone.resolve import resolve_backbone
from consistency.text import with_interval
from demo.dataset import SIDE
from demo.scenes import draw
from demo.vocabulary import CONCEPTS, Content, sample_content
from koclip_consistency.scoring.encoder import WarmEncoder
from koclip_consistency.scoring.occlusion import Grid, deletion_gap, fixed_place, occlusion
from koclip_consistency.scoring.probe import Probe
from koclip_consistency.scoring.scorer import Scorer

COVERED = 0.25  # of a patch, by an object
RESAMPLES = 2000
MAPS = ATTENTION, OCCLUSION, FIXED, MEAN = "attention", "occlusion", "fixed place", "mean map"


@dataclass
class Figures:
    """A-vs-B of each image, and gaps for the hashtags of the main and the second object."""

    a_vs_b: list[float] = field(default_factory=list)
    gaps: list[tuple[float, float]] = field(default_factory=list)


def two_objects(seed: int, images: int) -> list[tuple[Content, Image.Image, npt.NDArray[np.bool_]]]:
    """Draw images with two objects; the masks, (2, side, side), are what is seen of the main and the second object."""
    found = []
    number = 0
    while len(found) < images:
        name = f"explain/{seed}/{number}"
        content = sample_content(random.Random(name))
        number += 1
        if len(content.objects) < 2:
            continue
        hidden = ((), content.objects[:1], content.objects)
        whole, second, none = (
            np.asarray(draw(content, random.Random(f"{name}/drawn"), SIDE, hidden=objects)) for objects in hidden
        )
        main = (whole != second).any(axis=2)
        found.append((content, Image.fromarray(whole), np.stack([main, (second != none).any(axis=2) & ~main])))
    return found


def patches_of(masks: npt.NDArray[np.bool_], shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """The patches that belong to each object, (2, rows, columns): to the one that covers more, if it covers enough."""
    rows, columns = shape
    blocks = masks.reshape(2, rows, masks.shape[1] // rows, columns, masks.shape[2] // columns)
    share = blocks.mean(axis=(2, 4))
    return (share > COVERED) & (share >= share[::-1])


def a_vs_b(first: Grid, second: Grid, patches: npt.NDArray[np.bool_]) -> float | None:
    """How well the difference of two maps tells the patches of two objects apart; None if one has no patch."""
    if not patches.any(axis=(1, 2)).all():
        return None
    either = patches.any(axis=0)
    return float(roc_auc_score(patches[0][either], (first - second)[either]))


def measure(seed: int, images: int, names: Collection[str] = MAPS) -> dict[str, Figures]:
    """Return the figures of the maps with these names."""
    backbone = load_backbone(resolve_backbone("tiny"), device="cpu", precision="fp32")
    scorer = Scorer("cosine", None, WarmEncoder(lambda: backbone), _no_table)
    figures = {name: Figures() for name in names}
    drawn = two_objects(seed, images)
    probes: list[list[Probe]] = []
    attention: list[list[Grid]] = []
    for content, image, _ in drawn:
        probes.append([scorer.probe(image, [CONCEPTS[name][0]]) for name in content.objects])
        attention.append([probe.relevance() for probe in probes[-1]])
    total = np.sum(attention, axis=(0, 1))
    for (_, _, masks), pair, maps in zip(drawn, probes, attention, strict=True):
        shape = pair[0].patches
        assert shape is not None
        patches = patches_of(masks, shape)
        for name, found in figures.items():
            first, second = _maps(name, pair, maps, total - np.sum(maps, axis=0), shape)
            if (area := a_vs_b(first, second, patches)) is not None:
                found.a_vs_b.append(area)
            gaps = [deletion_gap(p.cosines, p.pixels, grid) for p, grid in zip(pair, (first, second), strict=True)]
            found.gaps.append((gaps[0], gaps[1]))
    return figures


def _maps(
    name: str, pair: Sequence[Probe], attention: Sequence[Grid], mean: Grid, shape: tuple[int, int]
) -> list[Grid]:
    """The maps of the two hashtags of an image."""
    if name == ATTENTION:
        return list(attention)
    if name == OCCLUSION:
        return [occlusion(probe.cosines, probe.pixels, shape) for probe in pair]
    return [fixed_place(shape) if name == FIXED else mean] * 2


def _no_table(*_: object) -> None:
    raise AssertionError("no table is asked for")


def _with_interval(values: npt.NDArray[np.float64]) -> str:
    drawn = np.random.default_rng(0).integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.quantile(values[drawn].mean(axis=1), (0.025, 0.975))
    return with_interval(float(values.mean()), (float(low), float(high)))


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.explain", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=80, help="images with two objects (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="random seed of the images (default: %(default)s)")
    given = parser.parse_args()
    figures = measure(given.seed, given.images)
    print(machine("transformers", "scikit-learn"), end="\n\n")
    print(f"| map | A-vs-B (n = {len(figures[FIXED].a_vs_b)}) | gap (n = {given.images}) | gap, second object |")
    print("|---|---|---|---|")
    for name, found in figures.items():
        gaps = np.array(found.gaps)
        cells = (np.array(found.a_vs_b), gaps.mean(axis=1), gaps[:, 1])
        print(f"| {name} | {' | '.join(map(_with_interval, cells))} |")


if __name__ == "__main__":
    main()
