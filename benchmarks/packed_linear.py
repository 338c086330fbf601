"""What oneDNN's own weight layout saves on a CPU: `python -m benchmarks.packed_linear [--rounds 7] [--quick]`.

Encodes hashtags and images with ViT-B/32-shaped random weights on two threads, with and without `pack_linear`, the two
in turn; each figure is the least time of all rounds. Both models have everything else that `trainable=False` brings.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch

from benchmarks.extract import ENDS, SHAPES, WORDS
from benchmarks.timing import alternate, machine
from consistency.backbone.faster import fold_quick_gelu, pack_linear, trim_text_tower
from consistency.backbone.model import Backbone, load_backbone
from consistency.backbone.resolve import resolve_backbone
from tests.builders.models import make_clip_folder

THREADS = 2


def encode_hashtags(backbone: Backbone, hashtags: list[str]) -> None:
    size = backbone.batch_sizes[1]
    for start in range(0, len(hashtags), size):
        backbone.encode_texts(hashtags[start : start + size])


def encode_images(backbone: Backbone, images: np.ndarray) -> None:
    size = backbone.batch_sizes[0]
    for start in range(0, len(images), size):
        backbone.encode_images(images[start : start + size])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="1 round of a few: does it run at all")
    given = parser.parse_args()
    torch.set_num_threads(THREADS)
    hashtags = [f"#{word}{end}{number or ''}" for number in range(3) for end in ENDS.split() for word in WORDS.split()]
    images = np.random.default_rng(0).integers(0, 256, (16 if given.quick else 64, 224, 224, 3), np.uint8)
    hashtags = hashtags[: 32 if given.quick else 512]
    with tempfile.TemporaryDirectory() as root:
        options = SHAPES["B/32"].options
        folder = make_clip_folder(Path(root), image_size=224, vocab_size=49408, legacy_eos=True, **options)
        resolved = resolve_backbone(str(folder))
        plain, packed = (load_backbone(resolved, device="cpu", precision="fp32") for _ in range(2))
    for backbone in (plain, packed):
        trim_text_tower(backbone.model)
        fold_quick_gelu(backbone.model)
    pack_linear(packed.model)
    best = alternate(
        {
            f"{kind}, {name}": lambda encode=encode, backbone=backbone, data=data: encode(backbone, data)
            for kind, encode, data in (("hashtags", encode_hashtags, hashtags), ("images", encode_images, images))
            for name, backbone in (("plain", plain), ("packed", packed))
        },
        rounds=1 if given.quick else given.rounds,
    )
    print(machine("transformers"))
    print(f"ViT-B/32, {THREADS} threads, {len(hashtags)} hashtags, {len(images)} images, fp32")
    for kind, count in (("hashtags", len(hashtags)), ("images", len(images))):
        one, other = best[f"{kind}, plain"], best[f"{kind}, packed"]
        print(f"{kind:<9} plain {count / one:7.1f} a second, packed {count / other:7.1f}: {one / other:.2f}x")


if __name__ == "__main__":
    main()
