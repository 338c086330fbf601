"""Embeddings for notebooks: rows by index, mask and slice, from the command line's cache."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import koclip_consistency as kc
from consistency.errors import CacheError, InputError
from tests.builders.commands import Run, data_options


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def test_rows_of_the_table(small_demo: Path, cache: Path) -> None:
    pairs = kc.read_pairs(small_demo / "combined_data.csv", small_demo / "image")
    emb = kc.embed(pairs, backbone="tiny", cache=cache)
    assert len(emb) == len(pairs)
    assert emb.dim == 128
    assert "of tiny; embeddings: 60 of 60 images" in repr(emb)
    everything = emb[:]
    cosine = everything.cosine()
    mask = pairs.scores == 5
    for rows in (mask, np.flatnonzero(mask), np.flatnonzero(mask).tolist()):
        np.testing.assert_array_equal(emb[rows].cosine(), cosine[mask])
    assert emb[3].cosine().tolist() == [cosine[3]]
    assert len(emb[np.array([], dtype=int)]) == 0
    np.testing.assert_array_equal(emb.usable(), np.arange(len(pairs)))
    with pytest.raises(IndexError):
        emb[[len(pairs)]]


def test_the_cache_is_the_command_lines(run: Run, small_demo: Path, cache: Path, tmp_path: Path) -> None:
    pairs = kc.read_pairs(small_demo / "combined_data.csv", small_demo / "image")
    with pytest.raises(CacheError, match="run extract|holds no embeddings|no embeddings"):
        kc.embed(pairs, backbone="tiny", cache=tmp_path / "cache", extract=False)
    assert run("extract", "--backbone", "tiny", *data_options(small_demo, tmp_path)).code == 0
    emb = kc.embed(pairs, backbone="tiny", cache=str(tmp_path / "cache"), extract=False)
    assert (tmp_path / "cache" / emb.fingerprint).is_dir()
    mine = kc.embed(pairs, backbone="tiny", cache=cache)
    np.testing.assert_array_equal(emb[:].cosine(), mine[:].cosine())


def test_a_broken_image_has_no_embedding(small_demo: Path, tmp_path: Path) -> None:
    shutil.copytree(small_demo / "image", tmp_path / "image")
    pairs = kc.read_pairs(small_demo / "combined_data.csv", tmp_path / "image")
    (tmp_path / "image" / pairs.images[0]).write_text("no image")
    pairs = kc.read_pairs(small_demo / "combined_data.csv", tmp_path / "image")
    emb = kc.embed(pairs, backbone="tiny", cache=tmp_path / "cache")
    lost = np.flatnonzero(pairs.images == pairs.images[0])
    with pytest.raises(InputError, match=rf"{len(lost)} of {len(pairs)} rows have no embedding"):
        emb[:]
    assert emb.skipped["row"].tolist() == (lost + 1).tolist()
    np.testing.assert_array_equal(emb.usable(lost), [])
    np.testing.assert_array_equal(emb.usable(pairs.scores > 0), np.flatnonzero(pairs.images != pairs.images[0]))
    assert len(emb[emb.usable()]) == len(pairs) - len(lost)
    with pytest.raises(InputError, match="there is no option size"):
        kc.embed(pairs, backbone="tiny", cache=tmp_path / "cache", size=3)
