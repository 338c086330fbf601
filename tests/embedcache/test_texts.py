"""The record of hashtags in a cache: all that were encoded, whatever they contain, and none without a vector."""

import json
from pathlib import Path

import numpy as np

from embedcache.extract import extract
from embedcache.keys import hashtag_keys
from embedcache.store import EmbeddingCache
from embedcache.texts import has_texts, read_texts, write_texts
from tests.builders.caches import FIELDS, image_files, vectors_of
from tests.builders.crash_workers import pair_table


def test_texts_come_back_sorted_and_distinct(tmp_path: Path) -> None:
    assert not has_texts(tmp_path)
    assert read_texts(tmp_path / "none") == []
    write_texts(tmp_path, ["나", "가\n\"'", "나"])
    write_texts(tmp_path, ["😀", "나"])
    assert read_texts(tmp_path) == sorted(["나", "가\n\"'", "😀"])
    assert has_texts(tmp_path)
    write_texts(tmp_path, ["😀", "나"])
    assert len(list(tmp_path.glob("texts-*.json"))) == 2  # the same content is the same file


def test_a_damaged_record_is_ignored(tmp_path: Path) -> None:
    write_texts(tmp_path, ["a"])
    (file,) = tmp_path.glob("texts-*.json")
    write_texts(tmp_path, ["b"])
    file.write_bytes(file.read_bytes().replace(b"a", b"c"))
    assert read_texts(tmp_path) == ["b"]
    (tmp_path / "texts-2-mine.json").write_text("[]")
    assert read_texts(tmp_path) == ["b"]


def test_only_hashtags_with_a_vector_count(cache: EmbeddingCache) -> None:
    cache.record_texts(["#x", "#y", "#lost"])
    cache.append("hashtag", hashtag_keys(["#y", "#x", "#unnamed"]), vectors_of(3))
    assert cache.texts() == ["#x", "#y"]


class Texts:
    """Stands for a backbone that encodes hashtags of one letter."""

    batch_sizes, precision, text_length = (4, 4), "fp32", 77

    def token_ids(self, texts: list[str]) -> list[list[int]]:
        return [[1] for _ in texts]

    def truncated(self, texts: list[str]) -> list[str]:
        return []

    def encode_texts(self, texts: list[str]) -> np.ndarray:
        return np.array([[ord(text[-1]), 1.0] for text in texts], np.float32)


def test_an_extraction_records_what_it_encodes(tmp_path: Path) -> None:
    cache = EmbeddingCache.open(tmp_path, FIELDS)
    for hashtags in (["#a", "#b"], ["#b", "#c"], ["#a"]):
        table = pair_table(["missing"] * len(hashtags), hashtags)
        extract(table, image_files(["missing"]), cache, Texts)  # type: ignore[arg-type]
    assert cache.texts() == ["#a", "#b", "#c"]
    written = [json.loads(path.read_text(encoding="utf-8")) for path in cache.path.glob("texts-*.json")]
    assert sorted(written) == [["#a", "#b"], ["#c"]]  # none twice
    for path in cache.path.glob("texts-*.json"):
        path.unlink()  # a cache of an earlier version
    extract(pair_table(["missing"], ["#b"]), image_files(["missing"]), cache, Texts)  # type: ignore[arg-type]
    assert cache.texts() == ["#b"]
