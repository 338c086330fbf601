"""Embeddings of earlier library versions are taken over where a sample is equal; otherwise the difference is named."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from consistency.backbone.text_recipe import TextRecipe
from consistency.data.files import ImageFile, find_images
from consistency.data.pairs import PairTable
from consistency.options import ImageLimits
from embedcache.adopt import EXACT, Verdict, adopt, read_verdict
from embedcache.extract import extract
from embedcache.keys import hashtag_keys
from embedcache.segments import Vectors
from embedcache.store import EmbeddingCache
from tests.builders.crash_workers import Toy, pair_table

OLD = {"model": "made/up", "revision": "1", "libraries": "pillow 13"}
NEW = OLD | {"libraries": "pillow 14"}
LIMITS = ImageLimits()


class Moved(Toy):
    """A backbone whose libraries give slightly different images."""

    def encode_images(self, batch: Any) -> Vectors:
        vectors = super().encode_images(batch).copy()
        vectors[0, 3] += 0.0125
        return vectors


def taken_over(data: tuple[PairTable, dict[str, ImageFile]], cache: EmbeddingCache, *how: Any) -> Verdict | None:
    table, files = data
    return adopt(cache.recipe.all_texts(table.hashtags), files, cache, *how)


def never() -> Any:
    raise AssertionError("a model was loaded")


@pytest.fixture
def data(tmp_path: Path) -> tuple[PairTable, dict[str, ImageFile]]:
    (tmp_path / "images").mkdir()
    names = [f"{index}.png" for index in range(20)]
    for index, name in enumerate(names):
        pixels = np.random.default_rng(index).integers(0, 256, (4, 4, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / name)
    return pair_table(names, [f"#태그{index}" for index in range(20)]), find_images(names, tmp_path / "images")


@pytest.fixture
def old(data: tuple[PairTable, dict[str, ImageFile]], tmp_path: Path) -> EmbeddingCache:
    cache = EmbeddingCache.open(tmp_path / "cache", OLD)
    extract(*data, cache, Toy, workers=1)  # type: ignore[arg-type]
    return cache


def test_equal_embeddings_are_taken_over(
    data: tuple[PairTable, dict[str, ImageFile]], old: EmbeddingCache, tmp_path: Path
) -> None:
    new = EmbeddingCache.open(tmp_path / "cache", NEW)
    verdict = taken_over(data, new, Toy, LIMITS)  # type: ignore[arg-type]
    assert verdict is not None
    assert (verdict.equal, verdict.largest, verdict.images, verdict.texts) == (True, 0, 16, 16)
    assert verdict.note.endswith("differ by at most 0 (equal: 1e-05); they are taken over")
    assert "embeddings made with pillow 13: 16 images and 16 texts of hashtags" in verdict.note
    assert read_verdict(new.path, old.fingerprint) == verdict
    report = extract(*data, new, never, workers=1)  # nothing is missing
    assert (report.images_cached, report.hashtags_cached) == (20, 20)
    for cache in (new, old):
        pairs, usable = cache.features(*data)
        assert usable.all()
        np.testing.assert_array_equal(pairs.hashtag_vectors(), Toy().encode_texts(list(data[0].hashtags)))
    assert taken_over(data, new, never, LIMITS) is None

    # More of the earlier cache is taken over without another sample.
    more = pair_table(["0.png"], ["#늦게"])
    old.append("hashtag", hashtag_keys(["#늦게"]), Toy().encode_texts(["#늦게"]))
    assert taken_over((more, data[1]), new, never, LIMITS) == verdict
    assert not new.missing("hashtag", hashtag_keys(["#늦게"])).any()


def test_embeddings_that_differ_are_named_with_the_difference(
    data: tuple[PairTable, dict[str, ImageFile]], old: EmbeddingCache, tmp_path: Path
) -> None:
    new = EmbeddingCache.open(tmp_path / "cache", NEW)
    for load in (Moved, never):  # the verdict is kept: a second time no model is loaded
        verdict = taken_over(data, new, load, LIMITS)  # type: ignore[arg-type]
        assert verdict is not None
        assert not verdict.equal
        assert verdict.largest == pytest.approx(0.0125, abs=1e-6)
        assert "differ by at most 0.012 (equal: 1e-05); they are not used" in verdict.note
        assert not new.listed()


def test_an_image_that_can_no_longer_be_decoded_is_no_equality(
    data: tuple[PairTable, dict[str, ImageFile]], old: EmbeddingCache, tmp_path: Path
) -> None:
    verdict = adopt(
        data[0].hashtags, data[1], EmbeddingCache.open(tmp_path / "cache", NEW), Toy, ImageLimits(max_pixels=1)
    )  # type: ignore[arg-type]
    assert verdict is not None
    assert (verdict.equal, verdict.largest) == (False, 2)


def test_other_differences_are_no_earlier_version(
    data: tuple[PairTable, dict[str, ImageFile]], old: EmbeddingCache, tmp_path: Path
) -> None:
    other = EmbeddingCache.open(tmp_path / "cache", NEW | {"revision": "2"})
    assert taken_over(data, other, never, LIMITS) is None
    recipe = EmbeddingCache.open(tmp_path / "cache", NEW, recipe=TextRecipe("raw", ("{}의 사진",)))
    verdict = taken_over(data, recipe, Toy, LIMITS)  # type: ignore[arg-type]
    assert verdict is not None
    assert (verdict.images, verdict.texts) == (16, 0)  # no text of the template was ever encoded


def test_less_than_fp32_allows_for_rounding(data: tuple[PairTable, dict[str, ImageFile]], tmp_path: Path) -> None:
    half = {"store": "fp16"}
    cache = EmbeddingCache.open(tmp_path / "cache", OLD | half)
    extract(*data, cache, Toy, workers=1, store="fp16")  # type: ignore[arg-type]
    verdict = taken_over(data, EmbeddingCache.open(tmp_path / "cache", NEW | half), Toy, LIMITS)  # type: ignore[arg-type]
    assert verdict is not None
    assert verdict.equal
    assert verdict.tolerance > EXACT


def test_a_damaged_verdict_counts_as_none(tmp_path: Path) -> None:
    assert read_verdict(tmp_path, "ab") is None
    (tmp_path / "compared-ab.json").write_text("[]")
    assert read_verdict(tmp_path, "ab") is None
    assert not Verdict("ab", "pillow 13", 1, 1, 0.5, EXACT).equal
