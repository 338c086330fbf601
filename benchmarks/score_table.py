"""Time and memory of `score` for tables of 100,000 and of a million rows.

    python -m benchmarks.score_table [--few 100000] [--many 1000000] [--images 60] [--hashtags 5000] [--quick]

Each figure is of a fresh process that runs `cli.py score` on a table in random order, all of whose images and hashtags
are in the cache already: the peak of its resident memory, most of which is Python and torch, and its time. The run is
one of `heads` on a drawn data set; "cosine" is `score --backbone tiny` without a run, which keeps something of every
row.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.timing import machine
from demo.dataset import write_demo

ROOT = Path(__file__).parents[1]
AT_MOST = 1.10


def write_table(path: Path, images: Sequence[str], hashtags: int, rows: int) -> None:
    """Write rows of random images and hashtags, with two columns that only the owner of the table understands."""
    rng = np.random.default_rng(rows)
    with path.open("w", encoding="utf-8") as file:
        file.write("id,Image Filename,Hashtag,note\n")
        for start in range(0, rows, 100_000):
            n = min(100_000, rows - start)
            image, tag = rng.integers(len(images), size=n), rng.integers(hashtags, size=n)
            lines = zip(range(start, start + n), image.tolist(), tag.tolist(), strict=True)
            file.writelines(f'{at},{images[i]},#태그{t},"row {at}, as exported"\n' for at, i, t in lines)


def run(*words: object) -> tuple[float, float]:
    """Peak memory in MB (10^6) and seconds of a command; raise RuntimeError if it fails."""
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, "cli.py", *map(str, words), "--quiet"], cwd=ROOT)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(map(str, words))} exited with {process.returncode}")
    unit = 1 if platform.system() == "Darwin" else 1024
    return used.ru_maxrss * unit / 1e6, time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.score_table",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--few", type=int, default=100_000, help="rows of the first table")
    parser.add_argument("--many", type=int, default=1_000_000, help="rows of the second")
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--hashtags", type=int, default=5_000)
    parser.add_argument("--quick", action="store_true", help="20,000 and 40,000 rows: does it run at all")
    given = parser.parse_args()
    counts = [20_000, 40_000] if given.quick else [given.few, given.many]
    print(machine("transformers", "numpy", "pyarrow"))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_demo(folder, seed=7, images=given.images)
        images = sorted(path.name for path in (folder / "image").iterdir())
        data, cache = ["--images", folder / "image"], ["--cache", folder / "cache"]
        labelled = ["--data", folder / "combined_data.csv", *data, *cache]
        run("heads", *labelled, "--backbone", "tiny", "--out", folder / "run")
        for rows in counts:
            write_table(folder / f"{rows}.csv", images, given.hashtags, rows)
        asked = ["--data", folder / f"{counts[0]}.csv", *data, *cache]
        run("score", "--model", folder / "run", *asked, "-o", folder / "warm.csv")  # fills the cache
        for name, words, out in (
            ("heads, CSV", ["--model", folder / "run"], "out.csv"),
            ("heads, Parquet", ["--model", folder / "run"], "out.parquet"),
            ("cosine, CSV", ["--backbone", "tiny"], "out.csv"),
        ):
            peaks = []
            for rows in counts:
                asked = ["--data", folder / f"{rows}.csv", *data, *cache]
                peak, seconds = run("score", *words, *asked, "-o", folder / out)
                peaks.append(peak)
                print(f"{name:15} {rows:>9,} rows: {peak:6.0f} MB, {seconds:6.1f} s", flush=True)
            more = 1e6 * (peaks[1] - peaks[0]) / (counts[1] - counts[0])
            print(f"{name:15} ratio {peaks[1] / peaks[0]:.3f}, {more:.0f} bytes more per row")
    print(f"A table that is streamed has a ratio of at most {AT_MOST:.2f}")


if __name__ == "__main__":
    main()
