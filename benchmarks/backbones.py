"""Speed and memory of backbones, with random weights of their real architecture.

`python -m benchmarks.backbones [--images 32] [NAME ...]` makes each folder, encodes drawn images and their hashtags on
the CPU in a process of its own, and prints a Markdown table. The weights are random: their values change no time.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from demo.dataset import write_demo
from tests.builders.models import Tower, make_clip_folder, make_siglip_folder

BASE, LARGE, SHAPE = Tower(768, 12, 12), Tower(1024, 24, 16), Tower(512, 12, 8)
MODELS: dict[str, Callable[[Path], Path]] = {
    "clip": lambda path: make_clip_folder(
        path, dim=512, image_size=224, patch_size=32, vision=BASE, text=SHAPE, vocab_size=49_408
    ),
    "siglip2": lambda path: make_siglip_folder(
        path, dim=768, image_size=224, patch_size=16, layers=12, heads=12, positions=64, vocab_size=256_000
    ),
    "koclip": lambda path: make_clip_folder(
        path, dim=768, image_size=224, patch_size=14, vision=LARGE, text=Tower(768, 12, 12), vocab_size=49_408
    ),
}
ENCODE = """
import json, sys
from pathlib import Path
from consistency.data.inputs import read_inputs
from consistency.options import Encoding, Source
from koclip_consistency.workflows.encode import encode_pairs
data, model, cache, threads = sys.argv[1:]
source = Source(data=Path(data) / "combined_data.csv", images=Path(data) / "image")
encoding = Encoding(backbone=model, cache=Path(cache), device="cpu", threads=int(threads))
print(json.dumps(encode_pairs(read_inputs(source), encoding, source).report.as_dict()))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(MODELS)}; all if none is given")
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    print(f"torch {torch.__version__}, {given.threads} threads, load {os.getloadavg()[0]:.1f}\n")
    print("| backbone | parameters | images/s | batch | peak MB |\n| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        write_demo(data, seed=0, images=given.images)
        for name in given.names or MODELS:
            model = MODELS[name](Path(folder) / name)
            size = (model / "model.safetensors").stat().st_size / 4e9
            command = [sys.executable, "-c", ENCODE, str(data), str(model), f"{folder}/cache", str(given.threads)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            report = json.loads(done.stdout.splitlines()[-1])
            cells = f"{size:.2f} B", f"{report['images_per_second']:.2f}", report["batch_size"]
            print("|", " | ".join(map(str, (name, *cells, f"{report['peak_megabytes']:.0f}"))), "|", flush=True)


if __name__ == "__main__":
    main()
