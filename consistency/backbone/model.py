"""Loads a backbone with the library that it belongs to."""

from typing import Any

from consistency.backbone.base import Backbone as Backbone
from consistency.backbone.base import Embedder as Embedder
from consistency.backbone.device import choose_device, choose_precision
from consistency.backbone.resolve import ResolvedBackbone
from consistency.backbone.transformers_model import TransformersBackbone
from consistency.errors import BackboneError


def load_backbone(
    resolved: ResolvedBackbone,
    *,
    device: str = "auto",
    precision: str = "auto",
    decode: str = "ours",
    trainable: bool = True,
) -> Backbone:
    """Load a model with its tokenizer and preprocessing.

    Parameters
    ----------
    resolved : ResolvedBackbone
        The files to load.
    device : str
        "auto", "cpu", "cuda" or "mps".
    precision : str
        "auto", "fp32", "bf16" or "fp16"; see `device.choose_precision`.
    decode : {"ours", "fast", "published"}
        How images are decoded; recorded in the fingerprint.
    trainable : bool
        Whether the model may be trained. Otherwise it is rewritten to encode faster (see `faster`).

    Returns
    -------
    Backbone

    Raises
    ------
    BackboneError
        If the files cannot be used, or the device or precision is not available.
    """
    device = choose_device(device)
    precision = choose_precision(precision, device)
    if trainable and resolved.fixed:
        raise BackboneError(f"{resolved.name} is {resolved.fixed}, which cannot be fine-tuned here; use heads")
    assert not resolved.members, "load_embedder loads several backbones as one"
    backbone = _load(resolved, device, precision, decode)
    if not trainable:
        backbone.speed_up()
    return backbone


def load_embedder(
    resolved: ResolvedBackbone, *, device: str = "auto", precision: str = "auto", decode: str = "ours"
) -> Embedder:
    """Load a model, or several as one, rewritten to encode faster; arguments and errors are as for `load_backbone`."""
    how: dict[str, Any] = {"device": device, "precision": precision, "decode": decode, "trainable": False}
    if resolved.members:
        from consistency.backbone.joined_model import JoinedBackbone

        return JoinedBackbone(resolved, [load_backbone(member, **how) for member in resolved.members])
    return load_backbone(resolved, **how)


def _load(resolved: ResolvedBackbone, device: str, precision: str, decode: str) -> Backbone:
    if resolved.texts is not None:
        from consistency.backbone.paired_model import PairedBackbone

        images = _load_one(resolved, device, precision, decode)
        return PairedBackbone(images, _load_one(resolved.texts, device, precision, decode))
    return _load_one(resolved, device, precision, decode)


def _load_one(resolved: ResolvedBackbone, device: str, precision: str, decode: str) -> Backbone:
    if resolved.library == "open_clip":
        from consistency.backbone.open_clip_model import OpenClipBackbone  # its packages are optional

        return OpenClipBackbone(resolved, device, precision, decode)
    if resolved.library == "sentence-transformers":
        from consistency.backbone.sentence_model import SentenceTransformersBackbone

        return SentenceTransformersBackbone(resolved, device, precision, decode)
    return TransformersBackbone(resolved, device, precision, decode)
