"""Attention times gradient against the same model computed layer by layer, and for every architecture."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from transformers import AutoModel

from consistency.backbone.model import Backbone, load_backbone
from consistency.backbone.relevance import patch_grid, relevance, with_gradients
from consistency.backbone.resolve import resolve_backbone
from consistency.errors import BackboneError
from tests.builders.models import KINDS, Tower, make_clip_folder

NAFLEX = "siglip 2, naflex"  # its images have no fixed grid of patches
Folders = Callable[[str], Path]


def loaded(folder: Path, *, trainable: bool = False) -> Backbone:
    return load_backbone(resolve_backbone(str(folder)), device="cpu", precision="fp32", trainable=trainable)


def prepared(backbone: Backbone, photo: Image.Image) -> np.ndarray:
    return np.array(backbone.prepare(photo))


def layer_by_layer(folder: Path, pixels: Tensor, text: np.ndarray) -> np.ndarray:
    """The map (patches,) from attention matrices that are formed here, one head at a time."""
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    tower = model.vision_model
    tokens = tower.embeddings(pixels)
    tokens = tower.pre_layrnorm(tokens) if hasattr(tower, "pre_layrnorm") else tokens
    weights: list[list[Tensor]] = []
    for layer in tower.encoder.layers:
        normed, attention = layer.layer_norm1(tokens), layer.self_attn
        q, k, v = (project(normed)[0] for project in (attention.q_proj, attention.k_proj, attention.v_proj))
        mixed = []
        weights.append([])
        for head in range(attention.num_heads):
            own = slice(head * attention.head_dim, (head + 1) * attention.head_dim)
            shares = torch.softmax(q[:, own] @ k[:, own].T / attention.head_dim**0.5, dim=1)
            weights[-1].append(shares)
            mixed.append(shares @ v[:, own])
        tokens = tokens + attention.out_proj(torch.cat(mixed, dim=1))[None]
        tokens = tokens + layer.mlp(layer.layer_norm2(tokens))
    if hasattr(tower, "head"):
        image = tower.head(tower.post_layernorm(tokens))[0]
    else:
        image = model.visual_projection(tower.post_layernorm(tokens[:, 0]))[0]
    cosine, each = image @ torch.tensor(text) / image.norm(), [shares for layer in weights for shares in layer]
    found = np.zeros(each[0].shape[1] - hasattr(tower, "pre_layrnorm"))
    for shares, gradient in zip(each, torch.autograd.grad(cosine, each), strict=True):
        product = np.maximum((shares * gradient).detach().numpy(), 0) / len(weights[0])
        found += product[0, 1:] if hasattr(tower, "pre_layrnorm") else product.sum(axis=0)
    return found


@pytest.mark.parametrize("kind", ["clip", "clip, oblong", "siglip"])
def test_the_map_is_that_of_plain_layers(folders: Folders, photos: list[Image.Image], kind: str) -> None:
    backbone = loaded(folders(kind))
    text = backbone.encode_texts(["#바다"])[0]
    pixels = prepared(backbone, photos[0])
    plain = with_gradients(backbone)
    assert plain is not backbone  # its layers are packed
    found = relevance(plain, pixels, text)
    expected = layer_by_layer(folders(kind), plain.pixels(pixels[None]), text)
    assert found.shape == patch_grid(backbone) == (2, 2)
    assert expected.max() > 1e-4
    np.testing.assert_allclose(found.ravel(), expected, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != NAFLEX])
def test_every_architecture_has_a_map_and_is_left_as_it_was(
    folders: Folders, photos: list[Image.Image], kind: str
) -> None:
    backbone = loaded(folders(kind), trainable=True)
    pixels = prepared(backbone, photos[1])
    first, second = backbone.encode_texts(["#바다", "고양이"])
    before = backbone.encode_images(pixels[None])
    found = relevance(backbone, pixels, first)
    np.testing.assert_array_equal(backbone.encode_images(pixels[None]), before)
    np.testing.assert_array_equal(relevance(backbone, pixels, first), found)
    assert found.shape == (2, 2)
    assert (found >= 0).all()
    assert found.any()
    assert not np.allclose(found, relevance(backbone, pixels, second))


def test_a_model_through_which_gradients_pass_is_not_loaded_again(made: Path) -> None:
    backbone = loaded(made, trainable=True)
    assert with_gradients(backbone) is backbone


def test_an_architecture_without_patches_is_refused(
    tmp_path: Path, folders: Folders, photos: list[Image.Image]
) -> None:
    flexible = loaded(folders(NAFLEX), trainable=True)
    assert patch_grid(flexible) is None
    with pytest.raises(BackboneError, match="gives no attention weights between patches"):
        relevance(flexible, prepared(flexible, photos[0]), flexible.encode_texts(["바다"])[0])
    folder = make_clip_folder(tmp_path / "model", vision=Tower(16, 1, 2), text=Tower(16, 1, 2))
    backbone = loaded(folder, trainable=True)
    text = backbone.encode_texts(["바다"])[0]
    backbone.model.config.vision_config.patch_size = 8  # four times the patches that the model has
    with pytest.raises(BackboneError, match="gives no attention weights between patches.*use --method occlusion"):
        relevance(backbone, prepared(backbone, photos[0]), text)
    del backbone.model.vision_model
    with pytest.raises(BackboneError, match="gives no attention weights"):
        relevance(backbone, prepared(backbone, photos[0]), text)
