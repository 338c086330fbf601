"""A small fine-tuning from start to end: pictures, pair table, split and a random backbone."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from consistency.backbone import Backbone, load_backbone
from consistency.images import ImageFile, find_images
from consistency.pairs import PairTable, read_pairs
from consistency.resolve import resolve_backbone
from finetune.config import FinetuneConfig
from finetune.train import FinetuneResult, finetune
from heads.model import HeadConfig
from tests.models import make_clip_folder

COLOURS = {
    "#바다": (40, 90, 200),
    "#여행": (200, 180, 90),
    "#고양이": (90, 90, 90),
    "#봄": (240, 150, 190),
    "#forest": (30, 120, 50),
}
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Case:
    """A pair table whose scores follow from colour and hashtag, divided by row."""

    folder: Path
    model: Path
    table: PairTable
    files: Mapping[str, ImageFile]
    train: Ints
    val: Ints
    test: Ints

    def backbone(self) -> Backbone:
        return load_backbone(resolve_backbone(str(self.model)), device="cpu", precision="fp32")

    def run(self, config: FinetuneConfig, out: Path, *, validate: bool = True, **options: Any) -> FinetuneResult:
        return finetune(
            options.pop("backbone", None) or self.backbone(),
            self.table,
            self.files,
            self.table.labels,
            self.train,
            self.val if validate else None,
            self.test,
            config,
            seed=options.pop("seed", 3),
            out=out,
            **options,
        )


def make_case(folder: Path, *, pictures: int = 12, size: int = 40) -> Case:
    """`pictures` noisy one-coloured pictures, each with every hashtag: 5 where they fit, else 4 to 1."""
    rng = np.random.default_rng(0)
    (folder / "image").mkdir(parents=True)
    names = list(COLOURS)
    rows = []
    for number in range(pictures):
        shown = number % len(names)
        noise = rng.integers(-30, 30, (size, size + 8 * (number % 3), 3))
        pixels = np.clip(np.array(COLOURS[names[shown]]) + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "image" / f"{number}.png")
        for other, name in enumerate(names):
            rows.append((f"{number}.png", name, 5 - (other - shown) % len(names)))
    with (folder / "pairs.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("Image Filename", "Hashtag", "Score"), *rows])
    table = read_pairs(folder / "pairs.csv")
    order = rng.permutation(len(table))
    cuts = [len(order) * 6 // 10, len(order) * 8 // 10]
    train, val, test = np.split(order, cuts)
    model = make_clip_folder(folder / "backbone")
    return Case(folder, model, table, find_images(table.images, folder / "image"), train, val, test)


def quick(**changes: Any) -> FinetuneConfig:
    """The default recipe, short, with a small head."""
    head = HeadConfig(hidden=(16,), epochs=5, batch_size=16, dropout=0.3, class_weights="balanced", lr=1e-3)
    return replace(FinetuneConfig.default(), **{"head": head, "epochs": 3, "patience": None, **changes})
