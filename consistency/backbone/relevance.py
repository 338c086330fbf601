"""Which patches of an image its cosine with a text comes from: attention times gradient in the image tower."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import PreTrainedModel

from consistency.backbone.faster import has_gradients, untrimmed
from consistency.backbone.model import Backbone, Embedder, load_backbone
from consistency.errors import BackboneError

Grid = npt.NDArray[np.float64]


def with_gradients(backbone: Embedder) -> Backbone:
    """`backbone` itself if gradients pass through it in fp32; otherwise the same model, loaded a second time.

    Raises
    ------
    BackboneError
        If it is no model of transformers, and so gives no attention weights.
    """
    if not (isinstance(backbone, Backbone) and isinstance(backbone.model, PreTrainedModel)):
        raise _no_attention(backbone)
    if backbone.precision == "fp32" and has_gradients(backbone.model):
        return backbone
    return load_backbone(backbone.resolved, device=backbone.device, precision="fp32", decode=backbone.decode)


def patch_grid(backbone: Embedder) -> tuple[int, int] | None:
    """Rows and columns of patches into which the image tower divides an image; None if its configuration has none."""
    vision = getattr(getattr(backbone.model, "config", None), "vision_config", None)
    image, patch = getattr(vision, "image_size", None), getattr(vision, "patch_size", None)
    if image is None or patch is None:
        return None
    rows, columns = np.broadcast_to(image, 2) // np.broadcast_to(patch, 2)
    return int(rows), int(columns)


def relevance(backbone: Backbone, prepared: npt.NDArray[Any], text: npt.NDArray[np.float32]) -> Grid:
    """How much the attention to each patch raises the cosine of an image and a text.

    For every layer, the attention weights are multiplied by the gradient of the cosine with respect to them; positive
    products are averaged over the heads. What the class token takes from each patch is summed over the layers. A tower
    without a class token (SigLIP) has no such row: there the columns are summed, over all patches that attend.

    Parameters
    ----------
    backbone : Backbone
        From `with_gradients`. Not safe for several threads at once: the image tower is changed while this runs.
    prepared : (h, w, 3) uint8 or (3, h, w) float32
        The image, from `Backbone.prepare`.
    text : (d,) float32
        Embedding of unit norm.

    Returns
    -------
    (rows, columns) float64
        One number from 0 for each patch; it has no unit and compares the patches of this image only.

    Raises
    ------
    BackboneError
        If the architecture gives no attention weights between patches.

    References
    ----------
    Chefer, Gur and Wolf, "Generic Attention-model Explainability for Interpreting Bi-Modal and Encoder-Decoder
    Transformers", arXiv:2103.15679, equation 5, without propagation between layers.
    """
    model, shape = backbone.model, patch_grid(backbone)
    tower = getattr(model, "vision_model", None)
    if shape is None or not isinstance(tower, PreTrainedModel):
        raise _no_attention(backbone)
    with torch.enable_grad(), _attention_weights(model, tower):
        output = model.get_image_features(pixel_values=backbone.pixels(prepared[None]), output_attentions=True)
        layers = tuple(output.attentions or ())
        n = shape[0] * shape[1]
        if not layers or any(layer.shape[-2:] not in ((n, n), (n + 1, n + 1)) for layer in layers):
            raise _no_attention(backbone)
        image = output.pooler_output.float()
        cosine = (image / image.norm(dim=-1, keepdim=True)) @ torch.from_numpy(text).to(image)
        gradients = torch.autograd.grad(cosine.sum(), layers)
    total = torch.zeros(n, dtype=torch.float64)
    for weights, gradient in zip(layers, gradients, strict=True):
        products = (weights.detach() * gradient).clamp(min=0)[0].double().mean(dim=0).cpu()
        total += products[0, 1:] if len(products) > n else products.sum(dim=0)
    return total.reshape(shape).numpy()


def _no_attention(backbone: Embedder) -> BackboneError:
    return BackboneError(
        f"the image tower of {backbone.resolved.name} gives no attention weights between patches, expected those of a "
        "vision transformer: use --method occlusion"
    )


@contextmanager
def _attention_weights(model: PreTrainedModel, tower: PreTrainedModel) -> Iterator[None]:
    """Let every layer compute its attention weights, which the fused kernels do not return."""
    before = tower.config._attn_implementation
    with untrimmed(model):
        tower.set_attn_implementation("eager")
        try:
            yield
        finally:
            tower.set_attn_implementation(before)
