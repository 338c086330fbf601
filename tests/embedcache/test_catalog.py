"""format.json says whose embeddings a folder holds; a cache that is missing is explained by the nearest one."""

import json
import shutil
from pathlib import Path

import pytest

from consistency.errors import CacheError, InputError
from embedcache.fingerprint import fingerprint
from embedcache.store import EmbeddingCache, list_caches
from tests.builders.caches import FIELDS, keys_of, vectors_of
from tests.builders.commands import Run


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
        f"{root} has no embeddings of koclip; the closest are of openai/clip-vit-base-patch32 and differ in model "
        "(found 'openai/clip-vit-base-patch32', expected 'koclip'), revision (found '3d74acf', expected '9'); "
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
        CacheError, match=r"decoding \(found '\.\.\.cy on white; RGB', expected '\.\.\.cy on white; RGB, fast'\)"
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


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def from_the_future(cache: EmbeddingCache) -> Path:
    """What a later version may have written beside a cache: another schema, fields and files that nobody knows here."""
    path = cache.path.parent / ("f" * 64)
    shutil.copytree(cache.path, path)
    content = {"format": "embedding cache", "schema": 2, "fields": {**FIELDS, "schema": "2"}, "shards": ["seg-1"]}
    (path / "format.json").write_text(json.dumps(content))
    (path / "shard-1.zarr").write_bytes(b"later")
    return path


def test_a_cache_of_a_newer_version_is_left_alone_and_named(cache: EmbeddingCache, run: Run) -> None:
    root = cache.path.parent
    future = from_the_future(cache)
    shutil.rmtree(cache.path)
    before = tree(root)
    newer = "a folder there was written by a newer version of this program: upgrade it to use them"
    with pytest.raises(CacheError, match=f"there are no embeddings in {root}; run extract; {newer}"):
        EmbeddingCache.open(root, FIELDS, create=False)
    for words in (["info"], ["verify"], ["compact"]):
        ran = run("cache", *words, "--cache", root)
        assert (ran.code, ran.stdout) == (0, "")
        assert ran.stderr == f"{root} has no such embeddings that this version reads; {newer}\n"
    gc = ("cache", "gc", "--fingerprint", cache.fingerprint[:12], "--cache", root, "--yes")
    ran = run(*gc)
    assert ran.code == 2
    assert ran.stderr.count("\n") == 1
    other = EmbeddingCache.open(root, FIELDS)  # versions can share the folder of all caches
    other.append("image", keys_of(2), vectors_of(1))
    assert run(*gc).code == 0
    assert run("cache", "compact", "--cache", root).code == 0
    assert tree(future) == {name.partition("/")[2]: data for name, data in before.items()}


def test_a_newer_format_json_under_a_known_name_is_refused(cache: EmbeddingCache) -> None:
    cache.append("image", keys_of(1), vectors_of(1))
    content = json.loads((cache.path / "format.json").read_text())
    (cache.path / "format.json").write_text(json.dumps({**content, "schema": 2}))
    before = tree(cache.path)
    for create in (True, False):
        with pytest.raises(CacheError) as error:
            EmbeddingCache.open(cache.path.parent, FIELDS, create=create)
        assert str(error.value) == (
            f"{cache.path} was written by a newer version of this program (schema 2, expected 1): "
            "upgrade the program, or name another folder with --cache"
        )
    assert tree(cache.path) == before


def test_what_a_later_version_may_add_is_read_over_and_kept(cache: EmbeddingCache) -> None:
    """A key of format.json beside the known ones, in the same schema."""
    content = json.loads((cache.path / "format.json").read_text())
    written = json.dumps({**content, "note": "added"})
    (cache.path / "format.json").write_text(written)
    EmbeddingCache.open(cache.path.parent, FIELDS)
    assert (cache.path / "format.json").read_text() == written
