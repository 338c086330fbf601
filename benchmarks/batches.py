"""What vectors owe to their batch: `python -m benchmarks.batches [--shape tiny|B/32|L/14] [--plain] [--speed]`.

Encodes the same images and hashtags on a CPU in one batch and in smaller ones, and prints how many vectors differ from
those of the one batch, and by how much. `--plain` leaves the linear layers unpacked. `--speed` prints instead what an
image and a hashtag take in batches of each size, beside those that `--batch-size auto` chooses by a rule.
"""

import argparse
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.extract import ENDS, SHAPES, WORDS
from benchmarks.timing import alternate, machine
from consistency.backbone.faster import fold_quick_gelu, pack_linear, trim_text_tower
from consistency.backbone.model import Backbone, load_backbone
from consistency.backbone.resolve import resolve_backbone
from tests.builders.models import make_clip_folder

SIZES = 32, 8, 5, 1
COUNTS = {"tiny": 64, "B/32": 24, "L/14": 8}
TIMED = {"tiny": 256, "B/32": 64, "L/14": 8}  # images; eight times as many hashtags
ROUNDS = 3


def load(shape: str, *, packed: bool) -> Backbone:
    with tempfile.TemporaryDirectory() as root:
        name = "tiny"
        if shape != "tiny":
            options = SHAPES[shape].options
            name = str(make_clip_folder(Path(root), image_size=224, vocab_size=49408, legacy_eos=True, **options))
        backbone = load_backbone(resolve_backbone(name), device="cpu", precision="fp32")
    trim_text_tower(backbone.model)
    fold_quick_gelu(backbone.model)
    if packed:
        pack_linear(backbone.model)
    return backbone


def compare(what: str, whole: npt.NDArray[np.float32], parts: Sequence[npt.NDArray[np.float32]]) -> None:
    gap = np.abs(whole - np.concatenate(parts)).max(axis=1)
    print(f"{what}: {np.count_nonzero(gap)} of {len(whole)} vectors differ, at most by {gap.max():.1e}", flush=True)


def time_sizes(backbone: Backbone, images: npt.NDArray[np.uint8], hashtags: list[str]) -> None:
    """Print the least milliseconds of three rounds, in which sizes take turns."""
    own = backbone.batch_sizes
    kinds: tuple[tuple[str, int, Callable[[Any], Any], Any], ...] = (
        ("images", own[0], backbone.encode_images, images),
        ("hashtags", own[1], backbone.encode_texts, hashtags),
    )
    for kind, auto, encode, items in kinds:
        sizes = sorted({auto, *(2**n for n in range(10) if 2**n <= len(items))})
        variants = {str(size): partial(in_batches, encode, items, size) for size in sizes}
        best = alternate(variants, rounds=ROUNDS)
        for size in sizes:
            mark = ", auto" if size == auto else ""
            print(f"{kind} in batches of {size}: {1e3 * best[str(size)] / len(items):.2f} ms each{mark}", flush=True)


def in_batches(encode: Callable[[Any], Any], items: Any, size: int) -> None:
    for start in range(0, len(items), size):
        encode(items[start : start + size])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=list(COUNTS), default="tiny")
    parser.add_argument("--plain", action="store_true", help="without packed linear layers")
    parser.add_argument("--speed", action="store_true", help="time batches of each size")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    backbone = load(given.shape, packed=not given.plain)
    assert backbone.spec is not None
    count = (TIMED if given.speed else COUNTS)[given.shape]
    images = np.random.default_rng(0).integers(0, 256, (count, *backbone.spec.size, 3), np.uint8)
    hashtags = [f"#{word}{end}" for end in ENDS.split() for word in WORDS.split()][
        : 8 * count if given.speed else count
    ]
    print(machine("transformers"))
    print(f"{given.shape}, {'plain' if given.plain else 'packed'} linear layers, {given.threads} threads")
    if given.speed:
        time_sizes(backbone, images, hashtags)
        return
    whole_images, whole_hashtags = backbone.encode_images(images), backbone.encode_texts(hashtags)
    for size in SIZES:
        starts = range(0, count, size)
        parts = [backbone.encode_images(images[start : start + size]) for start in starts]
        compare(f"images in batches of {size} instead of {count}", whole_images, parts)
        texts = [backbone.encode_texts(hashtags[start : start + size]) for start in starts]
        compare(f"hashtags in batches of {size} instead of {count}", whole_hashtags, texts)


if __name__ == "__main__":
    main()
