"""Several backbones as one: their vectors side by side."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from consistency.backbone.model import load_backbone, load_embedder
from consistency.backbone.resolve import fingerprint_fields, is_here, resolve_backbone
from consistency.errors import BackboneError
from tests.builders.backbones import HASHTAGS, LONG, encode


def test_vectors_are_those_of_the_members_side_by_side(
    folders: Callable[[str], Path], photos: list[Image.Image]
) -> None:
    clip, siglip = folders("clip"), folders("siglip")
    name = f"{clip},{siglip}"
    joined = load_embedder(resolve_backbone(name), device="cpu")
    members = [load_backbone(resolve_backbone(str(each)), device="cpu", trainable=False) for each in (clip, siglip)]
    images, texts = encode(joined, photos), joined.encode_texts(HASHTAGS)
    assert images.shape == (3, joined.embed_dim)
    np.testing.assert_allclose(np.linalg.norm(images, axis=1), 1, atol=1e-6)
    cosines = [encode(member, photos) @ member.encode_texts(HASHTAGS).T for member in members]
    np.testing.assert_allclose(images @ texts.T, np.mean(cosines, axis=0), atol=1e-6)
    np.testing.assert_allclose(images[:, :32] * np.sqrt(2), encode(members[0], photos), atol=1e-6)
    long = [text for text in [LONG, "#바다"] if any(member.truncated([text]) for member in members)]
    assert joined.truncated([LONG, "#바다"]) == long
    assert min(joined.batch_sizes) >= 2
    np.testing.assert_allclose(joined.in_fp32().encode_texts(HASHTAGS), texts, atol=1e-5)


def test_each_member_decides_the_fingerprint_in_its_turn(folders: Callable[[str], Path]) -> None:
    clip, siglip = folders("clip"), folders("siglip")

    def fields(name: str) -> dict[str, str]:
        return fingerprint_fields(resolve_backbone(name), decode="ours", precision="fp32")

    both, turned = fields(f"{clip},{siglip}"), fields(f"{siglip},{clip}")
    assert both != turned
    assert both["processor"] == "CLIPImageProcessor | SiglipImageProcessor"
    assert both["revision"].split(",") == [fields(str(each))["revision"] for each in (clip, siglip)]
    assert (both["schema"], both["precision"]) == ("1", "fp32")
    assert is_here(f"{clip},tiny")


def test_names_that_are_not_several_backbones_are_refused(made: Path) -> None:
    for name in (f"{made},{made}", "tiny,", ",tiny"):
        with pytest.raises(BackboneError, match="does not name several different backbones"):
            resolve_backbone(name)
    with pytest.raises(BackboneError, match="is 2 backbones: write each revision as HF_ID@REVISION"):
        resolve_backbone(f"tiny,{made}", revision="main")
    with pytest.raises(BackboneError, match="is several backbones, which cannot be fine-tuned here; use heads"):
        load_backbone(resolve_backbone(f"tiny,{made}"), device="cpu")
