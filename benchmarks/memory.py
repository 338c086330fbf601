"""The memory of an extraction with 2,000 and with 20,000 images: `python -m benchmarks.memory [--quick]`.

Each figure is the peak resident memory of a fresh process that runs `cli.py extract --backbone tiny` on a cold cache.
Most of it is torch and transformers. Images and vectors are held for a few batches and one commit (4 MiB) at a time,
whatever their number. Only the pair table grows with the number of rows: names, hashtags and keys.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.timing import machine

ROOT = Path(__file__).parents[1]
SIDE = 32  # pixels
AT_MOST = 1.10


def draw(folder: Path, first: int, last: int) -> None:
    """Write images `first` to `last`, alternately JPEG and PNG, all with different content."""
    for number in range(first, last):
        pixels = np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        Image.fromarray(pixels).save(folder / name(number))


def name(number: int) -> str:
    return f"image_{number:07}.{'jpg' if number % 2 else 'png'}"


def write_table(path: Path, rows: int) -> None:
    """One row per image, each with a hashtag of its own: the most names and keys that a row can bring."""
    lines = [f"{name(number)},#태그{number},{number % 5 + 1}\n" for number in range(rows)]
    path.write_text("Image Filename,Hashtag,Score\n" + "".join(lines), encoding="utf-8")


def peak_of_extraction(folder: Path, count: int) -> float:
    """Return the peak resident memory of one extraction in megabytes (10^6); raise RuntimeError if it fails."""
    data = folder / f"{count}.csv"
    write_table(data, count)
    command = [sys.executable, "cli.py", "extract", "--backbone", "tiny", "--data", data, "--images", folder / "image"]
    with tempfile.TemporaryDirectory() as cache:
        places = ["--cache", cache, "--out", f"{cache}/run", "--quiet"]
        process = subprocess.Popen([*map(str, command), *places], cwd=ROOT)
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"the extraction of {count} images exited with {process.returncode}")
    return used.ru_maxrss * (1 if platform.system() == "Darwin" else 1024) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--few", type=int, default=2_000, help="images of the first extraction")
    parser.add_argument("--many", type=int, default=20_000, help="images of the second")
    parser.add_argument("--quick", action="store_true", help="200 and 2,000: does it run at all")
    given = parser.parse_args()
    counts = [200, 2_000] if given.quick else [given.few, given.many]
    print(machine("transformers", "numpy", "h5py"))
    peaks = {}
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / "image"
        images.mkdir()
        for before, count in zip([0, *counts], counts, strict=False):
            draw(images, before, count)
            peaks[count] = peak_of_extraction(Path(folder), count)
            print(f"{count:>9,} images: {peaks[count]:6.0f} MB", flush=True)
    few, many = (peaks[count] for count in counts)
    each = (many - few) / (counts[1] - counts[0])  # MB
    print(
        f"ratio {many / few:.3f} (at most {AT_MOST:.2f}); {each * 1e3:.2f} MB more for each 1,000 images and hashtags"
    )
    million = few + each * (1_000_000 - counts[0])
    print(f"by that slope 10,000 take {few + each * (10_000 - counts[0]):.0f} MB, a million at most {million:,.0f} MB")


if __name__ == "__main__":
    main()
