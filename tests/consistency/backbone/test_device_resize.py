"""Images resized by torch have Pillow's own pixels, bit for bit."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from consistency.backbone import device_resize
from consistency.backbone.device_resize import FILTERS, DeviceResize
from consistency.backbone.preprocess import PreprocessSpec, Resize

BICUBIC, NEAREST, BOX = 3, 0, 4


def spec_of(resize: Resize, crop: tuple[int, int] | None, resample: int = BICUBIC) -> PreprocessSpec:
    return PreprocessSpec(resize, resample, crop, 1 / 255, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def differing(spec: PreprocessSpec, pixels: np.ndarray) -> int:
    """How many values differ from Pillow's."""
    ours, theirs = DeviceResize(spec, "cpu")(torch.from_numpy(pixels)).numpy(), spec.resize_crop(pixels)
    assert (ours.shape, ours.dtype) == (theirs.shape, np.uint8)
    return int((ours != theirs).sum())


sides = st.integers(1, 60)
specs = st.one_of(
    st.tuples(sides, sides).map(lambda two: spec_of(("shortest", max(two)), (max(two), min(two)))),
    st.tuples(sides, sides).map(lambda two: spec_of(two, None)),
    st.tuples(sides, sides).map(lambda two: spec_of((max(two) + 5, max(two)), (max(two), min(two)))),
)
sizes = st.tuples(st.integers(1, 400), st.integers(1, 12)) | st.tuples(st.integers(1, 200), st.integers(1, 200))


@settings(max_examples=100, deadline=None)
@given(
    spec=specs,
    resample=st.sampled_from(sorted(FILTERS)),
    size=sizes,
    turned=st.booleans(),
    same=st.booleans(),
    hard=st.booleans(),
    seed=st.integers(0, 99),
)
def test_pixels_are_those_of_pillow(
    spec: PreprocessSpec, resample: int, size: tuple[int, int], turned: bool, same: bool, hard: bool, seed: int
) -> None:
    """Of any size, flat or tall, larger or smaller, also where one pass changes nothing; `hard` is black and white."""
    height, width = size[::-1] if turned else size
    width = spec.size[1] if same else width
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    assert differing(replace(spec, resample=resample), values // 128 * 255 if hard else values) == 0


@pytest.mark.parametrize("shape", [(1350, 1080, 3), (1080, 1350, 3), (2000, 500, 3)])
def test_pixels_of_large_images_are_those_of_pillow(shape: tuple[int, int, int]) -> None:
    """With the horizontal pass first, and with the vertical one."""
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    assert differing(spec_of(("shortest", 224), (224, 224)), pixels) == 0


def test_sums_that_could_be_rounded_are_left_to_pillow() -> None:
    """2,000 pixels to 2 would sum 4,000 products, with a greatest possible sum of 2**27."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 2000, 3), np.uint8)
    assert differing(spec_of((2, 2), None), pixels) == 0


def test_other_preprocessing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    clip = spec_of(("shortest", 24), (24, 24))
    resize = DeviceResize.exact(clip, "cpu")
    assert resize is not None
    assert (resize.spec, resize.device) == (clip, "cpu")
    for other in (replace(clip, quick=True), replace(clip, resample=NEAREST), replace(clip, resample=BOX)):
        assert DeviceResize.exact(other, "cpu") is None
    # A Pillow that orders its passes by another rule is noticed.
    monkeypatch.setattr(device_resize, "VERTICAL_FIRST", not device_resize.VERTICAL_FIRST)
    assert DeviceResize.exact(clip, "cpu") is None
