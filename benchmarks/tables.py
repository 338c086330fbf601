"""The time and memory of `data check` on a large table in every format: `python -m benchmarks.tables [--rows N]`.

Draws a table of N rows (default one million), ten to an image, and as many small images; the hashtags are drawn from
200,000. Then it runs `data check` on each format in a process of its own and prints seconds and the peak of memory.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

ROOT = Path(__file__).parents[1]
HASHTAGS = 200_000
ROWS_OF_AN_IMAGE = 10
FORMATS = ("csv", "jsonl", "parquet")


def draw(folder: Path, rows: int) -> None:
    """Write the images and the table in every format."""
    rng = np.random.default_rng(0)
    images = max(2, rows // ROWS_OF_AN_IMAGE)
    (folder / "image").mkdir()
    for number in range(images):
        pixels = np.frombuffer(f"{number:012d}".encode(), dtype=np.uint8).reshape(2, 2, 3)
        Image.fromarray(pixels).save(folder / "image" / f"image_{number:07d}.png", compress_level=1)
    frame = pd.DataFrame(
        {
            "Image Filename": [f"image_{row % images:07d}.png" for row in range(rows)],
            "Hashtag": [f"#해시태그{number}" for number in rng.zipf(1.3, rows) % HASHTAGS],
            "Score": rng.integers(1, 6, rows),
        }
    )
    frame.to_csv(folder / "pairs.csv", index=False)
    frame.to_json(folder / "pairs.jsonl", orient="records", lines=True, force_ascii=False)
    frame.to_parquet(folder / "pairs.parquet")


def measure(command: list[str]) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and peak megabytes of a process that succeeds."""
    started = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command} ended with {status}")
    peak = usage.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
    return time.perf_counter() - started, usage.ru_utime + usage.ru_stime, peak


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tables", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--draw", type=Path, metavar="FOLDER", help="only draw the table and images, into FOLDER")
    options = parser.parse_args()
    if options.draw:
        draw(options.draw, options.rows)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # In a process of its own, since the peak of a process begins with the memory of the one that started it.
        drawing = [sys.executable, "-m", "benchmarks.tables", "--draw", name, "--rows", str(options.rows)]
        subprocess.run(drawing, cwd=ROOT, check=True)
        print("| format | MB | wall s | CPU s | peak MB |\n| --- | --- | --- | --- | --- |")
        for kind in FORMATS:
            path = folder / f"pairs.{kind}"
            given = ["--data", str(path), "--images", str(folder / "image"), "--quiet"]
            wall, cpu, peak = measure([sys.executable, "cli.py", "data", "check", *given])
            print(f"| {kind} | {path.stat().st_size / 1e6:.0f} | {wall:.0f} | {cpu:.0f} | {peak:.0f} |", flush=True)


if __name__ == "__main__":
    main()
