"""Reading a large cache, against plain h5py: `python -m benchmarks.cache [--rows 1000000] [--dim 512] [--quick]`.

The cache is filled as extractions fill it, a segment with every 4 MiB, read, compacted and read again. Opening is timed
in fresh processes, up to the index of all keys. A gather hands out random rows that were looked up before, as
training does. h5py reads the same rows in the same precision from one contiguous dataset; it takes only increasing
indices without repeats, so it gets them sorted and distinct, and is spared the sorting and the putting back in order.
All files are in the page cache, and every digest has been checked before (at the first touch of its segment).
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from benchmarks.timing import alternate, machine
from embedcache.index import SegmentIndex
from embedcache.maintenance import compact
from embedcache.segments import Keys, Vectors
from embedcache.store import EmbeddingCache
from embedcache.view import STORES

ROOT = Path(__file__).parents[1]
COMMIT_BYTES = 4 << 20  # what one commit of an extraction writes
BATCHES = (256, 4096)
OPEN = """
import json, sys, time
from pathlib import Path
from embedcache.store import EmbeddingCache
started, cpu = time.perf_counter(), time.process_time()
rows = len(EmbeddingCache.open(Path(sys.argv[1]), json.loads(sys.argv[2]), create=False).index("image"))
print(json.dumps([rows, time.perf_counter() - started, time.process_time() - cpu]))
"""


def rows_of(rows: int, dim: int, step: int) -> Iterator[tuple[Keys, Vectors]]:
    """`rows` random keys (n, 32) uint8 and unit vectors (n, dim) float32, at most `step` at a time."""
    rng = np.random.default_rng(0)
    for start in range(0, rows, step):
        n = min(step, rows - start)
        vectors = rng.standard_normal((n, dim), np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        yield rng.integers(0, 256, (n, 32), np.uint8), vectors


def fill(cache: EmbeddingCache, rows: int, dim: int) -> None:
    """As an extraction does: one segment with every 4 MiB."""
    for keys, vectors in rows_of(rows, dim, COMMIT_BYTES // (32 + dim * cache.dtype.itemsize)):
        cache.append("image", keys, vectors)


def copy_to_h5(index: SegmentIndex, path: Path, dtype: np.dtype) -> None:
    """All rows in one contiguous dataset, in the order of the index."""
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("vectors", (len(index), index.dim), dtype)
        for start in range(0, len(index), 8192):
            part = np.arange(start, min(start + 8192, len(index)))
            dataset[part[0] : part[-1] + 1] = index.take(part)


def time_open(cache: EmbeddingCache, rounds: int) -> tuple[float, float]:
    """The least wall and processor seconds up to the first index, each in a fresh process."""
    command = [sys.executable, "-c", OPEN, str(cache.path.parent), json.dumps(cache.fields)]
    timed = []
    for _ in range(rounds):
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
        timed.append(json.loads(done.stdout))
    return min(wall for _, wall, _ in timed), min(cpu for *_, cpu in timed)


def time_gathers(index: SegmentIndex, dataset: h5py.Dataset, size: int, rounds: int) -> dict[str, float]:
    """Seconds per batch; raises AssertionError where the two give other vectors."""
    rng = np.random.default_rng(size)
    batches = [rng.integers(0, len(index), size) for _ in range(max(1, 8192 // size))]
    increasing = [np.unique(batch) for batch in batches]
    for batch in increasing:
        assert (index.take(batch) == dataset[batch]).all()

    def ours() -> Any:
        return [index.take(batch) for batch in batches]

    def plain() -> Any:
        return [dataset[batch] for batch in increasing]

    return {name: best / len(batches) for name, best in alternate({"ours": ours, "h5py": plain}, rounds=rounds).items()}


def time_lookup(index: SegmentIndex, rounds: int) -> float:
    """Seconds per key, of keys that are all there, in random order."""
    order = np.random.default_rng(1).permutation(len(index))[:100_000]
    keys: npt.NDArray[np.uint8] = index.keys[order]
    return alternate({"find": lambda: index.find(keys)}, rounds=rounds)["find"] / len(keys)


def report(cache: EmbeddingCache, state: str, h5: Path, rounds: int) -> None:
    segments = len(cache.listed())
    wall, cpu = time_open(cache, rounds)
    print(f"{state}, {segments} segments")
    print(f"  open            {wall:8.2f} s   (processor {cpu:.2f} s; target: under 1 s)")
    index = cache.sound_index("image")
    print(f"  look up a key   {time_lookup(index, rounds) * 1e9:8.0f} ns")
    if not h5.exists():
        copy_to_h5(index, h5, cache.dtype)
    with h5py.File(h5, "r") as file:
        for size in BATCHES:
            best = time_gathers(index, file["vectors"], size, rounds)
            ours, plain = (best[name] / size * 1e6 for name in ("ours", "h5py"))
            print(
                f"  gather {size:>5}    {ours:8.2f} us a row, h5py {plain:.2f}: {plain / ours:.1f}x (target: 8x)",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--store", choices=list(STORES), default="fp32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to build it (2 GB twice)  [default: a temporary folder]")
    parser.add_argument("--quick", action="store_true", help="50,000 rows, 2 rounds: does it run at all")
    given = parser.parse_args()
    rows, rounds = (50_000, 2) if given.quick else (given.rows, given.rounds)
    print(machine("numpy", "h5py"))
    print(f"{rows:,} random unit vectors of {given.dim} in {given.store}")
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        fields = {"model": "random vectors", "store": given.store}
        cache = EmbeddingCache.open(Path(folder) / "cache", fields)
        fill(cache, rows, given.dim)
        report(cache, "as extracted", Path(folder) / "plain.h5", rounds)
        compact(cache)
        report(cache, "compacted", Path(folder) / "plain.h5", rounds)


if __name__ == "__main__":
    main()
