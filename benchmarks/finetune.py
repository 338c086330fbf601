"""The time of an epoch of fine-tuning, compared with the published script: `python -m benchmarks.finetune [--quick]`.

The models are ViT-B/32 with random weights and the packaged `tiny`. The data are JPEG images of 1080x1350 and a table
with the published counts: 172 images, 2,022 rows, 1,375 hashtags. The published loop decodes and encodes the image and
the hashtag, padded to 77 tokens, of each row. `--preset paper` trains on the same rows in the same steps of 16 and ends
with the same weights (tests/commands/test_finetune_paper.py), but keeps decoded images, trims padding, and encodes each
image and hashtag of a step once. The default recipe takes images with all their rows. Each variant in turn trains for a
few steps and predicts test rows; the time of an epoch of 1,617 + 405 rows is extrapolated from the seconds per row, and
the time of decoding once is listed separately. On a GPU everything runs there, the published loop with its autocast and
GradScaler.
"""

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers.utils.logging import disable_progress_bar

from benchmarks.timing import alternate, machine
from consistency.backbone.model import load_backbone
from consistency.backbone.resolve import resolve_backbone
from consistency.data.files import find_images
from consistency.data.pairs import PairTable, read_pairs
from finetune.checkpoint import Cadence, Checkpoints
from finetune.classifier import PairClassifier, embed
from finetune.config import FinetuneConfig
from finetune.dataset import Ints, epoch_steps, with_images
from finetune.loop import Training
from finetune.prepare import Prepared, Sides, prepare
from heads.model import Head
from tests.builders.finetuning import PublishedLoop
from tests.builders.models import Tower, make_clip_folder

IMAGES, ROWS, HASHTAGS, TEST = 172, 2022, 1375, 405
WIDTH, HEIGHT = 1080, 1350
EPOCHS = 20
TARGET = 3.0
MODELS = ("ViT-B/32", "tiny")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
VIT_B32: dict[str, Any] = {
    "dim": 512,
    "image_size": 224,
    "patch_size": 32,
    "vision": Tower(768, 12, 12),
    "text": Tower(512, 12, 8),
    "vocab_size": 49408,
}


def write_data(folder: Path) -> PairTable:
    """Write smooth random images and a table with hashtags of one to four syllables, about 9 tokens each."""
    rng = np.random.default_rng(0)
    (folder / "image").mkdir()
    for number in range(IMAGES):
        coarse = rng.integers(0, 256, (HEIGHT // 30, WIDTH // 30, 3), np.uint8)
        image = Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
        image.save(folder / "image" / f"{number}.jpg", quality=90)
    syllables = rng.integers(0xAC00, 0xD7A4, (HASHTAGS, 4))
    names = ["#" + "".join(map(chr, row[: 1 + number % 4])) for number, row in enumerate(syllables)]
    hashtags = rng.permutation([*range(HASHTAGS), *rng.integers(0, HASHTAGS, ROWS - HASHTAGS)])
    scores = np.concatenate([np.arange(1, 6), rng.integers(1, 6, ROWS - 5)])
    lines = [f"{row % IMAGES}.jpg,{names[hashtags[row]]},{scores[row]}\n" for row in range(ROWS)]
    (folder / "pairs.csv").write_text("Image Filename,Hashtag,Score\n" + "".join(lines), encoding="utf-8")
    return read_pairs(folder / "pairs.csv")


def sides(table: PairTable, *, by_image: bool) -> tuple[Ints, Ints]:
    """Return training and test rows: single rows, as published, or whole images."""
    rng = np.random.default_rng(1)
    if not by_image:
        order = rng.permutation(len(table))
        return order[TEST:], order[:TEST]
    tested = np.isin(table.images, rng.permutation(np.unique(table.images))[: IMAGES // 5])
    return np.flatnonzero(~tested), np.flatnonzero(tested)


def prepared(folder: Path, model: Path, table: PairTable, config: FinetuneConfig, *, by_image: bool) -> Prepared:
    backbone = load_backbone(resolve_backbone(str(model)), device=DEVICE, precision="fp32")
    files = find_images(table.images, folder / "image")
    train, test = sides(table, by_image=by_image)
    return prepare(backbone, table, files, Sides(table.labels, train, None, test), config, seed=0)


def trainer(given: Prepared, out: Path, steps: int) -> tuple[Callable[[], None], int]:
    """Return a function that trains the first steps of an epoch, and the number of rows in them."""
    head = Head(given.config.head, given.backbone.embed_dim)
    training = Training(
        PairClassifier(given.backbone, head, given.config.head.features),
        given.data,
        given.rows,
        given.config,
        seed=0,
        out=out,
        checkpoints=Checkpoints(out, {}, Cadence()),
        warm=False,
    )
    weights = given.rows.class_weights[given.rows.labels]
    first = epoch_steps(given.config, given.data, given.rows.train, weights, seed=0, epoch=1)[:steps]

    def train() -> None:
        for step, numbers, images in with_images(given.data, first):
            training.update(step, numbers, images)

    return train, sum(len(step.rows) for step in first)


def finished(_: None) -> None:
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def compare(name: str, folder: Path, table: PairTable, *, steps: int, tested: int, rounds: int) -> None:
    model = resolve_backbone("tiny").folder if name == "tiny" else make_clip_folder(folder / "vit-b-32", **VIT_B32)
    configs = {"--preset paper": FinetuneConfig.paper(), "default": replace(FinetuneConfig.default(), warm_start=False)}
    ready = {
        recipe: prepared(folder, model, table, config, by_image=recipe == "default")
        for recipe, config in configs.items()
    }
    ours = ready["--preset paper"]
    head, (train, test) = configs["--preset paper"].head, sides(table, by_image=False)
    classifier = Head(head, ours.backbone.embed_dim)
    script = PublishedLoop(model, folder / "image", table, classifier, dropout=head.dropout, lr=head.lr, device=DEVICE)
    trainers = {recipe: trainer(given, folder, steps) for recipe, given in ready.items()}
    variants: dict[str, Callable[[], Any]] = {
        "published": lambda: finished(script.epoch(train[: 16 * steps])),
        **{recipe: take for recipe, (take, _) in trainers.items()},
        "published test": lambda: script.answer(test[:tested]).cpu(),
        "our test": lambda: embed(ours.backbone, ours.data, ours.rows.test),
        "decode": lambda: prepared(folder, model, table, configs["--preset paper"], by_image=False),
    }
    seconds = alternate(variants, rounds=rounds)
    rows = {recipe: count for recipe, (_, count) in trainers.items()} | {"published": 16 * steps}
    each = {recipe: seconds[recipe] / count for recipe, count in rows.items()}
    answering = dict.fromkeys(ready, seconds["our test"]) | {"published": seconds["published test"] * TEST / tested}
    epochs = {recipe: (ROWS - TEST) * each[recipe] + answering[recipe] for recipe in each}
    print(
        f"\n{name}: an epoch of {ROWS - TEST:,} rows trained and {TEST} tested; decoding once {seconds['decode']:.1f} s"
    )
    print("                 s a row trained    s tested    s an epoch    against published")
    for recipe in ("published", *ready):
        line = f"{recipe:>14} {each[recipe]:18.4f} {answering[recipe]:11.1f} {epochs[recipe]:13.1f}"
        if recipe != "published":
            whole = EPOCHS * epochs["published"] / (EPOCHS * epochs[recipe] + seconds["decode"])
            line += f" {epochs['published'] / epochs[recipe]:8.1f}x, {EPOCHS} epochs with decoding {whole:.1f}x"
        print(line + (f" (target {TARGET:.0f}x)" if recipe != "published" else ""), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS, help="models to time")
    parser.add_argument("--steps", type=int, default=4, help="optimizer steps a round (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="the best counts (default: %(default)s)")
    parser.add_argument("--threads", type=int, help="of torch, for all (default: torch's choice)")
    parser.add_argument("--quick", action="store_true", help="tiny alone, two steps, one round: a smoke test")
    given = parser.parse_args()
    if given.quick:
        given.models, given.steps, given.rounds = ["tiny"], 2, 1
    disable_progress_bar()
    if given.threads:
        torch.set_num_threads(given.threads)
    card = torch.cuda.get_device_name() if DEVICE == "cuda" else f"{torch.get_num_threads()} threads"
    print(machine("transformers", "pillow"), f", {card}", sep="")
    with tempfile.TemporaryDirectory() as folder:
        table = write_data(Path(folder))
        for name in given.models:
            compare(name, Path(folder), table, steps=given.steps, tested=32, rounds=given.rounds)


if __name__ == "__main__":
    main()
