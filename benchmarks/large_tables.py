"""Memory and CPU time of large tables: `python -m benchmarks.large_tables [--rows N] [--images N] [--quick]`.

Draws a table of N rows (default ten million) in random order, as CSV and as Parquet, of 50,000 tiny images and of
hashtags as unequally frequent as words are. Then it runs, each in a process of its own, `extract` on a cold and
on a warm cache, `score` without a run, which keeps something of every row until its post is complete, and
`similarity`. Printed are the CPU seconds and the peak of the resident memory, most of which is Python, torch and the
64 MB that DuckDB may take.
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
from consistency.data.table_writer import Type, table_writer

ROOT = Path(__file__).parents[1]
HASHTAGS = 200_000
BLOCK = 100_000  # rows drawn at once
COLUMNS: list[tuple[str, Type]] = [("Image Filename", "text"), ("Hashtag", "text"), ("Score", "integer")]


def draw(folder: Path, rows: int, images: int) -> None:
    """Write the images and the table in both formats; a pair has the same score wherever it is repeated."""
    (folder / "image").mkdir()
    for number in range(images):
        pixels = np.frombuffer(f"{number:012d}".encode(), dtype=np.uint8).reshape(2, 2, 3)
        Image.fromarray(pixels).save(folder / "image" / f"image_{number:07d}.png", compress_level=1)
    rng = np.random.default_rng(0)
    with table_writer(folder / "pairs.csv", COLUMNS) as csv, table_writer(folder / "pairs.parquet", COLUMNS) as parquet:
        for start in range(0, rows, BLOCK):
            n = min(BLOCK, rows - start)
            image, hashtag = rng.integers(images, size=n), rng.zipf(1.3, n) % HASHTAGS
            names = [f"image_{number:07d}.png" for number in image.tolist()]
            cells = [names, [f"#해시태그{number}" for number in hashtag.tolist()], ((image + hashtag) % 5 + 1).tolist()]
            csv(cells)
            parquet(cells)


def measure(*words: object) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and peak megabytes (10^6) of a command that succeeds."""
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, "cli.py", *map(str, words), "--quiet"], cwd=ROOT)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(map(str, words))} exited with {process.returncode}")
    peak = used.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e6 / 1024)
    return time.perf_counter() - started, used.ru_utime + used.ru_stime, peak


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.large_tables",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--quick", action="store_true", help="20,000 rows of 500 images: does it run at all")
    parser.add_argument("--draw", type=Path, metavar="FOLDER", help="only draw the table and images, into FOLDER")
    given = parser.parse_args()
    rows, images = (20_000, 500) if given.quick else (given.rows, given.images)
    if given.draw:
        draw(given.draw, rows, images)
        return
    print(machine("duckdb", "pyarrow", "numpy"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # In a process of its own, since the peak of a process begins with the memory of the one that started it.
        drawing = [sys.executable, "-m", "benchmarks.large_tables", "--draw", name]
        subprocess.run([*drawing, "--rows", str(rows), "--images", str(images)], cwd=ROOT, check=True)
        places = ["--images", folder / "image", "--cache", folder / "cache", "--large-rows", min(rows // 2, 2_000_000)]
        tiny, csv, parquet = ["--backbone", "tiny"], folder / "pairs.csv", folder / "pairs.parquet"
        print("| command | wall s | CPU s | peak MB |\n| --- | --- | --- | --- |")
        for label, words in (
            ("extract, CSV, cold", ["extract", *tiny, "--data", csv, *places, "--out", folder / "cold"]),
            ("extract, Parquet, warm", ["extract", *tiny, "--data", parquet, *places, "--out", folder / "warm"]),
            ("score, Parquet", ["score", *tiny, "--data", parquet, *places, "-o", folder / "scored.parquet"]),
            ("similarity, Parquet", ["similarity", *tiny, "--data", parquet, *places, "--out", folder / "similarity"]),
        ):
            wall, cpu, peak = measure(*words)
            print(f"| {label} | {wall:.0f} | {cpu:.0f} | {peak:.0f} |", flush=True)


if __name__ == "__main__":
    main()
