"""Backbone: a loaded dual encoder that turns images and hashtags into unit vectors of one space."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from consistency.backbone.faster import fold_quick_gelu, pack_linear, trim_last_layer, trim_text_tower
from consistency.backbone.loading import load_image_processor, load_model, load_tokenizer
from consistency.backbone.model_folder import TRIMMED, processor_config
from consistency.backbone.preprocess import PreprocessSpec
from consistency.backbone.resolve import ResolvedBackbone, choose_device, choose_precision, fingerprint_fields
from consistency.errors import BackboneError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

CPU_ACTIVATIONS = 8 << 20  # bytes per thread that a batch takes in the widest layer


def load_backbone(
    resolved: ResolvedBackbone,
    *,
    device: str = "auto",
    precision: str = "auto",
    decode: str = "ours",
    trainable: bool = True,
) -> "Backbone":
    """Load the model, its tokenizer and its preprocessing. Raises BackboneError for files that are not usable.

    A model that is not `trainable` is put into another form, in which it encodes quicker.
    """
    device = choose_device(device)
    precision = choose_precision(precision, device)
    if precision == "fp32":
        torch.backends.cudnn.allow_tf32 = False  # by default convolutions on CUDA keep 10 bits of fp32's 23
    backbone = Backbone(resolved, device, precision, decode)
    if not trainable:
        trim_text_tower(backbone.model)
        if device == "cpu" and precision == "fp32":
            fold_quick_gelu(backbone.model)
            pack_linear(backbone.model)
    return backbone


class Backbone:
    """Images and hashtags to unit vectors, as transformers computes `image_embeds` and `text_embeds`.

    model: the transformers model, in evaluation mode, on `device` with weights of `precision`. embed_dim: d.
    spec: the preprocessing, or None where the checkpoint's goes through transformers' own processor.
    text_length: tokens a text may have, its special tokens included.
    """

    def __init__(self, resolved: ResolvedBackbone, device: str, precision: str, decode: str) -> None:
        self.resolved, self.device, self.precision, self.decode = resolved, device, precision, decode
        self.model = load_model(resolved, DTYPES[precision]).to(device)
        trim_last_layer(self.model)
        self.tokenizer = load_tokenizer(resolved)
        self.spec = PreprocessSpec.from_config(processor_config(resolved.folder))
        self._processor = None if self.spec else load_image_processor(resolved)
        self.text_length = min(self.tokenizer.model_max_length, _positions(self.model))
        text = self.model.config.text_config
        # CLIP's tower reads nothing behind the end; but where it finds that by the largest id, padding must be none.
        by_largest = text.model_type == "clip_text_model" and text.eos_token_id == 2
        self._padding = 0 if by_largest else self.tokenizer.pad_token_id or 0
        self._trimmed = self.model.config.model_type in TRIMMED
        # A tokenizer that gives no mask belongs to a model that attends to its padding.
        self._masked = self._trimmed or "attention_mask" in self.tokenizer.model_input_names
        if max(self.token_ids([""])[0]) >= text.vocab_size:
            raise BackboneError(f"{resolved.folder} holds another model's tokenizer: its ids go beyond the vocabulary")
        self.embed_dim = self.encode_texts([""]).shape[1]

    @property
    def batch_sizes(self) -> tuple[int, int]:
        """Images and hashtags in a batch that keep the device busy."""
        if self.device.startswith("cuda"):
            return 256, 1024
        # On a CPU small batches are quicker: activations stay in its caches, and in memory that malloc keeps.
        vision, text = self.model.config.vision_config, self.model.config.text_config
        # Of both sizes, configurations give one number, or one of each side.
        sides = np.broadcast_to(vision.image_size, 2) // np.broadcast_to(vision.patch_size, 2)
        patches, tokens = int(sides.prod()) + 1, 32  # hashtags in small batches pad less
        room = CPU_ACTIVATIONS * torch.get_num_threads() // 4
        image_size = room // (vision.intermediate_size * patches)
        return min(64, max(2, image_size)), min(128, max(16, room // (text.intermediate_size * tokens)))

    def in_fp32(self) -> "Backbone":
        """The same model loaded once more, to measure what a lower precision costs."""
        return load_backbone(self.resolved, device=self.device, precision="fp32", decode=self.decode, trainable=False)

    @property
    def fields(self) -> dict[str, str]:
        """All that decides the vectors, as `fingerprint_fields` gives it."""
        return fingerprint_fields(self.resolved, decode=self.decode, precision=self.precision)

    def prepare(self, image: Image.Image) -> npt.NDArray[Any]:
        """One decoded RGB image as (h, w, 3) uint8, or (3, h, w) float32 where `spec` is None; thread-safe."""
        if self.spec:
            return self.spec.resize_crop(image)
        assert self._processor is not None
        pixels = self._processor(images=image, return_tensors="np")["pixel_values"][0]
        return np.asarray(pixels, dtype=np.float32)

    def pixels(self, batch: npt.NDArray[Any]) -> torch.Tensor:
        """Stacked results of `prepare` as the model's input, (n, 3, h, w) float32 on the device."""
        pixels = torch.from_numpy(np.ascontiguousarray(batch))
        on_gpu = self.device.startswith("cuda")
        # From pinned memory the copy waits for nobody; bytes, so that a quarter of fp32 crosses the bus.
        pixels = pixels.pin_memory().to(self.device, non_blocking=True) if on_gpu else pixels.to(self.device)
        if self.spec is None:
            return pixels
        std = torch.tensor(self.spec.std, device=self.device)
        scale, shift = self.spec.rescale / std, torch.tensor(self.spec.mean, device=self.device) / std
        # A CPU's first convolution wants contiguous planes, a GPU's tensor cores channels last.
        layout = torch.channels_last if on_gpu else torch.contiguous_format
        planes = pixels.permute(0, 3, 1, 2).to(torch.float32, memory_format=layout)
        return planes.mul_(scale[:, None, None]).sub_(shift[:, None, None])

    def token_ids(self, texts: Iterable[str]) -> list[list[int]]:
        """Token ids of every text with its special tokens, cut to `text_length`; not padded."""
        texts = list(texts)
        if not texts:
            return []
        return self.tokenizer(texts, truncation=True, max_length=self.text_length)["input_ids"]

    def truncated(self, texts: Iterable[str]) -> list[str]:
        """Those of the texts that have more tokens than `text_length`, in their order."""
        texts = list(texts)
        if not texts:
            return []
        ids = self.tokenizer(texts, truncation=False, verbose=False)["input_ids"]
        return [text for text, tokens in zip(texts, ids, strict=True) if len(tokens) > self.text_length]

    def text_batch(self, ids: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """(m, length) int64 token ids and attention mask on the device.

        Padded to the longest of `ids` where that is exact (see `model_folder.TRIMMED`), else to `text_length`.
        """
        length = max(map(len, ids)) if self._trimmed else self.text_length
        tokens = torch.full((len(ids), length), self._padding)
        mask = torch.full_like(tokens, 0 if self._masked else 1)
        for row, text in enumerate(ids):
            tokens[row, : len(text)] = torch.tensor(text)
            mask[row, : len(text)] = 1
        return tokens.to(self.device), mask.to(self.device)

    def image_embeds(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """(n, d) float32 of unit norm, differentiable; `pixel_values` as `pixels` gives them."""
        return _unit(self.model.get_image_features(pixel_values=pixel_values).pooler_output)

    def text_embeds(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """(m, d) float32 of unit norm, differentiable; arguments as `text_batch` gives them."""
        output = self.model.get_text_features(input_ids=input_ids, attention_mask=attention_mask)
        return _unit(output.pooler_output)

    @torch.inference_mode()
    def encode_images(self, batch: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """(n, d) float32 of unit norm for stacked results of `prepare`."""
        return self.image_embeds(self.pixels(batch)).cpu().numpy()

    @torch.inference_mode()
    def encode_texts(self, texts: Iterable[str]) -> npt.NDArray[np.float32]:
        """(m, d) float32 of unit norm."""
        return self.text_embeds(*self.text_batch(self.token_ids(texts))).cpu().numpy()


def _positions(model: torch.nn.Module) -> int:
    """How many tokens the text tower has places for: RoBERTa's begin behind that of the padding token."""
    text_model: Any = model.text_model
    skipped = [
        table.padding_idx + 1
        for name, table in text_model.named_modules()
        if name.endswith("position_embeddings") and getattr(table, "padding_idx", None) is not None
    ]
    return int(text_model.config.max_position_embeddings) - sum(skipped)


def _unit(embeddings: torch.Tensor) -> torch.Tensor:
    # Normalised in fp32 whatever the model computes in: half precision would leave norms off by 1e-3.
    embeddings = embeddings.float()
    return embeddings / embeddings.norm(dim=-1, keepdim=True)
