"""A dual encoder of transformers: CLIP and its relatives, SigLIP, and towers joined by VisionTextDualEncoder."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from consistency.backbone.base import DTYPES, Backbone, unit
from consistency.backbone.faster import fold_quick_gelu, pack_linear, trim_last_layer, trim_text_tower
from consistency.backbone.loading import load_image_processor, load_model, load_tokenizer
from consistency.backbone.model_folder import TRIMMED, processor_config
from consistency.backbone.preprocess import PreprocessSpec
from consistency.backbone.products import train_quickly
from consistency.backbone.resolve import ResolvedBackbone
from consistency.errors import BackboneError


class TransformersBackbone(Backbone):
    """A dual encoder whose embeddings equal transformers' `image_embeds` and `text_embeds`, with unit norm.

    Attributes
    ----------
    tokenizer : PreTrainedTokenizer
        The model's tokenizer.
    """

    def __init__(self, resolved: ResolvedBackbone, device: str, precision: str, decode: str) -> None:
        super().__init__(resolved, device, precision, decode)
        self.model = load_model(resolved, DTYPES[precision]).to(device)
        trim_last_layer(self.model)
        train_quickly(self.model)
        self.tokenizer = load_tokenizer(resolved)
        self.spec = PreprocessSpec.from_config(processor_config(resolved.folder), quick=decode == "fast")
        self._processor = None if self.spec else load_image_processor(resolved)
        self._flexible = self.model.config.model_type == "siglip2"  # NaFlex: any number of patches in any grid
        self.text_length = min(self.tokenizer.model_max_length, _positions(self.model))
        text = self.model.config.text_config
        # CLIP's text tower ignores what follows the end token. If it finds that token as the largest id, the padding
        # must not be the largest id.
        by_largest = text.model_type == "clip_text_model" and text.eos_token_id == 2
        self._padding = 0 if by_largest else self.tokenizer.pad_token_id or 0
        self._trimmed = self.model.config.model_type in TRIMMED
        # A tokenizer without an attention mask belongs to a model that attends to its padding.
        self._masked = self._trimmed or "attention_mask" in self.tokenizer.model_input_names
        self._left = not self._trimmed and self.tokenizer.padding_side == "left"
        if max(self.token_ids([""])[0]) >= text.vocab_size:
            raise BackboneError(f"{resolved.folder} has the tokenizer of another model: its ids exceed the vocabulary")
        self.embed_dim = self.encode_texts([""]).shape[1]

    def speed_up(self) -> None:
        trim_text_tower(self.model)
        fold_quick_gelu(self.model)
        if self.device == "cpu":
            pack_linear(self.model)

    def _shape(self) -> tuple[int, int, int]:
        vision, text = self.model.config.vision_config, self.model.config.text_config
        if self._flexible:
            patches = int(vision.num_patches)
        else:  # configurations give both sizes as one number, or as height and width
            sides = np.broadcast_to(vision.image_size, 2) // np.broadcast_to(vision.patch_size, 2)
            patches = int(sides.prod()) + 1
        return patches, vision.intermediate_size, text.intermediate_size

    def _prepare(self, image: Image.Image) -> npt.NDArray[np.float32]:
        """(3, h, w); for NaFlex (patches + 1, 3 * side * side), whose last row begins with the grid's sides."""
        assert self._processor is not None
        found = self._processor(images=image, return_tensors="np")
        pixels = np.asarray(found["pixel_values"][0], dtype=np.float32)
        if not self._flexible:
            return pixels
        grid = np.zeros((1, pixels.shape[1]), np.float32)
        grid[0, :2] = found["spatial_shapes"][0]
        return np.concatenate([pixels, grid])

    def token_ids(self, texts: Iterable[str]) -> list[list[int]]:
        texts = list(texts)
        if not texts:
            return []
        return self.tokenizer(texts, truncation=True, max_length=self.text_length)["input_ids"]

    def truncated(self, texts: Iterable[str]) -> list[str]:
        texts = list(texts)
        if not texts:
            return []
        ids = self.tokenizer(texts, truncation=False, verbose=False)["input_ids"]
        return [text for text, tokens in zip(texts, ids, strict=True) if len(tokens) > self.text_length]

    def text_batch(self, ids: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Pad to the longest of the batch if that is exact (`model_folder.TRIMMED`), else to `text_length`."""
        length = max(map(len, ids)) if self._trimmed else self.text_length
        tokens = torch.full((len(ids), length), self._padding)
        mask = torch.full_like(tokens, 0 if self._masked else 1)
        for row, text in enumerate(ids):
            place = slice(length - len(text), length) if self._left else slice(len(text))
            tokens[row, place] = torch.tensor(text)
            mask[row, place] = 1
        return tokens.to(self.device), mask.to(self.device)

    def image_embeds(self, pixel_values: torch.Tensor) -> torch.Tensor:
        more = {}
        if self._flexible:
            grids, pixel_values = pixel_values[:, -1, :2].long(), pixel_values[:, :-1]
            places = torch.arange(pixel_values.shape[1], device=pixel_values.device)
            more = {"spatial_shapes": grids, "pixel_attention_mask": (places < grids.prod(dim=1)[:, None]).int()}
        return unit(self.model.get_image_features(pixel_values=pixel_values, **more).pooler_output)

    def text_embeds(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        output = self.model.get_text_features(input_ids=input_ids, attention_mask=attention_mask)
        return unit(output.pooler_output)


def _positions(model: torch.nn.Module) -> int:
    """Number of positions of the text tower; RoBERTa's start after the index of the padding token."""
    text_model: Any = model.text_model
    skipped = [
        table.padding_idx + 1
        for name, table in text_model.named_modules()
        if name.endswith("position_embeddings") and getattr(table, "padding_idx", None) is not None
    ]
    return int(text_model.config.max_position_embeddings) - sum(skipped)
