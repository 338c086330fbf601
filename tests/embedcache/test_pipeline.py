"""Batches shrink when memory runs out, and rows are written behind without being lost."""

import time

import numpy as np
import pytest

from consistency.errors import OutOfMemory
from embedcache import pipeline
from embedcache.keys import hashtag_keys
from embedcache.pipeline import Encoder, Launched, Writer
from embedcache.segments import Vectors
from embedcache.store import EmbeddingCache
from tests.builders.caches import FIELDS


def test_what_counts_as_out_of_memory() -> None:
    for error in (MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 1 bytes")):
        failures = [error]

        def encode(batch: list[int], failures: list[Exception] = failures) -> Vectors:
            if failures:
                raise failures.pop()
            return np.ones((len(batch), 2), np.float32)

        encoder = Encoder(8)
        assert encoder(encode, [1, 2, 3, 4]).shape == (4, 2)
        assert encoder.batch_size == 2
    with pytest.raises(RuntimeError, match="shapes"):
        Encoder(8)(lambda batch: (_ for _ in ()).throw(RuntimeError("shapes do not match")), [1])


class Device:
    """Doubles numbers; has too little memory for more than `room` at once."""

    def __init__(self, room: int) -> None:
        self.room, self.told = room, list[str]()

    def launch(self, batch: list[int]) -> Launched:
        if len(batch) > self.room:
            raise MemoryError
        self.told.append(f"launch {batch[0]}")

        def collect() -> tuple[Vectors, float]:
            self.told.append(f"collect {batch[0]}")
            return np.array([[2 * number] for number in batch], np.float32), 0.5

        return collect


@pytest.mark.parametrize("room", [1, 2, 3, 4])
def test_batches_are_launched_ahead_and_halved(room: int) -> None:
    device, encoder = Device(room), Encoder(4)
    batches = [(start, list(range(start, start + 4))) for start in range(0, 12, 4)]
    found = list(encoder.ahead(device.launch, batches))
    assert [start for start, _ in found] == [0, 4, 8]
    assert [vectors[:, 0].tolist() for _, vectors in found] == [[2.0 * x for x in some] for _, some in batches]
    assert encoder.batch_size == {1: 1, 2: 2, 3: 2, 4: 4}[room]
    if room == 4:
        assert device.told == ["launch 0", "launch 4", "collect 0", "launch 8", "collect 4", "collect 8"]
        assert encoder.busy == 1.5


def test_no_memory_for_a_single_one_is_said() -> None:
    with pytest.raises(OutOfMemory, match="too little memory for a batch of 1"):
        list(Encoder(4).ahead(Device(0).launch, [("", [1, 2, 3, 4])]))


def test_the_writer_commits_in_time(cache: EmbeddingCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "COMMIT_SECONDS", 0.02)
    reader = EmbeddingCache.open(cache.path.parent, FIELDS)
    with Writer(cache) as writer:
        writer.put("image", hashtag_keys(["a"]), np.ones((1, 3), np.float32))
        deadline = time.monotonic() + 5
        while reader.missing("image", hashtag_keys(["a"])).all() and time.monotonic() < deadline:
            time.sleep(0.005)
        assert not reader.missing("image", hashtag_keys(["a"])).any()


def test_rows_that_are_lost_are_an_error(cache: EmbeddingCache) -> None:
    """Also those lost before the disk is reached: vectors of two widths do not make one segment."""

    def write() -> None:
        with Writer(cache) as writer:
            writer.put("image", hashtag_keys(["a"]), np.ones((1, 3), np.float32))
            writer.put("image", hashtag_keys(["b"]), np.ones((1, 4), np.float32))

    with pytest.raises(ValueError, match="dimension"):
        write()
    assert cache.missing("image", hashtag_keys(["a", "b"])).all()


def test_the_writer_commits_by_size(cache: EmbeddingCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "COMMIT_BYTES", 1000)
    with Writer(cache) as writer:
        for part in range(8):
            keys = hashtag_keys(f"{part} {row}" for row in range(10))
            writer.put("hashtag", keys, np.ones((10, 3), np.float32))
    assert len(list(cache.path.glob("seg-*"))) == 3  # 30 + 30 + 20 rows of 44 bytes
