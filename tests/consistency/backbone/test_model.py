"""A backbone is loaded on the device and in the precision that were asked for."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from tests.builders.backbones import HASHTAGS, encode, expected, load
from tests.builders.models import make_clip_folder


def test_half_precision_weights_are_computed_in_fp32_unless_asked(tmp_path: Path, photos: list[Image.Image]) -> None:
    folder = make_clip_folder(tmp_path / "half", dtype=torch.float16)
    exact, half = load(folder), load(folder, precision="bf16")
    assert {parameter.dtype for parameter in exact.model.parameters()} == {torch.float32}
    assert {parameter.dtype for parameter in half.model.parameters()} == {torch.bfloat16}
    images, texts = expected(folder, photos, HASHTAGS)
    np.testing.assert_allclose(encode(exact, photos), images, atol=1e-5)
    np.testing.assert_allclose(exact.encode_texts(HASHTAGS), texts, atol=1e-5)
    for ours, theirs in ((encode(half, photos), images), (half.encode_texts(HASHTAGS), texts)):
        assert ours.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-6)
        assert 0.99 < (ours * theirs).sum(axis=1).min() < 0.9999999
