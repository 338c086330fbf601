"""Loads the backbones of tests, and computes with transformers alone what their embeddings should be."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image

from consistency.backbone.base import Backbone
from consistency.backbone.model import load_backbone
from consistency.backbone.resolve import resolve_backbone
from consistency.backbone.transformers_model import TransformersBackbone

HASHTAGS = ["#바다여행", "맛스타그램", "#夜景", "カフェ", "#OOTD", "☕🌊❤️", "#여행 에세이 2024", "뷁"]
LONG = "#제주도한달살기브이로그" * 10


def load(folder: Path, **options: Any) -> TransformersBackbone:
    backbone = load_backbone(resolve_backbone(str(folder)), device="cpu", **options)
    assert isinstance(backbone, TransformersBackbone)
    return backbone


def encode(backbone: Backbone, photos: list[Image.Image]) -> np.ndarray:
    return backbone.encode_images(np.stack([backbone.prepare(photo) for photo in photos]))


def expected(folder: Path, photos: list[Image.Image], texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """image_embeds and text_embeds as transformers computes them, every text padded to the model's length."""
    length = None
    if "Gemma" in (folder / "tokenizer_config.json").read_text():  # SigLIP 2, trained on lower-cased text
        texts, length = [text.lower() for text in texts], 16
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    with torch.inference_mode():
        output = model(
            **tokenizer(texts, padding="max_length", truncation=True, max_length=length, return_tensors="pt"),
            **processor(images=photos, return_tensors="pt"),
        )
    return output.image_embeds.numpy(), output.text_embeds.numpy()
