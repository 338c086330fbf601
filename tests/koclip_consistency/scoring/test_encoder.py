"""The warm encoder: vectors from memory, cache and model are the same, and the model is loaded once."""

from pathlib import Path

import numpy as np
import pytest

from consistency.backbone.model import Backbone, load_backbone
from consistency.backbone.resolve import resolve_backbone
from consistency.errors import BackboneError, ImageError
from consistency.options import ImageLimits
from embedcache.fallback import FallbackCache
from embedcache.keys import hashtag_keys
from embedcache.store import EmbeddingCache
from koclip_consistency.scoring import encoder as module
from koclip_consistency.scoring.encoder import Recent, WarmEncoder
from koclip_consistency.scoring.images import OneImage, read_image

LIMITS = ImageLimits()
TEXTS = ["#바다", "카페", "#고양이가 있는 오후", "바다"]


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone(resolve_backbone("tiny"), device="cpu", precision="fp32", trainable=False)


@pytest.fixture
def image(small_demo: Path) -> OneImage:
    return read_image(sorted((small_demo / "image").iterdir())[0])


def never() -> Backbone:
    raise BackboneError("the model was loaded")


def test_vectors_are_those_of_the_backbone_and_the_model_loads_once(backbone: Backbone, image: OneImage) -> None:
    loads = []

    def load() -> Backbone:
        loads.append(1)
        return backbone

    warm = WarmEncoder(load)
    for _ in range(2):
        np.testing.assert_allclose(warm.hashtags(TEXTS), backbone.encode_texts(TEXTS), atol=1e-6)
        found = warm.image(image, LIMITS)
        pixels = backbone.prepare(image.decoded(module.Decoding("ours", LIMITS)))
        np.testing.assert_array_equal(found, backbone.encode_images(np.stack([pixels])))
    assert warm.hashtags(["카페", "카페"]).shape == (2, backbone.embed_dim)
    assert loads == [1]


def test_what_the_cache_holds_needs_no_model(image: OneImage, tmp_path: Path) -> None:
    cache = EmbeddingCache.open(tmp_path, {"model": "m"})
    vectors = np.eye(3, 8, dtype=np.float32)
    cache.append("hashtag", hashtag_keys(["a", "b"]), vectors[:2])
    cache.append("image", np.frombuffer(image.key, np.uint8)[None], vectors[2:])
    before = sorted(tmp_path.rglob("*"))
    warm = WarmEncoder(never, FallbackCache(tmp_path, {"model": "m"}))
    np.testing.assert_array_equal(warm.hashtags(["b", "a", "b"]), vectors[[1, 0, 1]])
    np.testing.assert_array_equal(warm.image(image, LIMITS), vectors[2:])
    with pytest.raises(BackboneError, match="the model was loaded"):
        warm.hashtags(["c"])
    assert sorted(tmp_path.rglob("*")) == before  # nothing is written


def test_a_cache_that_is_made_later_is_used(tmp_path: Path) -> None:
    warm = WarmEncoder(never, FallbackCache(tmp_path / "cache", {"model": "m"}))
    with pytest.raises(BackboneError):
        warm.hashtags(["a"])
    vectors = np.eye(1, 8, dtype=np.float32)
    EmbeddingCache.open(tmp_path / "cache", {"model": "m"}).append("hashtag", hashtag_keys(["a"]), vectors)
    np.testing.assert_array_equal(warm.hashtags(["a"]), vectors)


def test_vectors_are_rounded_as_the_cache_rounds_them(backbone: Backbone, image: OneImage, tmp_path: Path) -> None:
    fields = {"model": "m", "store": "fp16"}
    found = WarmEncoder(lambda: backbone, FallbackCache(tmp_path, fields)).hashtags(TEXTS)
    cache = EmbeddingCache.open(tmp_path, fields)
    exact = WarmEncoder(lambda: backbone).hashtags(TEXTS)
    cache.append("hashtag", hashtag_keys(TEXTS), exact)
    np.testing.assert_array_equal(found, cache.vectors("hashtag", hashtag_keys(TEXTS)))
    assert (found != exact).any()


def test_more_vectors_than_memory_keeps_in_one_call(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IN_MEMORY", 3)
    warm = WarmEncoder(lambda: backbone)
    many = [f"태그{number}" for number in range(8)]
    np.testing.assert_allclose(warm.hashtags(many), backbone.encode_texts(many), atol=1e-6)


def test_the_reference_is_the_caches_hashtags_as_they_are_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert WarmEncoder(never).reference().shape == (0, 0)
    assert WarmEncoder(never).texts() == []
    warm = WarmEncoder(never, FallbackCache(tmp_path, {"model": "m"}))
    assert len(warm.reference()) == 0
    vectors = np.eye(8, dtype=np.float32)
    cache = EmbeddingCache.open(tmp_path, {"model": "m"})
    for number in range(8):
        cache.append("hashtag", hashtag_keys([f"t{number}"]), vectors[number : number + 1])
        cache.record_texts([f"t{number}"])
        warm.forget()
    found = WarmEncoder(never, FallbackCache(tmp_path, {"model": "m"})).reference()
    assert sorted(found.argmax(axis=1).tolist()) == list(range(8))
    monkeypatch.setattr(module, "REFERENCE", 3)
    some = WarmEncoder(never, FallbackCache(tmp_path, {"model": "m"})).reference()
    assert len(some) == 3
    assert len({tuple(row) for row in some.tolist()}) == 3
    assert WarmEncoder(never, FallbackCache(tmp_path, {"model": "m"})).texts() == [f"t{n}" for n in range(8)]


def test_the_vectors_used_last_are_kept() -> None:
    recent = Recent(2)
    vectors = np.eye(3, dtype=np.float32)
    recent.put("a", vectors[0])
    recent.put("b", vectors[1])
    assert recent.get("a") is not None
    recent.put("c", vectors[2])
    assert recent.get("b") is None
    assert len(recent) == 2
    kept = recent.get("a")
    assert kept is not None
    assert kept.base is None  # a view would keep the whole batch in memory
    np.testing.assert_array_equal(kept, [1, 0, 0])


def test_a_broken_image_is_an_image_error(backbone: Backbone) -> None:
    with pytest.raises(ImageError, match="looks like text"):
        WarmEncoder(lambda: backbone).image(read_image(b"not an image"), LIMITS)


def test_several_requests_are_encoded_in_one_pass(backbone: Backbone, small_demo: Path, tmp_path: Path) -> None:
    files = sorted((small_demo / "image").iterdir())[:3]
    images = [read_image(file) for file in files]
    alone = WarmEncoder(lambda: backbone)
    expected = np.concatenate([alone.image(image, LIMITS) for image in images]), alone.hashtags(TEXTS)
    passes = []

    class Counted:
        """The backbone, with the size of each pass of images noted."""

        def __getattr__(self, name: str) -> object:
            return getattr(backbone, name)

        def encode_images(self, batch: np.ndarray) -> np.ndarray:
            passes.append(len(batch))
            return backbone.encode_images(batch)

    warm = WarmEncoder(lambda: Counted())  # type: ignore[arg-type,return-value]
    broken = read_image(b"\xff\xd8\xff broken")
    warm.remember([*images, broken, images[0]], TEXTS, LIMITS)
    assert passes == [3]
    np.testing.assert_allclose(np.concatenate([warm.image(image, LIMITS) for image in images]), expected[0], atol=1e-6)
    np.testing.assert_array_equal(warm.hashtags(TEXTS), expected[1])
    assert passes == [3]  # all of it came from memory
    with pytest.raises(ImageError):
        warm.image(broken, LIMITS)
    warm.remember([], [], LIMITS)
