"""What was acknowledged is never lost and never wrong: killed, unplugged, out of space, bits flipped."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consistency import durable
from embedcache.maintenance import compact, verify
from embedcache.segments import KINDS
from embedcache.store import EmbeddingCache
from tests.builders.crash_workers import BATCHES, FIELDS, rows, vectors_of
from tests.builders.faults import Recording

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder() -> Iterator[Path]:
    """In memory where possible: a kill asks nothing of the disk, and an fsync is what these tests would wait for."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as path:
        yield Path(path)


def workers(*arguments: object, timeout: float) -> dict[str, Any]:
    """Run tests.builders.crash_workers, and leave no process of it behind."""
    command = [sys.executable, "-m", "tests.builders.crash_workers", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    ) as process:  # fmt: skip
        try:
            out, err = process.communicate(timeout=timeout)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, err
    assert "Traceback" not in err, err
    return json.loads(out)


@pytest.mark.parametrize("count", [30, pytest.param(1000, marks=pytest.mark.slow)])
def test_kills(folder: Path, count: int) -> None:
    result = workers("kills", folder, "--count", count, timeout=count * 3 + 60)
    assert result["kills"] == count
    assert result["rows"] > 2 * count
    assert result["left"] == 0


@pytest.mark.parametrize("stride", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_every_call_fails_once(folder: Path, stride: int) -> None:
    outcomes = workers("every-call", folder, "--stride", stride, timeout=600)
    cases = -(-outcomes["calls"] * 5 // stride)
    assert outcomes["killed"] + outcomes["failed"] + outcomes["finished"] == cases
    assert outcomes["calls"] > 50
    assert outcomes["killed"] >= cases // 3
    assert outcomes["failed"] >= cases // 4


def test_full_disk(folder: Path) -> None:
    result = workers("full-disk", folder, timeout=60)
    assert result["message"].count("\n") == 0
    assert "File too large" in result["message"]
    assert "encoded rows were not stored" in result["message"]
    assert (result["before"], result["failed"], result["resumed"]) == (48, 48, 96)


# --- power cuts ----------------------------------------------------------------------------------------------


@pytest.fixture
def recorded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that records what a writer and a compaction do, with one of the fsyncs dropped or none."""

    def record(drop: str | None) -> Recording:
        disk = folder / "disk"
        disk.mkdir()
        recording = Recording(disk, drop)
        with monkeypatch.context() as patch:
            patch.setattr(durable, "system", recording)
            cache = EmbeddingCache.open(disk / "cache", FIELDS)
            for number, (batch, kind) in enumerate(BATCHES * 2):
                keys = rows(batch + 10 * number, kind)
                cache.append(kind, keys, vectors_of(keys))
                recording.acknowledge((kind, keys))
                if number % 2:
                    compact(cache)
        return recording

    return record


def lost_rows(recording: Recording, target: Path, seed: int) -> int:
    """How many acknowledged rows a power cut took. Whatever is served must be right."""
    acknowledged = recording.power_cut(target, random.Random(seed))
    lost = 0
    cache = EmbeddingCache.open(target / "cache", FIELDS)
    for kind, keys in acknowledged:
        missing = cache.missing(kind, keys)
        lost += int(missing.sum())
        if not missing.all():
            assert (cache.vectors(kind, keys[~missing]) == vectors_of(keys[~missing])).all()
    for kind in KINDS:
        keys = cache.index(kind).keys
        if len(keys):
            assert (cache.vectors(kind, keys) == vectors_of(keys)).all()
    shutil.rmtree(target)
    return lost


@pytest.mark.parametrize("count", [100, pytest.param(500, marks=pytest.mark.slow)])
def test_power_cuts_lose_nothing(folder: Path, recorded: Any, count: int) -> None:
    recording = recorded(None)
    assert sum(lost_rows(recording, folder / "after", seed) for seed in range(count)) == 0


@pytest.mark.parametrize("drop", ["file", "folder"])
def test_without_either_fsync_power_cuts_lose_rows(folder: Path, recorded: Any, drop: str) -> None:
    recording = recorded(drop)
    assert any(lost_rows(recording, folder / "after", seed) for seed in range(100))


# --- bits ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sound") / "cache"
    cache = EmbeddingCache.open(root, FIELDS)
    for batch, kind in BATCHES:
        cache.append(kind, rows(batch, kind), vectors_of(rows(batch, kind)))
    return root


def serves_nothing_wrong(root: Path) -> None:
    """With one damaged segment: what is served is right, `verify` finds the damage, and appending fills the hole."""
    cache = EmbeddingCache.open(root, FIELDS)
    for batch, kind in BATCHES:
        keys = rows(batch, kind)
        missing = cache.missing(kind, keys)
        if not missing.all():
            assert (cache.vectors(kind, keys[~missing]) == vectors_of(keys[~missing])).all()
    verify(cache)
    assert len(cache.quarantined) == 1
    assert len(os.listdir(cache.path / "quarantine")) == 1
    for batch, kind in BATCHES:
        keys = rows(batch, kind)
        missing = cache.missing(kind, keys)
        cache.append(kind, keys[missing], vectors_of(keys[missing]))
        assert (cache.vectors(kind, keys) == vectors_of(keys)).all()
    assert not verify(cache).damaged


@pytest.mark.parametrize("count", [200, pytest.param(10_000, marks=pytest.mark.slow)])
def test_bit_flips(folder: Path, sound: Path, count: int) -> None:
    chance = random.Random(0)
    for _ in range(count):
        root = folder / "cache"
        shutil.copytree(sound, root)
        path = chance.choice(sorted(root.glob("*/seg-*")))
        data = bytearray(path.read_bytes())
        # HDF5's own structures are small: half of the flips go to the beginning, where they are.
        data[chance.randrange(chance.choice((1024, len(data))))] ^= 1 << chance.randrange(8)
        path.write_bytes(data)
        serves_nothing_wrong(root)
        shutil.rmtree(root)


@pytest.mark.parametrize("count", [50, pytest.param(1000, marks=pytest.mark.slow)])
def test_truncations(folder: Path, sound: Path, count: int) -> None:
    chance = random.Random(1)
    for _ in range(count):
        root = folder / "cache"
        shutil.copytree(sound, root)
        path = chance.choice(sorted(root.glob("*/seg-*")))
        os.truncate(path, chance.randrange(path.stat().st_size))
        serves_nothing_wrong(root)
        shutil.rmtree(root)


def test_every_byte_of_a_segment_is_covered(sound: Path, folder: Path) -> None:
    """One flip in each stretch of 64 bytes, so that no region is left to chance."""
    path = sorted(sound.glob("*/seg-*"))[0]
    for offset in np.arange(0, path.stat().st_size, 64):
        root = folder / "cache"
        shutil.copytree(sound, root)
        copy = root / path.relative_to(sound)
        data = bytearray(copy.read_bytes())
        data[offset + int(offset) % 61] ^= 0x10
        copy.write_bytes(data)
        serves_nothing_wrong(root)
        shutil.rmtree(root)
