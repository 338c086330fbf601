"""Preprocessing equals transformers' own processor on Pillow, or is left to it."""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_sample_images
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from consistency.backbone.model import Backbone, load_backbone
from consistency.backbone.preprocess import PreprocessSpec, squash
from consistency.backbone.resolve import resolve_backbone

CHINA, FLOWER = (Image.fromarray(array) for array in load_sample_images().images)
CLIP = CLIPImageProcessorPil().to_dict()
SIGLIP = SiglipImageProcessorPil().to_dict()
# As the published checkpoints say it, from before transformers had image processors.
OLD_CLIP = {
    "crop_size": 224,
    "do_center_crop": True,
    "do_normalize": True,
    "do_resize": True,
    "feature_extractor_type": "CLIPFeatureExtractor",
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "resample": 3,
    "size": 224,
}
SQUARE = {"height": 224, "width": 224}


def theirs(config: dict[str, Any], picture: Image.Image) -> npt.NDArray[np.float32]:
    kind = SiglipImageProcessorPil if "Siglip" in str(config.get("image_processor_type")) else CLIPImageProcessorPil
    return kind(**config)(images=picture, return_tensors="np")["pixel_values"]


@cache
def tiny() -> Backbone:
    return load_backbone(resolve_backbone("tiny"), device="cpu")


def pixels(spec: PreprocessSpec, picture: Image.Image) -> npt.NDArray[np.float32]:
    """What a model of this preprocessing would see, (1, 3, h, w)."""
    tiny().spec = spec
    return tiny().pixels(np.stack([spec.resize_crop(picture)])).numpy()


def check(config: dict[str, Any], picture: Image.Image) -> None:
    spec = PreprocessSpec.from_config(config)
    assert spec is not None
    ours = spec.resize_crop(picture)
    assert (ours.shape, ours.dtype) == ((*spec.size, 3), np.uint8)
    normal = pixels(spec, picture)
    assert normal.dtype == np.float32
    assert normal.flags.c_contiguous
    np.testing.assert_allclose(normal, theirs(config, picture), atol=1e-5, rtol=1e-6)


@pytest.mark.parametrize("config", [CLIP, OLD_CLIP, SIGLIP], ids=["clip", "old clip", "siglip"])
@pytest.mark.parametrize(
    "size",
    [(640, 427), (427, 640), (224, 224), (224, 225), (225, 224), (1080, 1350), (500, 10), (9, 450), (1, 50)],
)  # fmt: skip
def test_photographs(config: dict[str, Any], size: tuple[int, int]) -> None:
    for photograph in (CHINA, FLOWER):
        check(config, photograph if photograph.size == size else photograph.resize(size))


sizes = st.integers(1, 500)


@settings(max_examples=60, deadline=None)
@given(sizes, sizes, st.sampled_from([CLIP, SIGLIP]), st.integers(0, 5), st.integers(1, 260), st.integers(1, 260))
def test_any_size(width: int, height: int, config: dict[str, Any], resample: int, one: int, other: int) -> None:
    """Noise: the hardest image to resample alike."""
    width, height = max(width, height // 50), max(height, width // 50)
    noise = np.random.default_rng(width * 1000 + height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    size: dict[str, Any] = {"size": {"height": one, "width": other}}
    if config is CLIP:
        size = {"size": max(one, other), "crop_size": {"height": one, "width": other}}
    check(config | size | {"resample": resample}, Image.fromarray(noise))


def whole_then_crop(spec: PreprocessSpec, picture: Image.Image) -> npt.NDArray[np.uint8]:
    """What `resize_crop` must give, without its shortcut."""
    assert spec.crop
    short, (width, height) = spec.resize[1], picture.size
    size = (short, int(short * height / width)) if width <= height else (int(short * width / height), short)
    left, top = (size[0] - spec.crop[1]) // 2, (size[1] - spec.crop[0]) // 2
    resized = picture.resize(size, Image.Resampling(spec.resample))
    return np.asarray(resized.crop((left, top, left + spec.crop[1], top + spec.crop[0])))


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 80), st.integers(1, 8), st.integers(1, 8), st.integers(0, 5), st.integers(1, 60), st.booleans())
def test_resampling_only_what_is_kept_changes_no_bit(
    cell: int, across: int, down: int, resample: int, short: int, noisy: bool
) -> None:
    """Images whose sides are small multiples of one length, so that the edges of the crop are often exact."""
    spec = PreprocessSpec.from_config(CLIP | {"size": short, "crop_size": short, "resample": resample})
    assert spec is not None
    size = (down * cell, across * cell, 3)
    noise = np.random.default_rng(cell).integers(0, 256, size, dtype=np.uint8)
    picture = Image.fromarray(noise) if noisy else CHINA.resize(size[1::-1])
    np.testing.assert_array_equal(spec.resize_crop(picture), whole_then_crop(spec, picture))


@pytest.mark.parametrize("size", [(1080, 1350), (1350, 1080), (1080, 1080), (1080, 1440), (1920, 1080), (540, 677)])
def test_cameras_sizes_lose_nothing_to_the_shortcut(size: tuple[int, int]) -> None:
    spec = PreprocessSpec.from_config(CLIP)
    assert spec is not None
    picture = FLOWER.resize(size)
    np.testing.assert_array_equal(spec.resize_crop(picture), whole_then_crop(spec, picture))


@settings(max_examples=40, deadline=None)
@given(sizes, sizes, st.sampled_from([CLIP, SIGLIP]), st.sampled_from([2, 3]))
def test_quick_is_close_for_any_size(width: int, height: int, config: dict[str, Any], resample: int) -> None:
    photograph = CHINA.resize((width, height))
    exact, quick = (PreprocessSpec.from_config({**config, "resample": resample}, quick=how) for how in (False, True))
    assert exact is not None
    assert quick is not None
    one, other = exact.resize_crop(photograph).astype(int), quick.resize_crop(photograph)
    assert (other.shape, other.dtype, other.flags.c_contiguous) == ((*exact.size, 3), np.uint8, True)
    gap = np.abs(one - other)  # of two roundings, whose order may differ, and with it what is cut at black and white
    assert gap.max() <= 20
    assert gap.mean() <= 0.5
    np.testing.assert_array_equal(quick.resize_crop(np.asarray(photograph)), other)


@pytest.mark.parametrize("size", [(1080, 1350), (640, 427), (1920, 1281)])
def test_quick_differs_in_few_values_of_a_photograph(size: tuple[int, int]) -> None:
    exact, quick = (PreprocessSpec.from_config(CLIP, quick=how) for how in (False, True))
    assert exact is not None
    assert quick is not None
    one, other = (spec.resize_crop(FLOWER.resize(size)) for spec in (exact, quick))
    assert 0 < (one != other).mean() < 0.01


def test_quick_leaves_other_filters_to_pillow() -> None:
    spec = PreprocessSpec.from_config({**CLIP, "resample": 1}, quick=True)
    assert spec is not None
    np.testing.assert_array_equal(spec.resize_crop(CHINA), replace(spec, quick=False).resize_crop(CHINA))


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"image_processor_type": "CLIPImageProcessorFast"},
        {"image_processor_type": "CLIPImageProcessorPil"},
        {"size": 224, "crop_size": 200},
        {"size": {"shortest_edge": 256}},
        {"size": {"shortest_edge": 225}, "crop_size": {"height": 224, "width": 100}},
        {"size": SQUARE},
        {"size": {"height": 100, "width": 160}, "crop_size": {"height": 99, "width": 120}},
        {"size": {"height": 100, "width": 160}, "do_center_crop": False},
        {"size": SQUARE, "do_center_crop": None},
        {"do_pad": None, "pad_size": None, "device": None},
        {"resample": 2},
        {"rescale_factor": 1 / 127.5, "image_mean": [1, 1, 1], "image_std": [1, 1, 1]},
        {"do_convert_rgb": False},
        {"do_pad": False},
        {"default_to_square": False, "data_format": "channels_first", "_valid_processor_keys": ["images"]},
        {"processor_class": "CLIPProcessor"},
    ],
)
def test_configurations_that_are_ours(change: dict[str, Any]) -> None:
    config = CLIP | change
    for picture in (CHINA, FLOWER.resize((31, 100))):
        check(config, picture)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"image_processor_type": "SiglipImageProcessorFast"},
        {"size": {"height": 90, "width": 130}},
        {"do_center_crop": True, "crop_size": {"height": 200, "width": 101}},
        {"size": 224, "do_center_crop": True, "crop_size": 200},
    ],
)
def test_siglip_configurations_that_are_ours(change: dict[str, Any]) -> None:
    check(SIGLIP | change, CHINA)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {key: value for key, value in CLIP.items() if key != "image_processor_type"},
        CLIP | {"image_processor_type": "ViTImageProcessor"},
        CLIP | {"size": {"shortest_edge": 200}},  # a crop of 224 is filled up with black
        CLIP | {"size": {"height": 300, "width": 200}},
        CLIP | {"size": {"shortest_edge": 224}, "crop_size": {"height": 100, "width": 225}},
        CLIP | {"size": {"shortest_edge": 224, "longest_edge": 300}},
        CLIP | {"size": {"longest_edge": 224}},
        CLIP | {"size": [224, 224]},
        CLIP | {"size": "224"},
        CLIP | {"size": None},
        CLIP | {"crop_size": None},
        CLIP | {"resample": None},
        CLIP | {"do_resize": None},
        CLIP | {"size": 0},
        CLIP | {"size": {"shortest_edge": 224.0}},
        CLIP | {"size": 224, "default_to_square": True},
        CLIP | {"crop_size": {"shortest_edge": 224}},
        CLIP | {"crop_size": {"height": 0, "width": 224}},
        CLIP | {"do_center_crop": False},  # every image another size
        CLIP | {"do_resize": False},
        CLIP | {"do_rescale": False},
        CLIP | {"do_normalize": False},
        CLIP | {"do_pad": True},
        CLIP | {"do_sharpen": False},
        CLIP | {"resample": 9},
        CLIP | {"resample": "bicubic"},
        CLIP | {"rescale_factor": "1/255"},
        CLIP | {"image_mean": 0.5},
        CLIP | {"image_std": [1.0]},
        CLIP | {"image_mean": ["a", "b", "c"]},
        SIGLIP | {"do_center_crop": True},  # to which size?
    ],
)
def test_anything_else_is_left_to_transformers(config: dict[str, Any]) -> None:
    assert PreprocessSpec.from_config(config) is None


values = st.none() | st.booleans() | st.integers(-1, 400) | st.sampled_from([0.5, 1 / 127.5, "", "224", [224, 224]])
dicts = st.dictionaries(st.sampled_from(["shortest_edge", "longest_edge", "height", "width"]), values)
keys = st.sampled_from([*CLIP, "do_pad", "pad_size", "default_to_square"])


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([CLIP, SIGLIP]), st.dictionaries(keys, values | dicts, max_size=3))
def test_what_is_accepted_equals_transformers(config: dict[str, Any], change: dict[str, Any]) -> None:
    """No configuration breaks `from_config`; where it gives a spec, transformers agrees, or refuses it."""
    config = config | change
    picture = CHINA.resize((60, 40))
    if PreprocessSpec.from_config(config) is not None:
        try:
            theirs(config, picture)
        except (ValueError, TypeError):  # over a crop size that nothing uses, for example
            return
        check(config, picture)


@pytest.mark.parametrize(
    ("config", "target"),
    [(CLIP | {"size": {"shortest_edge": 256}}, 256), (SIGLIP | {"size": {"height": 90, "width": 130}}, 130)],
)
def test_target_is_before_the_crop(config: dict[str, Any], target: int) -> None:
    spec = PreprocessSpec.from_config(config)
    assert spec is not None
    assert spec.target == target
    assert squash(spec).target == max(spec.size)


@pytest.mark.parametrize("config", [CLIP, OLD_CLIP, SIGLIP], ids=["clip", "old clip", "siglip"])
@pytest.mark.parametrize("size", [(640, 427), (100, 300), (224, 224), (3, 7)])
def test_squash_is_the_published_resize_before_the_processor(config: dict[str, Any], size: tuple[int, int]) -> None:
    spec = PreprocessSpec.from_config(config)
    assert spec is not None
    picture = CHINA.resize(size)
    ours = pixels(squash(spec), picture)
    published = picture.convert("RGB").resize((224, 224))
    np.testing.assert_allclose(ours, theirs(config, published), atol=1e-5, rtol=0)
    assert squash(squash(spec)) == squash(spec)
    assert squash(spec).size == spec.size
