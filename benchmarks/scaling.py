"""How time grows with size: `python -m benchmarks.scaling [--quick] [--out FOLDER]`, one to ten minutes on 2 cores.

| curve | sizes | what is timed |
| --- | --- | --- |
| open | 2 k to 2 M rows | opening a cache up to the index of all keys, in a fresh process |
| lookup | 2 k to 2 M rows | looking up a key, mean of 100,000 in random order |
| gather | 2 k to 2 M rows | a vector of 128 numbers in fp32, mean of 4,096 in random order |
| thresholds | 2 k to 2 M rows | the optimal thresholds for macro-F1 on random cosines |
| heads | 1 to 1,000 heads | head-epochs a second of heads trained together: 1,600 pairs of 2 x 128 numbers, 64 hidden |
| service | 1 to 32 clients | answers a second to two hashtags and one of 50 images, all of which are known |

Each point is the median of three measurements, with the least and the greatest, after one that does not count. The
system's load average is recorded before each curve, since other work slows everything down. FOLDER gets
`scaling.json`, `scaling.md` and `scaling.png`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from benchmarks.cache import OPEN, fill
from benchmarks.heads import make_pairs
from benchmarks.service import ask, server
from benchmarks.timing import machine
from consistency.options import Encoding, Output, SimilarityOptions, Source
from consistency.report.plots import COLOURS, DPI, MUTED, frame, png
from demo.dataset import write_demo
from embedcache.store import EmbeddingCache
from heads.config import HeadConfig
from heads.thresholds import exact_thresholds
from heads.train import Job, train_heads
from koclip_consistency.workflows.similarity import run_similarity

ROOT = Path(__file__).parents[1]
ROUNDS, DIM, LOOKED_UP, GATHERED, REQUESTS = 3, 128, 100_000, 4096, 240
ROWS, HEADS, CLIENTS = (2_000, 20_000, 200_000, 2_000_000), (1, 10, 100, 1000), (1, 2, 4, 8, 16, 32)
UNITS = {
    "open": ("rows in the cache", "s"),
    "lookup": ("rows in the cache", "us a key"),
    "gather": ("rows in the cache", "us a row"),
    "thresholds": ("rows", "s"),
    "heads": ("heads together", "head-epochs a second"),
    "service": ("clients at once", "answers a second"),
}


@dataclass(frozen=True)
class Point:
    """One size of a curve; `figure` is the median of ROUNDS measurements, in the unit of UNITS."""

    curve: str
    size: int
    figure: float
    least: float
    greatest: float
    load: float  # of the system in the minute before the curve


def measured(curve: str, size: int, load: float, figures: list[float]) -> Point:
    point = Point(curve, size, float(np.median(figures)), min(figures), max(figures), load)
    print(f"{curve:>10} {size:>9,}: {point.figure:.4g} ({point.least:.4g} to {point.greatest:.4g})", flush=True)
    return point


def seconds(run: Callable[[], Any]) -> list[float]:
    """Wall seconds of each of ROUNDS calls, after one that does not count: it checks segments and starts threads."""
    run()
    found = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        run()
        found.append(time.perf_counter() - started)
    return found


def cache_points(rows: tuple[int, ...], folder: Path) -> Iterator[Point]:
    rng, load = np.random.default_rng(0), os.getloadavg()[0]
    for size in rows:
        cache = EmbeddingCache.open(folder / str(size), {"model": "random vectors", "store": "fp32"})
        fill(cache, size, DIM)
        command = [sys.executable, "-c", OPEN, str(cache.path.parent), json.dumps(cache.fields)]
        opened = [json.loads(subprocess.check_output(command, cwd=ROOT))[1] for _ in range(ROUNDS)]
        yield measured("open", size, load, opened)
        index = cache.sound_index("image")
        keys = index.keys[rng.permutation(size)[:LOOKED_UP]]
        found = seconds(lambda index=index, keys=keys: index.find(keys))  # type: ignore[misc]
        yield measured("lookup", size, load, [each / len(keys) * 1e6 for each in found])
        batch = rng.integers(0, size, GATHERED)
        found = seconds(lambda index=index, batch=batch: index.take(batch))  # type: ignore[misc]
        yield measured("gather", size, load, [each / GATHERED * 1e6 for each in found])


def threshold_points(rows: tuple[int, ...]) -> Iterator[Point]:
    rng, load = np.random.default_rng(0), os.getloadavg()[0]
    for size in rows:
        labels = rng.integers(0, 5, size)
        values = labels / 10 + rng.normal(0, 0.2, size)
        found = seconds(lambda values=values, labels=labels: exact_thresholds(values, labels))  # type: ignore[misc]
        yield measured("thresholds", size, load, found)


def head_points(heads: tuple[int, ...]) -> Iterator[Point]:
    load = os.getloadavg()[0]
    embeddings, labels = make_pairs(2_000, DIM)
    config, rows = replace(HeadConfig(), hidden=(64,), epochs=2), np.arange(1_600)
    for size in heads:
        found = seconds(
            lambda size=size: train_heads([Job(config, rows, seed) for seed in range(size)], embeddings, labels)  # type: ignore[misc]
        )
        yield measured("heads", size, load, [config.epochs * size / each for each in found])


def service_points(clients: tuple[int, ...], folder: Path) -> Iterator[Point]:
    write_demo(folder / "demo", seed=7, images=50)
    source = Source(data=folder / "demo" / "combined_data.csv", images=folder / "demo" / "image")
    encoding, output = Encoding(backbone="tiny", cache=folder / "cache"), Output(out=folder / "run")
    run_similarity(SimilarityOptions(("exact",), source=source, encoding=encoding, output=output))
    images = [path.read_bytes() for path in sorted(source.images.iterdir())]
    with server("serve", "--model", folder / "run", "--cache", folder / "cache") as (_, port):
        ask(port, range(100), images, 10)  # loads the model; from now on everything is known
        load = os.getloadavg()[0]
        for size in clients:

            def together(size: int = size) -> None:
                with ThreadPoolExecutor(size) as pool:
                    each = [range(client, REQUESTS, size) for client in range(size)]
                    list(pool.map(lambda numbers: ask(port, numbers, images, 10), each))

            yield measured("service", size, load, [REQUESTS / each for each in seconds(together)])


def markdown(points: list[Point], about: str) -> str:
    """A table: curve, size, median, least, greatest, load."""
    lines = [about, "", "| curve | size | median | least to greatest | load |", "| --- | --- | --- | --- | --- |"]
    for p in points:
        size, unit = f"{p.size:,} {UNITS[p.curve][0]}", UNITS[p.curve][1]
        lines.append(
            f"| {p.curve} | {size} | {p.figure:.4g} {unit} | {p.least:.4g} to {p.greatest:.4g} | {p.load:.1f} |"
        )
    return "\n".join(lines) + "\n"


def plot(points: list[Point]) -> bytes:
    """One panel a curve, both axes logarithmic; the band is from the least to the greatest."""
    figure = Figure(figsize=(12, 7), dpi=DPI, layout="constrained")
    axes = figure.subplots(2, 3).ravel()
    for axis, (curve, (size, unit)) in zip(axes, UNITS.items(), strict=True):
        own = [point for point in points if point.curve == curve]
        sizes = [point.size for point in own]
        axis.set(xscale="log", yscale="log")
        axis.fill_between(sizes, [p.least for p in own], [p.greatest for p in own], color=COLOURS[0], alpha=0.2)
        axis.plot(sizes, [p.figure for p in own], "o-", color=COLOURS[0])
        frame(axis, f"{curve}, {unit}")
        axis.set_xticks(sizes, [f"{each:,}" for each in sizes])
        axis.xaxis.set_minor_locator(NullLocator())
        axis.set_xlabel(size, color=MUTED)
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_minor_locator(NullLocator())
        axis.yaxis.set_major_formatter("{x:g}")
        axis.set_ylim(min(p.least for p in own) / 2, max(p.greatest for p in own) * 2)
    return png(figure)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scaling", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="the two smallest sizes of each curve: does it run at all")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks", metavar="FOLDER")
    given = parser.parse_args()
    most = 2 if given.quick else None
    about = machine("numpy", "h5py", "fastapi", "uvicorn")
    print(about)
    with tempfile.TemporaryDirectory() as name:
        points = [
            *cache_points(ROWS[:most], Path(name)),
            *threshold_points(ROWS[:most]),
            *head_points(HEADS[:most]),
            *service_points(CLIENTS[:most], Path(name)),
        ]
    given.out.mkdir(parents=True, exist_ok=True)
    record = {"machine": about, "rounds": ROUNDS, "points": [asdict(point) for point in points]}
    (given.out / "scaling.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (given.out / "scaling.md").write_text(markdown(points, about), encoding="utf-8")
    (given.out / "scaling.png").write_bytes(plot(points))


if __name__ == "__main__":
    main()
