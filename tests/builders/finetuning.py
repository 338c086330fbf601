"""A small fine-tuning from start to end: images, pair table, split and a random backbone; the published loop."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from sklearn.utils.class_weight import compute_class_weight
from torch import nn
from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel

from consistency.backbone.model import Backbone, load_backbone
from consistency.backbone.resolve import resolve_backbone
from consistency.data.files import ImageFile, find_images
from consistency.data.pairs import PairTable, Skipped, read_pairs
from finetune.config import FinetuneConfig
from finetune.dataset import Floats, read_pair_data
from finetune.model import Finetuned
from finetune.prepare import Prepared, Sides, prepare
from finetune.train import FinetuneResult, finetune
from heads.model import HeadConfig
from tests.builders.models import make_clip_folder

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

    def prepare(
        self,
        config: FinetuneConfig,
        *,
        backbone: Backbone | None = None,
        validate: bool = True,
        seed: int = 3,
        class_weights_from: Ints | None = None,
    ) -> Prepared:
        sides = self.sides(validate=validate, class_weights_from=class_weights_from)
        return prepare(backbone or self.backbone(), self.table, self.files, sides, config, seed=seed)

    def sides(self, *, validate: bool = True, class_weights_from: Ints | None = None) -> Sides:
        val = self.val if validate else None
        return Sides(self.table.labels, self.train, val, self.test, class_weights_from=class_weights_from)

    def run(self, config: FinetuneConfig, out: Path, **options: Any) -> FinetuneResult:
        training = {name: options.pop(name) for name in ("head", "resume", "cadence", "on_epoch") if name in options}
        return finetune(self.prepare(config, **options), out=out, **training)


def make_case(folder: Path, *, pictures: int = 12, size: int = 40) -> Case:
    """`images` noisy one-coloured images, each with every hashtag: 5 where they fit, else 4 to 1."""
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
    """The default recipe, short, with a small head and without a refit."""
    head = HeadConfig(hidden=(16,), epochs=5, batch_size=16, dropout=0.3, class_weights="balanced", lr=1e-3)
    return replace(FinetuneConfig.default(), **{"head": head, "epochs": 3, "patience": None, "refit": False, **changes})


class PublishedLoop:
    """FT_*.py written down plainly: every pair decodes, tokenizes and encodes its image and hashtag anew.

    Rows come from outside, since the published order is left to chance. `head` starts the classifier: there is no
    seed either. table.labels of all rows decide the class weights.
    """

    def __init__(
        self,
        model: Path,
        images: Path,
        table: PairTable,
        head: nn.Sequential,
        *,
        dropout: float,
        lr: float,
        device: str = "cpu",
    ) -> None:
        self.images, self.table, self.device = images, table, device
        self.model = CLIPModel.from_pretrained(model, dtype=torch.float32).to(device)
        self.tokenizer = AutoTokenizer.from_pretrained(model)
        self.processor = AutoImageProcessor.from_pretrained(model, backend="pil")
        self.length = self.model.config.text_config.max_position_embeddings  # CLIP: 77
        self.size = (self.model.config.vision_config.image_size,) * 2
        width = self.model.config.projection_dim
        self.classifier = nn.Sequential(nn.Linear(2 * width, 256), nn.ReLU(), nn.Dropout(dropout), nn.Linear(256, 5))
        self.classifier.load_state_dict(head.state_dict())
        self.classifier.to(device)
        labels = table.labels
        weight = compute_class_weight("balanced", classes=np.unique(labels), y=labels)
        self.criterion = nn.CrossEntropyLoss(weight=torch.tensor(weight, dtype=torch.float32, device=device))
        parameters = [*self.model.parameters(), *self.classifier.parameters()]
        self.optimizer = torch.optim.Adam(parameters, lr=lr, weight_decay=1e-4)
        self.scheduler = torch.optim.lr_scheduler.StepLR(self.optimizer, step_size=5, gamma=0.1)
        self.scaler = torch.amp.GradScaler(device, enabled=device == "cuda")

    def epoch(self, order: Ints) -> None:
        """Batches of 8 in this order, a step after every second; the gradient of an odd last one is dropped."""
        self.model.train()
        self.classifier.train()
        self.optimizer.zero_grad()
        for number, start in enumerate(range(0, len(order), 8)):
            rows = order[start : start + 8]
            labels = torch.from_numpy(self.table.labels[rows]).to(self.device)
            with torch.autocast(self.device, torch.float16, enabled=self.device == "cuda"):
                loss = self.criterion(self.logits(rows), labels) / 2
            self.scaler.scale(loss).backward()
            if (number + 1) % 2 == 0:
                self.scaler.step(self.optimizer)
                self.scaler.update()
                self.optimizer.zero_grad()
        self.scheduler.step()

    @torch.no_grad()
    def answer(self, rows: Ints) -> torch.Tensor:
        """(n,) classes of rows, in batches of 8."""
        self.model.eval()
        self.classifier.eval()
        parts = [self.logits(rows[start : start + 8]) for start in range(0, len(rows), 8)]
        return torch.cat(parts).argmax(dim=1)

    def logits(self, rows: Ints) -> torch.Tensor:
        images = [Image.open(self.images / name).convert("RGB").resize(self.size) for name in self.table.images[rows]]
        hashtags = list(self.table.hashtags[rows])
        text = self.tokenizer(
            hashtags, padding="max_length", max_length=self.length, truncation=True, return_tensors="pt"
        )
        pixels = self.processor(images, return_tensors="pt")["pixel_values"].to(self.device)
        output = self.model(pixel_values=pixels, **text.to(self.device))
        return self.classifier(torch.cat([output.image_embeds, output.text_embeds], dim=1))


def answers_of(
    model: Finetuned, table: PairTable, files: Mapping[str, ImageFile]
) -> tuple[Ints, Floats, tuple[Skipped, ...]]:
    """Usable rows of a table, their probabilities (m, 5), and the rows without a usable image."""
    data = read_pair_data(model.backbone, table, files, model.config)
    rows = data.usable(np.arange(len(table)))
    return rows, model.probabilities(data, rows), data.skipped


def weights_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def equal_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)
