"""Memory and CPU time of many images: `python -m benchmarks.many_images [--engine local|ray] [--images 1000 50000]`.

Draws PNGs of 32 x 32 pixels and a table with one hashtag for each, then runs `extract --backbone tiny` on a cold and
on a warm cache. Printed are the wall and CPU seconds, and the peak of the resident memory, summed over all processes of
the command and sampled ten times a second: pages that processes share count once for each.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.timing import machine

ROOT = Path(__file__).parents[1]
TICKS, PAGE = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")


def draw(folder: Path, images: int) -> None:
    """Write the images, all different, and the table."""
    (folder / "image").mkdir()
    rng = np.random.default_rng(0)
    with (folder / "pairs.csv").open("w") as table:
        table.write("Image Filename,Hashtag,Score\n")
        for number in range(images):
            name = f"image_{number:06d}.png"
            pixels = rng.integers(0, 256, (32, 32, 3), np.uint8)
            Image.fromarray(pixels).save(folder / "image" / name, compress_level=1)
            table.write(f"{name},#해시태그{number % 1000},{number % 5 + 1}\n")


def processes(mark: str) -> dict[int, tuple[float, int]]:
    """CPU seconds and resident bytes of every process that has inherited a mark."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() not in (path / "environ").read_bytes():
                continue
            fields = (path / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        found[int(path.name)] = (int(fields[11]) + int(fields[12])) / TICKS, int(fields[21]) * PAGE
    return found


def measure(folder: Path, engine: str) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and peak megabytes (10^6) of the command."""
    mark = f"MANY_IMAGES={folder}"
    words = ["extract", "--backbone", "tiny", "--data", folder / "pairs.csv", "--images", folder / "image", "--quiet"]
    words += ["--cache", folder / "cache", "--out", folder / "run", "--engine", engine]
    started = time.perf_counter()
    environment = os.environ | {"MANY_IMAGES": str(folder)}
    process = subprocess.Popen([sys.executable, "cli.py", *map(str, words)], cwd=ROOT, env=environment)
    cpu: dict[int, float] = {}
    peak = 0
    while process.poll() is None:
        seen = processes(mark)
        cpu |= {pid: seconds for pid, (seconds, _) in seen.items()}
        peak = max(peak, sum(resident for _, resident in seen.values()))
        time.sleep(0.1)
    if process.returncode:
        raise SystemExit(f"exit code {process.returncode}")
    return time.perf_counter() - started, sum(cpu.values()), peak / 1e6


def main() -> None:
    """Print one line for each number of images and each cache."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", choices=["local", "ray"], default="local")
    parser.add_argument("--images", type=int, nargs="+", default=[1_000, 10_000, 50_000])
    options = parser.parse_args()
    print(machine())
    print("| images | cache | wall s | CPU s | peak MB |\n| --- | --- | --- | --- | --- |")
    for images in options.images:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            draw(folder, images)
            for cache in ("cold", "warm"):
                wall, cpu, peak = measure(folder, options.engine)
                print(f"| {images:,} | {cache} | {wall:.0f} | {cpu:.1f} | {peak:.0f} |", flush=True)


if __name__ == "__main__":
    main()
