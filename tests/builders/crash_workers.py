"""Processes that are there to be killed, run by test_crash.py: `python -m tests.builders.crash_workers ROLE ...`.

Every role is forked from one process that has imported everything, so a kill and a fresh start cost milliseconds.
The ledger lies outside the cache: one line per acknowledged row, `kind key sha256-of-the-vector`.
"""

import argparse
import errno
import hashlib
import itertools
import json
import os
import random
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from consistency import durable
from consistency.data.files import find_images
from consistency.data.pairs import PairTable
from consistency.errors import CacheError, StorageError
from embedcache import pipeline
from embedcache.extract import extract
from embedcache.keys import hashtag_keys
from embedcache.maintenance import compact, info, verify
from embedcache.segments import Keys, Kind, Vectors
from embedcache.store import EmbeddingCache
from tests.builders.faults import Faulty

FIELDS = {"model": "made/up", "revision": "1"}
DIM = 16
FAULTS = ("kill before", "kill after", "short", errno.ENOSPC, errno.EIO)
OUTCOMES = {0: "finished", 1: "failed", -signal.SIGKILL: "killed"}


def vectors_of(keys: Keys) -> Vectors:
    """(n, 16) float32, a function of the key alone: whoever reads can tell whether a row is right."""
    seeds = [int.from_bytes(key[:8].tobytes(), "little") for key in keys]
    rows = [np.random.default_rng(seed).normal(size=DIM) for seed in seeds]
    return np.array(rows, np.float32).reshape(-1, DIM)


class LedgerCache(EmbeddingCache):
    """Writes down what was acknowledged, after it was."""

    ledger: Path

    def append(self, kind: Kind, keys: Keys, vectors: Vectors) -> None:
        super().append(kind, keys, vectors)
        lines = [f"{kind} {key.tobytes().hex()} {sha(vector)}\n" for key, vector in zip(keys, vectors, strict=True)]
        with self.ledger.open("a") as file:
            file.write("".join(lines))


def sha(vector: Any) -> str:
    return hashlib.sha256(np.ascontiguousarray(vector).data).hexdigest()


def read_ledger(path: Path) -> Iterator[tuple[Kind, bytes, str]]:
    for line in path.read_text().splitlines() if path.exists() else []:
        parts = line.split(" ")
        if len(parts) == 3 and len(parts[2]) == 64:  # the last line of a killed writer may be torn
            yield parts[0], bytes.fromhex(parts[1]), parts[2]  # type: ignore[misc]


def check(root: Path, ledgers: list[Path]) -> int:
    """Raises AssertionError unless every acknowledged row is there and right; returns how many there are."""
    cache = EmbeddingCache.open(root, FIELDS)
    checked = 0
    for ledger in ledgers:
        rows = list(read_ledger(ledger))
        for kind in ("image", "hashtag"):
            mine = [(key, digest) for of, key, digest in rows if of == kind]
            if mine:
                keys = np.frombuffer(b"".join(key for key, _ in mine), np.uint8).reshape(-1, 32)
                found = [sha(vector) for vector in cache.vectors(kind, keys)]
                assert found == [digest for _, digest in mine], "a row has another vector"
                checked += len(mine)
    assert not cache.quarantined, cache.quarantined
    assert not verify(cache).damaged
    return checked


# --- killed while extracting, compacting, reading ------------------------------------------------------------


class Toy:
    """A backbone whose vectors are a function of the pixels, in no time."""

    device, decode, precision, spec = "cpu", "ours", "fp32", None
    batch_sizes = 32, 128

    def prepare(self, image: Image.Image) -> Any:
        return np.asarray(image)

    def encode_images(self, batch: Any) -> Vectors:
        return vectors_of(np.array([np.frombuffer(hashlib.sha256(one.tobytes()).digest(), np.uint8) for one in batch]))

    def token_ids(self, texts: list[str]) -> list[list[int]]:
        return [list(text.encode()) for text in texts]

    text_length = 77

    def truncated(self, texts: list[str]) -> list[str]:
        return []

    def encode_texts(self, texts: list[str]) -> Vectors:
        return vectors_of(hashtag_keys(texts))


def extractor(root: Path, ledger: Path, pictures: Path, rounds: Iterable[int] | None = None) -> None:
    """Extracts one made-up table after another (48 rows each), with a commit about every 20 rows.

    Without `rounds` it goes on about where the process before it was killed.
    """
    pipeline.COMMIT_BYTES = 2048
    cache = LedgerCache.open(root, FIELDS)
    cache.ledger = ledger
    for number in rounds or itertools.count(sum(1 for _ in read_ledger(ledger)) // 48):
        shutil.rmtree(pictures, ignore_errors=True)
        pictures.mkdir(parents=True)
        names = [f"{index}.png" for index in range(24)]
        for index, name in enumerate(names):
            pixels = np.random.default_rng((number, index)).integers(0, 256, (4, 4, 3), np.uint8)
            Image.fromarray(pixels).save(pictures / name)
        table = pair_table(names, [f"#태그{number}-{index}" for index in range(24)])
        extract(table, find_images(names, pictures), cache, Toy, batch_size=4, workers=1)  # type: ignore[arg-type]


def pair_table(images: list[str], hashtags: list[str]) -> PairTable:
    rows = np.arange(1, len(images) + 1)
    return PairTable(
        rows=rows,
        images=np.array(images, object),
        hashtags=np.array(hashtags, object),
        scores=np.full(len(rows), 3),
        path=Path("made-up.csv"),
        digest="",
        skipped=(),
    )


def compactor(root: Path) -> None:
    while True:
        try:
            compact(EmbeddingCache.open(root, FIELDS))
        except CacheError as error:
            if "another process" not in str(error):
                raise
        time.sleep(0.02)


def reader(root: Path, ledgers: list[Path]) -> None:
    """Reads acknowledged rows, with one cache object for long, and dies of whatever is wrong with them."""
    cache = EmbeddingCache.open(root, FIELDS)
    for turn in range(1_000_000):
        rows = [row for ledger in ledgers for row in read_ledger(ledger)]
        for kind, key, digest in random.Random(turn).sample(rows, min(20, len(rows))):
            vector = cache.vectors(kind, np.frombuffer(key, np.uint8)[None])[0]
            assert sha(vector) == digest, "a row has another vector"
        time.sleep(0.002)


def kills(folder: Path, count: int, seed: int) -> dict[str, int]:
    """Two extractors, a compactor and a reader; one of them is killed and started again, `count` times."""
    chance = random.Random(seed)
    root, ledgers = folder / "cache", [folder / "ledger-0", folder / "ledger-1"]
    roles: list[Callable[[], None]] = [
        lambda: extractor(root, ledgers[0], folder / "pictures-0"),
        lambda: extractor(root, ledgers[1], folder / "pictures-1"),
        lambda: compactor(root),
        lambda: reader(root, ledgers),
    ]
    running = [fork(role) for role in roles]
    acknowledged = 0
    try:
        for _ in range(count):
            while (size := sum(path.stat().st_size for path in ledgers if path.exists())) == acknowledged:
                time.sleep(0.005)  # on a busy machine, a start alone takes longer than the time until the kill
            acknowledged = size
            time.sleep(chance.uniform(0.02, 0.25))
            victim = chance.randrange(len(roles))
            kill(running[victim], victim)
            running[victim] = fork(roles[victim])
    finally:
        for role, pid in enumerate(running):
            kill(pid, role)
    # This process has not opened the cache before: it knows what is on the disk, and no more.
    rows = check(root, ledgers)
    return {"kills": count, "rows": rows, "left": len(list(root.glob("*/tmp/.writing-*")))}


def kill(pid: int, role: int) -> None:
    os.kill(pid, signal.SIGKILL)
    assert os.WIFSIGNALED(os.waitpid(pid, 0)[1]), f"role {role} had failed before it was killed"


# --- every call fails once -----------------------------------------------------------------------------------


def rows(batch: int, kind: Kind) -> Keys:
    return np.frombuffer(
        b"".join(hashlib.sha256(f"{kind} {batch} {row}".encode()).digest() for row in range(5)), np.uint8
    ).reshape(-1, 32)


BATCHES: list[tuple[int, Kind]] = [(0, "image"), (1, "image"), (2, "hashtag")]


def scenario(root: Path, ledger: Path) -> None:
    """What one process does with a cache: opens it, appends, compacts, appends."""
    cache = LedgerCache.open(root, FIELDS)
    cache.ledger = ledger
    for batch, kind in BATCHES[:2]:
        cache.append(kind, rows(batch, kind), vectors_of(rows(batch, kind)))
    compact(cache)
    for batch, kind in BATCHES[2:]:
        cache.append(kind, rows(batch, kind), vectors_of(rows(batch, kind)))


def faulty_scenario(root: Path, ledger: Path, at: int, fault: str | int) -> None:
    durable.system = Faulty(at, fault)
    try:
        scenario(root, ledger)
    except StorageError:
        os._exit(1)


def resume(root: Path, ledger: Path) -> None:
    """After a fault: nothing acknowledged is lost, nothing is wrong, and the rest can be done."""
    check(root, [ledger])
    cache = EmbeddingCache.open(root, FIELDS)
    for batch, kind in BATCHES:
        keys = rows(batch, kind)
        missing = cache.missing(kind, keys)
        if not missing.all():
            assert (cache.vectors(kind, keys[~missing]) == vectors_of(keys[~missing])).all()
        cache.append(kind, keys[missing], vectors_of(keys[missing]))
        assert (cache.vectors(kind, keys) == vectors_of(keys)).all()
    compact(cache)
    assert info(cache).segments == 2
    assert not verify(cache).damaged
    assert not list(cache.path.glob("tmp/.writing-*"))


def every_call(folder: Path, stride: int) -> dict[str, int]:
    """Each call of the scenario fails in each way (every `stride`-th case of that), and another process resumes."""
    counter = Faulty(-1, "none")
    durable.system = counter
    scenario(folder / "count", folder / "count-ledger")
    durable.system = durable.System()
    outcomes = {"calls": counter.calls, **dict.fromkeys(OUTCOMES.values(), 0)}
    for at, fault in list(itertools.product(range(counter.calls), FAULTS))[::stride]:
        root, ledger = folder / f"cache-{at}-{fault}", folder / f"ledger-{at}-{fault}"
        outcomes[OUTCOMES[run(partial(faulty_scenario, root, ledger, at, fault))]] += 1
        assert run(partial(resume, root, ledger)) == 0, (at, fault)
        shutil.rmtree(root, ignore_errors=True)
    return outcomes


# --- a full disk ---------------------------------------------------------------------------------------------


def full_disk(folder: Path) -> dict[str, object]:
    """What an extraction says on a disk that takes no file of a segment's size, and what is there afterwards."""
    paths = folder / "cache", folder / "ledger", folder / "pictures"
    extractor(*paths, rounds=range(1))
    before = check(paths[0], [paths[1]])
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1500, unlimited[1]))
    message = ""
    try:
        extractor(*paths, rounds=range(2))
    except StorageError as error:
        message = str(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    failed = check(paths[0], [paths[1]])
    extractor(*paths, rounds=range(2))
    return {"message": message, "before": before, "failed": failed, "resumed": check(paths[0], [paths[1]])}


# --- processes -----------------------------------------------------------------------------------------------


def fork(work: Callable[[], object]) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        work()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(70)


def run(work: Callable[[], object]) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(fork(work), 0)[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("role", choices=("kills", "every-call", "full-disk"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=30, help="how many kills")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stride", type=int, default=1, help="one of how many cases")
    options = parser.parse_args()
    if options.role == "kills":
        result: dict[str, Any] = kills(options.folder, options.count, options.seed)
    elif options.role == "every-call":
        result = every_call(options.folder, options.stride)
    else:
        result = full_disk(options.folder)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
