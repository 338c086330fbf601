"""What oneDNN's own weight layout saves on a CPU: `python -m benchmarks.packed_linear [--rounds 60] [--threads 2]`.

Encodes one batch of hashtags and one of images with ViT-B/32-shaped random weights, with and without `pack_linear`, the
two in turn; each figure is the least time of all rounds, which are short, so that some of them have the machine to
themselves. Both models have everything else that `trainable=False` brings.
"""

import argparse
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.extract import ENDS, SHAPES, WORDS
from benchmarks.timing import alternate, machine
from consistency.backbone.faster import fold_quick_gelu, pack_linear, trim_text_tower
from consistency.backbone.model import load_backbone
from consistency.backbone.resolve import resolve_backbone
from tests.builders.models import make_clip_folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="1 round: does it run at all")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as root:
        options = SHAPES["B/32"].options
        folder = make_clip_folder(Path(root), image_size=224, vocab_size=49408, legacy_eos=True, **options)
        resolved = resolve_backbone(str(folder))
        plain, packed = (load_backbone(resolved, device="cpu", precision="fp32") for _ in range(2))
    for backbone in (plain, packed):
        trim_text_tower(backbone.model)
        fold_quick_gelu(backbone.model)
    pack_linear(packed.model)
    images_in_batch, hashtags_in_batch = packed.batch_sizes
    hashtags = [f"#{word}{end}" for end in ENDS.split() for word in WORDS.split()][:hashtags_in_batch]
    images = np.random.default_rng(0).integers(0, 256, (images_in_batch, 224, 224, 3), np.uint8)
    variants = {}
    for name, backbone in (("plain", plain), ("packed", packed)):
        variants[f"hashtags, {name}"] = partial(backbone.encode_texts, hashtags)
        variants[f"images, {name}"] = partial(backbone.encode_images, images)
    best = alternate(variants, rounds=1 if given.quick else given.rounds)
    print(machine("transformers"))
    print(f"ViT-B/32, {given.threads} threads, {len(hashtags)} hashtags, {len(images)} images, fp32")
    for kind, count in (("hashtags", len(hashtags)), ("images", len(images))):
        one, other = best[f"{kind}, plain"], best[f"{kind}, packed"]
        print(f"{kind:<9} plain {count / one:7.1f} a second, packed {count / other:7.1f}: {one / other:.2f}x")


if __name__ == "__main__":
    main()
