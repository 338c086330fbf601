"""The cache through its public face: identity, rows, readers beside a compaction, damage, upkeep, export."""

import errno
import fcntl
import hashlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from unicodedata import normalize

import h5py
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consistency import durable
from consistency.data.files import ImageFile
from consistency.data.pairs import PairTable
from consistency.durable import System
from consistency.errors import CacheError, InputError, StorageError
from embedcache import maintenance, store, table
from embedcache.export import export
from embedcache.fingerprint import difference, explain, fingerprint
from embedcache.maintenance import compact, gc, info, verify
from embedcache.segments import NAME, Keys, Kind, Vectors, build, name_of
from embedcache.store import EmbeddingCache, hashtag_keys, image_key, list_caches
from tests.builders.crash_workers import pair_table
from tests.builders.faults import Killed

FIELDS = {"model": "openai/clip-vit-base-patch32", "revision": "3d74acf", "precision": "fp32"}


def keys_of(*names: object) -> Keys:
    return hashtag_keys(map(str, names))


def vectors_of(n: int, dim: int = 4, seed: int = 0) -> Vectors:
    return np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)


@pytest.fixture
def cache(tmp_path: Path) -> EmbeddingCache:
    return EmbeddingCache.open(tmp_path / "cache", FIELDS)


def reopened(cache: EmbeddingCache) -> EmbeddingCache:
    return EmbeddingCache.open(cache.path.parent, cache.fields, create=False)


@contextmanager
def compacting(cache: EmbeddingCache) -> Iterator[None]:
    """What docs/cache-format.md says a compaction holds while it runs, taken by somebody else."""
    (cache.path / "tmp").mkdir(exist_ok=True)
    with (cache.path / "tmp" / "compaction.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def segments(cache: EmbeddingCache) -> list[str]:
    return sorted(name for name in os.listdir(cache.path) if name.startswith("seg-"))


# --- identity ------------------------------------------------------------------------------------------------


def test_a_fingerprint_is_length_delimited() -> None:
    assert fingerprint({"a": "b", "c": "d"}) == fingerprint({"c": "d", "a": "b"})
    assert len(fingerprint({})) == 64
    assert len({fingerprint(fields) for fields in ({"a": "bc"}, {"ab": "c"}, {"a": "b", "c": ""}, {"a": ""}, {})}) == 5


TEXTS = st.text(st.characters(codec="utf-8"), max_size=4)
SOME_FIELDS = st.dictionaries(TEXTS, TEXTS, max_size=3)


@settings(max_examples=50)
@given(SOME_FIELDS, SOME_FIELDS)
def test_other_fields_have_another_fingerprint(a: dict[str, str], b: dict[str, str]) -> None:
    assert (fingerprint(a) == fingerprint(b)) == (a == b)
    assert (difference(a, b) == ()) == (a == b)


def test_fields_in_plain_words() -> None:
    assert explain({"model": "a/b", "text_policy": "x" * 90}) == f"model a/b, text policy {'x' * 45}..."
    assert difference({"a": "1", "b": "2"}, {"a": "1", "b": "3", "c": ""}) == ("b", "c")


def test_format_json(cache: EmbeddingCache) -> None:
    content = json.loads((cache.path / "format.json").read_text())
    assert content == {"format": "embedding cache", "schema": 1, "fields": FIELDS}
    assert cache.path.name == fingerprint(FIELDS)


@pytest.mark.parametrize("damage", [None, b"", b"{", b"[]", b'{"fields": 3}', b'{"fields": {"model": "x"}}', b"\xff"])
def test_format_json_is_written_again(cache: EmbeddingCache, damage: bytes | None) -> None:
    cache.append("image", keys_of(1), vectors_of(1))
    path = cache.path / "format.json"
    path.unlink() if damage is None else path.write_bytes(damage)
    assert list_caches(cache.path.parent) == []
    again = EmbeddingCache.open(cache.path.parent, FIELDS)
    assert not again.missing("image", keys_of(1)).any()
    assert json.loads(path.read_text())["fields"] == FIELDS


def test_another_model_is_named_with_what_differs(cache: EmbeddingCache) -> None:
    root = cache.path.parent
    with pytest.raises(CacheError, match=r"no embeddings in .*empty; run extract"):
        EmbeddingCache.open(root / "empty", FIELDS, create=False)
    with pytest.raises(CacheError) as error:
        EmbeddingCache.open(root, {**FIELDS, "model": "koclip", "revision": "9"}, create=False)
    assert str(error.value) == (
        f"{root} holds no embeddings of koclip; the nearest are of openai/clip-vit-base-patch32 and differ in model: "
        "'openai/clip-vit-base-patch32' there, 'koclip' asked for; revision: '3d74acf' there, '9' asked for; "
        "run extract"
    )
    assert not (root / "empty").exists()
    there, asked = (
        "an orientation applied; transparency on white; RGB",
        "an orientation applied; transparency on white; RGB, fast",
    )
    bf16 = {**FIELDS, "precision": "bf16"}
    EmbeddingCache.open(root, {**bf16, "decoding": there})
    with pytest.raises(
        CacheError, match=r"decoding: '\.\.\.cy on white; RGB' there, '\.\.\.cy on white; RGB, fast' asked"
    ):
        EmbeddingCache.open(root, {**bf16, "decoding": asked}, create=False)


def test_every_cache_is_listed(cache: EmbeddingCache) -> None:
    root = cache.path.parent
    other = EmbeddingCache.open(root, {**FIELDS, "precision": "bf16"})
    assert {one.fingerprint: one.fields for one in list_caches(root)} == {
        cache.fingerprint: FIELDS,
        other.fingerprint: {**FIELDS, "precision": "bf16"},
    }
    assert list_caches(root / "nowhere") == []


def test_a_file_is_no_cache(tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    for look in (lambda: list_caches(tmp_path / "cache"), lambda: EmbeddingCache.open(tmp_path / "cache", FIELDS)):
        with pytest.raises(InputError, match="cache is a file, expected the folder of the embeddings"):
            look()


def test_keys_are_contents() -> None:
    digest = hashlib.sha256(b"pixels").digest()
    names = [ImageFile(name, Path(name), digest, None) for name in ("a.png", "b.png")]
    assert (image_key(names[0]) == image_key(names[1])).all()
    assert image_key(names[0]).tobytes() == digest
    assert hashtag_keys(["#카페"])[0].tobytes() == hashlib.sha256("#카페".encode()).digest()
    assert len({key.tobytes() for key in hashtag_keys(["#카페", "카페", "#카페 ", normalize("NFD", "#카페")])}) == 4
    assert hashtag_keys([]).shape == (0, 32)


# --- rows ----------------------------------------------------------------------------------------------------


def test_append_and_read(cache: EmbeddingCache) -> None:
    keys, vectors = keys_of(*range(100)), vectors_of(100)
    assert cache.missing("image", keys).all()
    cache.append("image", keys, vectors)
    for reader in (cache, reopened(cache)):
        assert not reader.missing("image", keys).any()
        assert reader.missing("hashtag", keys).all()
        order = np.random.default_rng(1).integers(0, 100, 300)
        got = reader.vectors("image", keys[order])
        assert got.dtype == np.float32
        assert (got == vectors[order]).all()
        with pytest.raises(CacheError, match=r"1 of 2 images are not in .*; run extract"):
            reader.vectors("image", keys_of(3, "absent"))


def test_nothing_is_no_segment(cache: EmbeddingCache) -> None:
    cache.append("image", keys_of(), vectors_of(0))
    assert segments(cache) == []
    assert cache.vectors("image", keys_of()).shape == (0, 0)
    assert cache.missing("image", keys_of()).shape == (0,)


def test_repeated_keys_keep_the_first(cache: EmbeddingCache) -> None:
    vectors = vectors_of(3)
    cache.append("image", keys_of("a", "b", "a"), vectors)
    assert (cache.vectors("image", keys_of("a", "b")) == vectors[:2]).all()
    assert len(cache.table("image")) == 2


def test_a_key_twice_is_the_first_segment_in_the_order_of_names(cache: EmbeddingCache) -> None:
    for seed in range(5):
        cache.append("image", keys_of("a"), vectors_of(1, seed=seed))
    with h5py.File(cache.path / segments(cache)[0], "r") as file:
        first = file["vectors"][()]
    assert (reopened(cache).vectors("image", keys_of("a")) == first).all()
    compact(cache)
    assert (reopened(cache).vectors("image", keys_of("a")) == first).all()
    assert len(segments(cache)) == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_vectors_no_model_should_give(cache: EmbeddingCache, bad: float) -> None:
    vectors = vectors_of(3)
    vectors[1] = 0.0 if bad == 0.0 else vectors[1]
    vectors[1, 0] = bad
    with pytest.raises(CacheError, match="1 of 3 vectors are NaN, infinite or zero; nothing was stored"):
        cache.append("image", keys_of(1, 2, 3), vectors)
    assert segments(cache) == []


def test_another_width_is_refused(cache: EmbeddingCache) -> None:
    cache.append("image", keys_of(1), vectors_of(1, dim=4))
    for kind, vectors in (("image", vectors_of(1, dim=5)), ("hashtag", vectors_of(1, dim=3)), ("image", vectors_of(2))):
        with pytest.raises(CacheError, match=r"expected \(1, 4\): the model does not fit this cache"):
            cache.append(kind, keys_of(2), vectors)  # type: ignore[arg-type]


def test_half_precision_is_a_cache_of_its_own(cache: EmbeddingCache) -> None:
    half = EmbeddingCache.open(cache.path.parent, {**FIELDS, "store": "fp16"})
    assert half.fingerprint != cache.fingerprint
    vectors = vectors_of(50)
    half.append("image", keys_of(*range(50)), vectors)
    assert (half.vectors("image", keys_of(*range(50))) == vectors.astype(np.float16).astype(np.float32)).all()
    half.append("image", keys_of("more"), vectors_of(1))
    compact(half)
    with h5py.File(half.path / segments(half)[0], "r") as file:
        assert file["vectors"].dtype == np.float16
    assert (half.vectors("image", keys_of(*range(50))) == vectors.astype(np.float16)).all()
    with pytest.raises(CacheError, match="infinite"):
        half.append("image", keys_of("large"), np.full((1, 4), 1e6, np.float32))


def test_every_half_becomes_the_same_number_in_single_precision() -> None:
    halves = np.arange(65_536, dtype=np.uint16).view(np.float16)
    halves = halves[~np.isnan(halves)]
    wide = table.as_float32(halves)
    assert wide.dtype == np.float32
    assert (wide.view(np.uint32) == np.array([float(half) for half in halves], np.float32).view(np.uint32)).all()


def test_large_appends_become_several_segments(cache: EmbeddingCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "rows_per_segment", lambda dim, dtype: 30)
    cache.append("image", keys_of(*range(100)), vectors_of(100))
    assert len(segments(cache)) == 4
    assert (reopened(cache).vectors("image", keys_of(*range(100))) == vectors_of(100)).all()


def test_more_segments_than_may_be_mapped_at_once(cache: EmbeddingCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "open_maps", lambda: 3)
    for number in range(8):
        cache.append("image", keys_of(number), vectors_of(1, seed=number))
    expected = np.concatenate([vectors_of(1, seed=number) for number in range(8)])
    for _ in range(2):
        assert (cache.vectors("image", keys_of(*range(8))) == expected).all()


@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
@pytest.mark.parametrize("dim", [1, 3, 64])
@pytest.mark.parametrize("maps", [1, 2, 100])
def test_gathers_are_plain_indexing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str, dim: int, maps: int
) -> None:
    """Any rows in any order, of segments of any size, mapped before or not, all together or some at a time."""
    monkeypatch.setattr(table, "open_maps", lambda: maps)
    cache = EmbeddingCache.open(tmp_path, FIELDS | {"store": dtype})
    rng, start = np.random.default_rng(dim), 0
    parts = []
    for rows in (1, 40, 7, 300, 2):
        parts.append(rng.standard_normal((rows, dim), np.float32).astype(cache.dtype))
        cache.append("image", keys_of(*range(start, start + rows)), parts[-1].astype(np.float32))
        start += rows
    vectors = np.concatenate(parts).astype(np.float32)
    view, places = cache.find("image", keys_of(*range(start)))
    for size in (1, 5, 0, 64, 350, 700):
        asked = rng.integers(0, start, size)
        assert (view.take(places[asked]) == vectors[asked]).all()


def test_a_segment_that_is_gone_spoils_no_other(cache: EmbeddingCache) -> None:
    for number in range(3):
        cache.append("image", keys_of(number), vectors_of(1, seed=number))
    view, rows = cache.find("image", keys_of(*range(3)))
    away = {number: view.segments[view.segment[rows[number]]].path for number in range(3)}[1]
    content = away.read_bytes()
    view.take(rows[:1])
    away.unlink()
    with pytest.raises(FileNotFoundError):
        view.take(rows)
    assert (view.take(rows[[2, 0]]) == np.concatenate([vectors_of(1, seed=2), vectors_of(1, seed=0)])).all()
    away.write_bytes(content)
    assert (view.take(rows) == np.concatenate([vectors_of(1, seed=number) for number in range(3)])).all()


PARTS = st.lists(st.binary(min_size=16, max_size=17).map(lambda part: b"\0" * 14 + part[14:]), max_size=30)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(PARTS, PARTS)
def test_lookup_equals_a_dict(tmp_path: Path, there: list[bytes], asked: list[bytes]) -> None:
    """Also for keys that are no digests: with common beginnings, ends of zeros, all zeros."""

    def padded(parts: list[bytes]) -> Keys:
        return np.frombuffer(b"".join(part.ljust(32, b"\0") for part in parts), np.uint8).reshape(-1, 32)

    cache = EmbeddingCache.open(tmp_path / os.urandom(4).hex(), FIELDS)
    vectors = vectors_of(len(there))
    cache.append("image", padded(there), vectors)
    first = {key.tobytes(): vector for key, vector in reversed(list(zip(padded(there), vectors, strict=True)))}
    missing = cache.missing("image", padded(asked))
    assert missing.tolist() == [key.tobytes() not in first for key in padded(asked)]
    found = padded(asked)[~missing]
    if len(found):
        assert (cache.vectors("image", found) == np.array([first[key.tobytes()] for key in found])).all()


# --- processes beside one another ----------------------------------------------------------------------------


def test_a_reader_sees_what_others_append(cache: EmbeddingCache) -> None:
    reader = reopened(cache)
    assert reader.missing("image", keys_of(1)).all()
    cache.append("image", keys_of(1), vectors_of(1))
    assert not reader.missing("image", keys_of(1)).any()


def test_a_reader_across_compactions(cache: EmbeddingCache) -> None:
    """Opened, checked or mapped before: the rows stay readable when their segments are gone."""
    for number in range(6):
        cache.append("image", keys_of(number), vectors_of(1, seed=number))
    expected = np.concatenate([vectors_of(1, seed=number) for number in range(6)])
    opened, checked, mapped = (reopened(cache) for _ in range(3))
    opened.table("image")
    checked.missing("image", keys_of(*range(6)))
    view, rows = mapped.find("image", keys_of(*range(6)))
    view.take(rows)
    report = compact(cache)
    assert (report.before, report.after, len(segments(cache))) == (6, 1, 1)
    for reader in (opened, checked, mapped):
        assert (reader.vectors("image", keys_of(*range(6))) == expected).all()
    assert (view.take(rows) == expected).all()


def test_compaction_keeps_kinds_apart_and_is_done_once(cache: EmbeddingCache) -> None:
    for number in range(4):
        cache.append("image", keys_of(number), vectors_of(1))
        cache.append("hashtag", keys_of(number), vectors_of(1))
    compact(cache)
    names = segments(cache)
    assert len(names) == 2
    assert compact(cache) == maintenance.CompactReport(2, 2)
    assert segments(cache) == names


OVERLAPPING = st.lists(  # segments: which of ten keys each has, and how many rows of its own
    st.tuples(st.sets(st.integers(0, 9), max_size=6), st.integers(1, 9)), min_size=2, max_size=8
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=OVERLAPPING, store=st.sampled_from(["fp32", "fp16"]), killed=st.none() | st.integers(0, 6))
def test_the_same_vectors_count_before_and_after_a_compaction(
    tmp_path: Path, made: list[tuple[set[int], int]], store: str, killed: int | None
) -> None:
    """Whatever keys segments share, small or too large to be merged; and when it is killed on its way."""
    cache = EmbeddingCache.open(tmp_path / os.urandom(4).hex(), {**FIELDS, "store": store})
    names: set[object] = set()
    for number, (shared, own) in enumerate(made):
        here = [*shared, *(f"{number} {row}" for row in range(own))]
        cache.append("image", keys_of(*here), vectors_of(len(here), seed=number))
        names.update(here)
    before = reopened(cache).vectors("image", keys_of(*names))

    class Dying(System):
        removals = 0

        @classmethod
        def unlink(cls, path: Path) -> None:  # type: ignore[override]
            if cls.removals == killed and NAME.fullmatch(path.name):
                raise Killed
            cls.removals += 1
            os.unlink(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(maintenance, "SEGMENT_BYTES", 20 * (32 + 4 * cache.dtype.itemsize))
        with suppress(Killed), patch.context() as dying:
            dying.setattr(durable, "system", Dying())
            compact(cache)
        assert (reopened(cache).vectors("image", keys_of(*names)) == before).all()
        compact(reopened(cache))
    after = reopened(cache)
    assert (after.vectors("image", keys_of(*names)) == before).all()
    assert sum(map(len, after.table("image").segments)) == len(names)


def test_compaction_leaves_large_segments(cache: EmbeddingCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "SEGMENT_BYTES", 10 * (32 + 16))
    cache.append("image", keys_of(*range(8)), vectors_of(8))
    large = segments(cache)[0]
    for number in range(100, 112):
        cache.append("image", keys_of(number), vectors_of(1, seed=number))
    compact(cache)
    assert large in segments(cache)
    assert len(segments(cache)) == 3  # 10 and 2 of the small ones
    assert len(reopened(cache).table("image")) == 20


def test_a_reader_waits_for_nobody(cache: EmbeddingCache) -> None:
    """Neither for a compaction nor for a writer, whatever they have locked."""
    cache.append("image", keys_of(1), vectors_of(1))
    with compacting(cache), (cache.path / "tmp" / ".writing-1-a").open("w") as writing:
        fcntl.flock(writing, fcntl.LOCK_EX)
        code = (
            "import sys; from tests.embedcache.test_store import *;"
            "cache = EmbeddingCache.open(Path(sys.argv[1]), FIELDS);"
            "assert (cache.vectors('image', keys_of(1)) == vectors_of(1)).all();"
            "cache.append('image', keys_of(2), vectors_of(1))"
        )
        command = [sys.executable, "-c", code, str(cache.path.parent)]
        subprocess.run(command, check=True, timeout=60, cwd=Path(__file__).parents[2])
    assert not cache.missing("image", keys_of(1, 2)).any()


def test_compactions_exclude_one_another(cache: EmbeddingCache) -> None:
    with (
        compacting(cache),
        pytest.raises(CacheError, match="being compacted by another process; try again later"),
    ):
        compact(reopened(cache))
    compact(cache)


def test_no_compaction_without_locks(cache: EmbeddingCache, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(fd: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    cache.append("image", keys_of(1), vectors_of(1))
    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(StorageError, match="cannot be compacted, since its file system has no locks: Function not"):
        compact(cache)


def test_a_cache_that_is_gone(cache: EmbeddingCache) -> None:
    reader = reopened(cache)
    gc(cache.path.parent, keep=())
    with pytest.raises(CacheError, match="cannot be listed"):
        reader.missing("image", keys_of(1))


# --- damage --------------------------------------------------------------------------------------------------


def damage(path: Path, offset: int = -1) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def test_damage_is_set_aside_and_its_rows_are_missing(cache: EmbeddingCache) -> None:
    cache.append("image", keys_of(1), vectors_of(1))
    damaged = segments(cache)[0]
    cache.append("image", keys_of(2), vectors_of(1, seed=2))
    damage(cache.path / damaged)
    reader = reopened(cache)
    assert reader.missing("image", keys_of(1, 2)).tolist() == [True, False]
    assert damaged in reader.quarantined[0]
    assert os.listdir(cache.path / "quarantine") == [damaged]
    with pytest.raises(CacheError, match=r"1 of 2 images are not in .*is damaged: .* quarantine/"):
        reader.vectors("image", keys_of(1, 2))
    assert info(reader).quarantined == 1
    # The same rows make the same segment, under the same name.
    reader.append("image", keys_of(1), vectors_of(1))
    assert damaged in segments(reader)
    assert (reader.vectors("image", keys_of(1)) == vectors_of(1)).all()


def test_a_sound_copy_of_a_damaged_row_is_used(cache: EmbeddingCache) -> None:
    cache.append("image", keys_of(1), vectors_of(1))
    cache.append("image", keys_of(1, 2), vectors_of(2))
    damage(cache.path / segments(cache)[0])
    reader = reopened(cache)
    assert (reader.vectors("image", keys_of(1)) == vectors_of(2)[:1]).all()


def test_verify(cache: EmbeddingCache) -> None:
    assert verify(cache) == maintenance.VerifyReport(0, 0, ())
    for number in range(3):
        cache.append("image", keys_of(number), vectors_of(1, seed=number))
    assert verify(cache) == maintenance.VerifyReport(3, 3, ())
    damage(cache.path / segments(cache)[1], offset=600)
    report = verify(cache)
    assert (report.segments, report.rows, len(report.damaged)) == (2, 2, 1)
    assert report.damaged[0].endswith("run extract to make its rows again")
    assert verify(cache) == maintenance.VerifyReport(2, 2, ())


def test_compaction_leaves_damage_out(cache: EmbeddingCache) -> None:
    for number in range(3):
        cache.append("image", keys_of(number), vectors_of(1, seed=number))
    damage(cache.path / segments(cache)[1])
    other = reopened(cache)
    compact(other)
    assert len(other.quarantined) == 1
    assert len(segments(cache)) == 1
    assert other.missing("image", keys_of(0, 1, 2)).sum() == 1


def foreign(cache: EmbeddingCache, keys: Keys, vectors: npt.NDArray[np.floating], digest: str | None = None) -> str:
    """A segment under its right name that this program would not write; its name."""
    order = table.sort_rows(keys)
    data = build("image", cache.fingerprint, keys[order], vectors[order])
    if digest:
        right = hashlib.sha256(np.ascontiguousarray(vectors[order]).data).hexdigest()
        with h5py.File(buffer := io.BytesIO(data), "r+", libver=("v110", "v110")) as file:
            assert file["vectors"].attrs["sha256"] == right.encode()
            file["vectors"].attrs["sha256"] = np.bytes_(digest)
        data = buffer.getvalue()
    (cache.path / name_of(data)).write_bytes(data)
    return name_of(data)


@pytest.mark.parametrize("look", [None, verify, compact])
def test_vectors_that_never_had_their_digest(
    cache: EmbeddingCache, look: Callable[[EmbeddingCache], object] | None
) -> None:
    """In a file whose name is right."""
    cache.append("image", keys_of(1), vectors_of(1))
    bad = foreign(cache, keys_of(1, 2, 3), vectors_of(3), digest="0" * 64)
    reader = reopened(cache)
    if look:
        look(reader)
    assert reader.missing("image", keys_of(1, 2, 3)).tolist() == [False, True, True]
    assert os.listdir(cache.path / "quarantine") == [bad]
    assert "the digest of its vectors differs; it was put in quarantine/" in reader.quarantined[0]


@pytest.mark.parametrize(
    ("vectors", "found"),
    [
        (vectors_of(3).astype(np.float16), "float16, 4 wide; this cache keeps float32, 4 wide"),
        (vectors_of(3, dim=8), "float32, 8 wide; this cache keeps float32, 4 wide"),
    ],
)
@pytest.mark.parametrize("kind", ["image", "hashtag"])
def test_vectors_that_do_not_fit_the_cache(
    cache: EmbeddingCache, vectors: npt.NDArray[np.floating], found: str, kind: Kind
) -> None:
    """Of two widths that of most rows counts, of either kind, whichever segment comes first."""
    for number in range(4):
        cache.append(kind, keys_of(number), vectors_of(1, seed=number))
    bad = foreign(cache, keys_of("a", "b", "c"), vectors)
    reader = reopened(cache)
    assert reader.missing("image", keys_of("a", "b", "c")).all()
    expected = np.concatenate([vectors_of(1, seed=number) for number in range(4)])
    assert (reader.vectors(kind, keys_of(*range(4))) == expected).all()
    assert os.listdir(cache.path / "quarantine") == [bad]
    assert len(segments(cache)) == 4
    assert reader.quarantined == [
        f"{cache.path / bad} holds vectors of {found}; it was put in quarantine/, run extract to make its rows again"
    ]


def test_a_repair_by_another_process_is_not_set_aside(cache: EmbeddingCache) -> None:
    cache.append("image", keys_of(1), vectors_of(1))
    path = cache.path / segments(cache)[0]
    sound = path.read_bytes()
    damage(path)
    reader = reopened(cache)
    opened = reader.table("image").segments[0]
    with reader.handling(path):
        try:
            opened.check_vectors()
        finally:
            path.write_bytes(sound)  # meanwhile another process has made the rows again
    assert not reader.quarantined
    assert (reader.vectors("image", keys_of(1)) == vectors_of(1)).all()


def test_damage_that_cannot_be_set_aside(cache: EmbeddingCache) -> None:
    cache.append("image", keys_of(1), vectors_of(1))
    damage(cache.path / segments(cache)[0])
    (cache.path / "quarantine").touch()
    reader = reopened(cache)
    assert reader.missing("image", keys_of(1)).all()
    reader.append("image", keys_of(1), vectors_of(1))
    assert (reader.vectors("image", keys_of(1)) == vectors_of(1)).all()


# --- upkeep and use ------------------------------------------------------------------------------------------


def test_info(cache: EmbeddingCache) -> None:
    empty = info(cache)
    assert (empty.images, empty.segments, empty.bytes, empty.dim, empty.oldest) == (0, 0, 0, None, None)
    cache.append("image", keys_of(1, 2), vectors_of(2))
    cache.append("hashtag", keys_of(1, 2, 3), vectors_of(3))
    full = info(cache)
    assert (full.images, full.hashtags, full.dim, full.segments) == (2, 3, 4, 2)
    assert full.bytes == sum((cache.path / name).stat().st_size for name in segments(cache))
    assert json.loads(json.dumps(full.as_dict()))["fields"] == FIELDS


def test_info_beside_a_compaction(cache: EmbeddingCache, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        cache.append("image", keys_of(number), vectors_of(1, seed=number))
    reader = reopened(cache)
    assert not reader.missing("image", keys_of(*range(3))).any()
    looks = [reader.listed(), reader.listed()]
    compact(cache)
    monkeypatch.setattr(reader, "listed", lambda: looks.pop())  # what was there a moment ago
    assert (info(reader).images, looks) == (3, [])


def test_a_complete_cache_needs_no_folders_to_be_read(cache: EmbeddingCache) -> None:
    """As copying may leave empty ones out, and make all of it read-only."""
    cache.append("image", keys_of(1), vectors_of(1))
    for name in ("tmp", "quarantine"):
        if (cache.path / name).exists():
            (cache.path / name).rmdir()
    there = sorted(os.listdir(cache.path))
    reader = EmbeddingCache.open(cache.path.parent, FIELDS)
    assert (reader.vectors("image", keys_of(1)) == vectors_of(1)).all()
    assert info(reader).images == 1
    assert verify(reader).segments == 1
    assert sorted(os.listdir(cache.path)) == there
    reader.append("image", keys_of(2), vectors_of(1, seed=2))
    assert not cache.missing("image", keys_of(1, 2)).any()
    (cache.path / "tmp").rmdir()
    compact(reader)
    damage(cache.path / segments(cache)[0])
    assert reopened(cache).missing("image", keys_of(1, 2)).all()
    assert len(os.listdir(cache.path / "quarantine")) == 1


def test_gc(cache: EmbeddingCache) -> None:
    root = cache.path.parent
    other = EmbeddingCache.open(root, {**FIELDS, "precision": "bf16"})
    (root / "notes.txt").touch()
    assert gc(root, keep=[cache.fingerprint]) == [other.fingerprint]
    assert sorted(os.listdir(root)) == sorted([cache.fingerprint, "notes.txt"])
    assert gc(root / "nowhere", keep=()) == []


def image_files(names: list[str]) -> dict[str, ImageFile]:
    """Names that start with the same letter are the same image; "missing" is none."""
    return {
        name: ImageFile(name, None, None, "is missing")
        if name == "missing"
        else ImageFile(name, Path(name), hashlib.sha256(name[:1].encode()).digest(), None)
        for name in names
    }


@pytest.fixture
def pairs(cache: EmbeddingCache) -> tuple[PairTable, dict[str, ImageFile]]:
    """a1 and a2 are one image; b is not cached, one hashtag neither."""
    table = pair_table(["a1", "a2", "b", "missing", "c", "c"], ["#x", "#y", "#x", "#x", "#nowhere", "#y"])
    files = image_files(list(table.images))
    cache.append("image", np.array([image_key(files["a1"]), image_key(files["c"])]), vectors_of(2))
    cache.append("hashtag", hashtag_keys(["#y", "#x"]), vectors_of(2, seed=1))
    return table, files


def test_features(cache: EmbeddingCache, pairs: tuple[PairTable, dict[str, ImageFile]]) -> None:
    embeddings, usable = cache.features(*pairs)
    assert usable.tolist() == [True, True, False, False, False, True]
    assert (embeddings.images == vectors_of(2)).all()  # two images, not three pairs
    y, x = vectors_of(2, seed=1)
    assert (embeddings.images[embeddings.image_index] == vectors_of(2)[[0, 0, 1]]).all()
    assert (embeddings.hashtags[embeddings.hashtag_index] == np.array([x, y, y])).all()


def test_features_of_an_empty_cache(cache: EmbeddingCache) -> None:
    table = pair_table(["a", "missing"], ["#x", "#y"])
    embeddings, usable = cache.features(table, image_files(list(table.images)))
    assert len(embeddings) == 0
    assert not usable.any()
    cache.append("hashtag", hashtag_keys(["#x"]), vectors_of(1))
    embeddings, usable = cache.features(table, image_files(list(table.images)))
    assert (embeddings.dim, usable.any()) == (4, False)


@pytest.mark.parametrize("extension", ["npz", "h5"])
def test_export(
    cache: EmbeddingCache, pairs: tuple[PairTable, dict[str, ImageFile]], tmp_path: Path, extension: str
) -> None:
    out = tmp_path / f"out.{extension}"
    assert export(cache, *pairs, out) == (3, 2)
    if extension == "npz":
        with np.load(out) as file:
            content = dict(file)
        names, hashtags = content["image_names"].tolist(), content["hashtags"].tolist()
    else:
        with h5py.File(out, "r") as file:
            content = {name: file[name][()] for name in file}
            names, hashtags = (file[name].asstr()[()].tolist() for name in ("image_names", "hashtags"))
    assert set(content) == {"image_names", "image_embeddings", "hashtags", "hashtag_embeddings"}
    assert (names, hashtags) == (["a1", "a2", "c"], ["#x", "#y"])
    assert content["image_embeddings"].dtype == np.float32
    assert (content["image_embeddings"] == vectors_of(2)[[0, 0, 1]]).all()
    assert (content["hashtag_embeddings"] == vectors_of(2, seed=1)[::-1]).all()


def test_export_elsewhere(cache: EmbeddingCache, pairs: tuple[PairTable, dict[str, ImageFile]], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"out.csv has the extension '.csv'; expected .npz or .h5"):
        export(cache, *pairs, tmp_path / "out.csv")


def test_the_store_imports_nothing_heavy() -> None:
    code = "import sys, embedcache.extract, embedcache.export; print({'torch', 'transformers'} & set(sys.modules))"
    command = [sys.executable, "-c", code]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert ran.stdout == "set()\n"


def test_many_rows_open_without_their_vectors_being_read(cache: EmbeddingCache) -> None:
    """A damaged vector is no concern of opening; it is found at the first touch of its own segment."""
    keys = np.random.default_rng(0).integers(0, 256, (20_000, 32), np.uint8)
    cache.append("image", keys, np.ones((20_000, 4), np.float32))
    damage(cache.path / segments(cache)[0])
    reader = reopened(cache)
    assert len(reader.table("image")) == 20_000
    assert not reader.quarantined
    assert reader.missing("image", keys[:1]).all()
    assert len(reader.quarantined) == 1
