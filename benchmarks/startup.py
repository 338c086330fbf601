"""What commands take that have little to compute: `python -m benchmarks.startup [--against CHECKOUT] [--rounds 5]`.

Draws the demo data set and trains the default head on it, and then times commands that mostly load libraries, each in
a process of its own, in turn with those of another checkout if one is named. One thread; medians of the rounds.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.timing import machine

ROOT = Path(__file__).parents[1]
SOURCE = ["--backbone", "tiny", "--data", "demo/combined_data.csv", "--images", "demo/image", "--cache", "cache"]
COMMANDS = {
    "--help": ["--help"],
    "runs": ["runs", "--runs", "."],
    "extract, nothing new": ["extract", *SOURCE, "--out", "extracted"],
    "report": ["report", "head", "--output", "report.html"],
    "score, one image": ["score", "--model", "head", "--cache", "cache", "--image", "demo/image/demo_001.png"]
    + ["--hashtag", "바다"],
    "similarity": ["similarity", *SOURCE, "--out", "similarity"],
}


def run(checkout: Path, words: list[str], folder: Path) -> tuple[float, float]:
    """Wall and CPU seconds of a command of a checkout."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(checkout / "cli.py"), *words]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"{' '.join(words)} failed in {checkout}: {done.stderr}")
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, help="another checkout of this program")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    checkouts = {"here": ROOT, **({"there": given.against.resolve()} if given.against else {})}
    print(machine("scikit-learn"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(ROOT, ["data", "demo", "demo"], folder)
        run(ROOT, ["heads", *SOURCE, "--out", "head"], folder)
        for what, words in COMMANDS.items():
            taken: dict[str, list[tuple[float, float]]] = {name: [] for name in checkouts}
            for _ in range(given.rounds):
                for name, checkout in checkouts.items():
                    taken[name].append(run(checkout, words, folder))
            for name, times in taken.items():
                wall, cpu = map(statistics.median, zip(*times, strict=True))
                print(f"{what}, {name}: {wall:.2f} s, {cpu:.2f} CPU s", flush=True)


if __name__ == "__main__":
    main()
