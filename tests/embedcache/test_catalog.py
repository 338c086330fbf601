"""format.json says whose embeddings a folder holds; a cache that is missing is explained by the nearest one."""

import json
from pathlib import Path

import pytest

from consistency.errors import CacheError, InputError
from embedcache.fingerprint import fingerprint
from embedcache.store import EmbeddingCache, list_caches
from tests.builders.caches import FIELDS, keys_of, vectors_of


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
