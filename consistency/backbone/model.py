"""The backbone: a loaded dual encoder that embeds images and hashtags in one space."""

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

CPU_ACTIVATIONS = 8 << 20  # bytes per thread that a batch may take in the widest layer


def load_backbone(
    resolved: ResolvedBackbone,
    *,
    device: str = "auto",
    precision: str = "auto",
    decode: str = "ours",
    trainable: bool = True,
) -> "Backbone":
    """Load a model with its tokenizer and preprocessing.

    Parameters
    ----------
    resolved : ResolvedBackbone
        The files to load.
    device : str
        "auto", "cpu", "cuda" or "mps".
    precision : str
        "auto", "fp32", "bf16" or "fp16"; see `resolve.choose_precision`.
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
    """A dual encoder whose embeddings equal transformers' `image_embeds` and `text_embeds`, with unit norm.

    Attributes
    ----------
    resolved : ResolvedBackbone
        Where the model comes from.
    device, precision, decode : str
        As for `load_backbone`, without "auto".
    model : PreTrainedModel
        The transformers model in evaluation mode, on `device`, with weights of `precision`.
    tokenizer : PreTrainedTokenizer
        The model's tokenizer.
    spec : PreprocessSpec or None
        The preprocessing; None if the checkpoint needs transformers' own image processor.
    text_length : int
        Largest number of tokens per text, special tokens included.
    embed_dim : int
        Dimension d of the embeddings.
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
        # CLIP's text tower ignores what follows the end token. If it finds that token as the largest id, the padding
        # must not be the largest id.
        by_largest = text.model_type == "clip_text_model" and text.eos_token_id == 2
        self._padding = 0 if by_largest else self.tokenizer.pad_token_id or 0
        self._trimmed = self.model.config.model_type in TRIMMED
        # A tokenizer without an attention mask belongs to a model that attends to its padding.
        self._masked = self._trimmed or "attention_mask" in self.tokenizer.model_input_names
        if max(self.token_ids([""])[0]) >= text.vocab_size:
            raise BackboneError(f"{resolved.folder} has the tokenizer of another model: its ids exceed the vocabulary")
        self.embed_dim = self.encode_texts([""]).shape[1]

    @property
    def batch_sizes(self) -> tuple[int, int]:
        """Batch sizes for images and for hashtags that keep the device busy."""
        if self.device.startswith("cuda"):
            return 256, 1024
        # On a CPU small batches are faster: activations stay in its caches and in memory that malloc reuses.
        vision, text = self.model.config.vision_config, self.model.config.text_config
        # Configurations give both sizes as one number, or as height and width.
        sides = np.broadcast_to(vision.image_size, 2) // np.broadcast_to(vision.patch_size, 2)
        patches, tokens = int(sides.prod()) + 1, 32  # small batches of hashtags need less padding
        room = CPU_ACTIVATIONS * torch.get_num_threads() // 4
        image_size = room // (vision.intermediate_size * patches)
        return min(64, max(2, image_size)), min(128, max(16, room // (text.intermediate_size * tokens)))

    def in_fp32(self) -> "Backbone":
        """Load the same model in fp32, to measure what a lower precision costs."""
        return load_backbone(self.resolved, device=self.device, precision="fp32", decode=self.decode, trainable=False)

    @property
    def fields(self) -> dict[str, str]:
        """The fingerprint fields of the embeddings; see `resolve.fingerprint_fields`."""
        return fingerprint_fields(self.resolved, decode=self.decode, precision=self.precision)

    def prepare(self, image: Image.Image) -> npt.NDArray[Any]:
        """Resize and crop a decoded RGB image; thread-safe.

        Returns
        -------
        (h, w, 3) uint8, or (3, h, w) float32 if `spec` is None
        """
        if self.spec:
            return self.spec.resize_crop(image)
        assert self._processor is not None
        pixels = self._processor(images=image, return_tensors="np")["pixel_values"][0]
        return np.asarray(pixels, dtype=np.float32)

    def pixels(self, batch: npt.NDArray[Any]) -> torch.Tensor:
        """Turn stacked results of `prepare` into the model's input, (n, 3, h, w) float32 on the device."""
        pixels = torch.from_numpy(np.ascontiguousarray(batch))
        on_gpu = self.device.startswith("cuda")
        # Pinned memory is copied asynchronously; bytes need a quarter of the bandwidth of fp32.
        pixels = pixels.pin_memory().to(self.device, non_blocking=True) if on_gpu else pixels.to(self.device)
        if self.spec is None:
            return pixels
        std = torch.tensor(self.spec.std, device=self.device)
        scale, shift = self.spec.rescale / std, torch.tensor(self.spec.mean, device=self.device) / std
        # Convolutions are fastest with contiguous planes on a CPU, and with channels last on tensor cores.
        layout = torch.channels_last if on_gpu else torch.contiguous_format
        planes = pixels.permute(0, 3, 1, 2).to(torch.float32, memory_format=layout)
        return planes.mul_(scale[:, None, None]).sub_(shift[:, None, None])

    def token_ids(self, texts: Iterable[str]) -> list[list[int]]:
        """Tokenize texts, with special tokens, truncated to `text_length` and not padded."""
        texts = list(texts)
        if not texts:
            return []
        return self.tokenizer(texts, truncation=True, max_length=self.text_length)["input_ids"]

    def truncated(self, texts: Iterable[str]) -> list[str]:
        """The texts that have more tokens than `text_length`, in their order."""
        texts = list(texts)
        if not texts:
            return []
        ids = self.tokenizer(texts, truncation=False, verbose=False)["input_ids"]
        return [text for text, tokens in zip(texts, ids, strict=True) if len(tokens) > self.text_length]

    def text_batch(self, ids: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Pad token ids to the longest of the batch if that is exact (`model_folder.TRIMMED`), else to `text_length`.

        Returns
        -------
        ids, mask : (m, length) int64
            Token ids and attention mask, on the device.
        """
        length = max(map(len, ids)) if self._trimmed else self.text_length
        tokens = torch.full((len(ids), length), self._padding)
        mask = torch.full_like(tokens, 0 if self._masked else 1)
        for row, text in enumerate(ids):
            tokens[row, : len(text)] = torch.tensor(text)
            mask[row, : len(text)] = 1
        return tokens.to(self.device), mask.to(self.device)

    def image_embeds(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Embed images with gradients: (n, 3, h, w) from `pixels` to (n, d) float32 of unit norm."""
        return _unit(self.model.get_image_features(pixel_values=pixel_values).pooler_output)

    def text_embeds(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Embed texts with gradients: ids and mask from `text_batch` to (m, d) float32 of unit norm."""
        output = self.model.get_text_features(input_ids=input_ids, attention_mask=attention_mask)
        return _unit(output.pooler_output)

    @torch.inference_mode()
    def encode_images(self, batch: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Embed stacked results of `prepare`: (n, d) float32 of unit norm."""
        return self.image_embeds(self.pixels(batch)).cpu().numpy()

    @torch.inference_mode()
    def encode_texts(self, texts: Iterable[str]) -> npt.NDArray[np.float32]:
        """Embed m texts: (m, d) float32 of unit norm."""
        return self.text_embeds(*self.text_batch(self.token_ids(texts))).cpu().numpy()


def _positions(model: torch.nn.Module) -> int:
    """Number of positions of the text tower; RoBERTa's start after the index of the padding token."""
    text_model: Any = model.text_model
    skipped = [
        table.padding_idx + 1
        for name, table in text_model.named_modules()
        if name.endswith("position_embeddings") and getattr(table, "padding_idx", None) is not None
    ]
    return int(text_model.config.max_position_embeddings) - sum(skipped)


def _unit(embeddings: torch.Tensor) -> torch.Tensor:
    # Always normalised in fp32: in half precision norms would be off by 1e-3.
    embeddings = embeddings.float()
    return embeddings / embeddings.norm(dim=-1, keepdim=True)
