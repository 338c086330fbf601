"""The file format: what docs/cache-format.md says, as another program reads it."""

import hashlib
import io
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consistency.errors import CacheError
from embedcache.segments import (
    NAME,
    SEGMENT_BYTES,
    DamagedSegment,
    ForeignSegment,
    Keys,
    Segment,
    Vectors,
    build,
    check_file,
    name_of,
    rows_per_segment,
)

FINGERPRINT = "0123456789abcdef" * 4


def some_keys(n: int, seed: int = 0) -> Keys:
    keys = np.random.default_rng(seed).integers(0, 256, (n, 32), np.uint8)
    return keys[np.lexsort(keys.T[::-1])]


def some_vectors(n: int, dim: int = 8, seed: int = 0) -> Vectors:
    return np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)


def written(folder: Path, data: bytes) -> Path:
    path = folder / name_of(data)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_an_independent_reader(tmp_path: Path, dtype: type) -> None:
    keys, vectors = some_keys(50), some_vectors(50).astype(dtype)
    path = written(tmp_path, build("image", FINGERPRINT, keys, vectors))
    data = path.read_bytes()
    assert path.name == f"seg-{len(data)}-{hashlib.sha256(data).hexdigest()[:32]}.h5"
    with h5py.File(path, "r", locking=False) as file:
        assert dict(file.attrs) == {"kind": b"image", "fingerprint": FINGERPRINT.encode(), "schema": 1}
        assert set(file) == {"keys", "vectors"}
        for name, array in (("keys", keys), ("vectors", vectors)):
            assert file[name].chunks is None
            assert file[name].dtype == array.dtype
            assert (file[name][()] == array).all()
            assert file[name].attrs["sha256"] == hashlib.sha256(array.tobytes()).hexdigest().encode()
            # Contiguous at its offset: no library is needed to read it.
            offset = file[name].id.get_offset()
            assert data[offset : offset + array.nbytes] == array.tobytes()
            assert offset % 64 == 0


def test_the_same_rows_give_the_same_bytes() -> None:
    first, second = (build("hashtag", FINGERPRINT, some_keys(9), some_vectors(9)) for _ in range(2))
    assert first == second
    assert build("image", FINGERPRINT, some_keys(9), some_vectors(9)) != first


def test_open_and_map(tmp_path: Path) -> None:
    keys, vectors = some_keys(20), some_vectors(20)
    segment = Segment.open(written(tmp_path, build("hashtag", FINGERPRINT, keys, vectors)), FINGERPRINT)
    segment.check_vectors()
    assert (segment.kind, segment.dim, len(segment)) == ("hashtag", 8, 20)
    assert (segment.keys == keys).all()
    assert (segment.map() == vectors).all()


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(n=st.integers(1, 40), dim=st.integers(1, 33), half=st.booleans(), seed=st.integers(0, 10))
def test_any_shape(tmp_path: Path, n: int, dim: int, half: bool, seed: int) -> None:
    vectors = some_vectors(n, dim, seed).astype(np.float16 if half else np.float32)
    segment = Segment.open(written(tmp_path, build("image", FINGERPRINT, some_keys(n, seed), vectors)), FINGERPRINT)
    segment.check_vectors()
    assert (segment.map() == vectors).all()


def test_damage_is_told_where_it_is(tmp_path: Path) -> None:
    data = build("image", FINGERPRINT, some_keys(20), some_vectors(20))
    path = written(tmp_path, data)
    segment = Segment.open(path, FINGERPRINT)
    path.write_bytes(data[: segment.offset] + bytes([data[segment.offset] ^ 1]) + data[segment.offset + 1 :])
    reopened = Segment.open(path, FINGERPRINT)  # keys are sound, vectors not looked at
    with pytest.raises(DamagedSegment, match="the digest of its vectors differs"):
        reopened.check_vectors()
    with pytest.raises(DamagedSegment, match="its SHA-256 is not the one in its name"):
        check_file(path)
    path.write_bytes(data[:-1])
    with pytest.raises(DamagedSegment, match=rf"has {len(data) - 1} bytes, not the number in its name"):
        Segment.open(path, FINGERPRINT)


def test_a_segment_of_another_cache_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, build("image", FINGERPRINT, some_keys(3), some_vectors(3)))
    with pytest.raises(ForeignSegment, match=r"intact but cannot be used \(fingerprint 0123456789ab, not ffff"):
        Segment.open(path, "f" * 64)


def test_a_segment_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    """Digests and fingerprint fit; what the vectors mean may have changed. An attribute more is no reason."""
    for changes, refused in (({"schema": 2}, True), ({"rows": 3}, False)):
        buffer = io.BytesIO(build("image", FINGERPRINT, some_keys(3), some_vectors(3)))
        with h5py.File(buffer, "r+", libver=("v110", "v110")) as file:
            file.attrs.update(changes)
        path = written(tmp_path, buffer.getvalue())
        if refused:
            with pytest.raises(ForeignSegment, match=r"schema 2, not 1\); it was written for another"):
                Segment.open(path, FINGERPRINT)
        else:
            assert len(Segment.open(path, FINGERPRINT)) == 3


def test_another_hdf5_file_under_a_right_name_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    path = written(tmp_path, (tmp_path / "other.h5").read_bytes())
    with pytest.raises(ForeignSegment, match="intact but cannot be used"):
        Segment.open(path, FINGERPRINT)


def test_a_segment_that_is_gone(tmp_path: Path) -> None:
    path = written(tmp_path, build("image", FINGERPRINT, some_keys(3), some_vectors(3)))
    segment = Segment.open(path, FINGERPRINT)
    mapped = segment.map()
    shutil.move(path, tmp_path / "elsewhere")
    for read in (segment.check_vectors, segment.map, lambda: Segment.open(path, FINGERPRINT)):
        with pytest.raises(FileNotFoundError):
            read()
    assert (mapped == some_vectors(3)).all()  # what is mapped stays


def test_every_byte_outside_the_data(tmp_path: Path) -> None:
    """A flipped bit in what libhdf5 reads is refused at once, or harmless: it never hangs, crashes or misleads."""
    keys, vectors = some_keys(8), some_vectors(8)
    data = build("image", FINGERPRINT, keys, vectors)
    path = written(tmp_path, data)
    starts = data.index(keys.tobytes()), data.index(vectors.tobytes())
    inside = {*range(starts[0], starts[0] + keys.nbytes), *range(starts[1], starts[1] + vectors.nbytes)}
    refused = 0
    for at in set(range(len(data))) - inside:
        path.write_bytes(data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :])
        try:
            opened = Segment.open(path, FINGERPRINT)
        except DamagedSegment:
            refused += 1
            continue
        opened.check_vectors()
        assert (opened.keys == keys).all()
        assert (opened.map() == vectors).all()
    assert refused > 500


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_mutated_files_raise_only_our_errors(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(build("image", FINGERPRINT, some_keys(4), some_vectors(4)))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    honest = data.draw(st.booleans())  # a name that fits the content: only what is inside can tell
    path = tmp_path / name_of(bytes(content) if honest else build("image", FINGERPRINT, some_keys(4), some_vectors(4)))
    path.write_bytes(content)
    try:
        segment = Segment.open(path, FINGERPRINT)
        segment.check_vectors()
    except CacheError:
        return
    assert (segment.map() == some_vectors(4)).all()


def test_names_and_sizes() -> None:
    assert NAME.fullmatch(name_of(b"x"))
    assert rows_per_segment(512, np.dtype(np.float32)) == SEGMENT_BYTES // 2080
    assert rows_per_segment(1 << 30, np.dtype(np.float32)) == 1
