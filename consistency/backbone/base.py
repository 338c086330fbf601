"""What every backbone offers: images and hashtags embedded in one space."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from consistency.backbone.preprocess import PreprocessSpec
from consistency.backbone.resolve import ResolvedBackbone, fingerprint_fields

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

CPU_ACTIVATIONS = 8 << 20  # bytes per thread that a batch may take in the widest layer


class Embedder(ABC):
    """One or several loaded models that embed images and hashtags.

    The embeddings equal those of the libraries that load the models, with unit norm.

    Attributes
    ----------
    resolved : ResolvedBackbone
        Where the model comes from.
    device, precision, decode : str
        As for `load_backbone`, without "auto".
    model : nn.Module
        The model in evaluation mode, on `device`, with weights of `precision`.
    spec : PreprocessSpec or None
        The preprocessing; None if images need the library's own.
    text_length : int
        Largest number of tokens per text, special tokens included.
    embed_dim : int
        Dimension d of the embeddings.
    """

    model: Any
    spec: PreprocessSpec | None = None
    text_length: int
    embed_dim: int

    def __init__(self, resolved: ResolvedBackbone, device: str, precision: str, decode: str) -> None:
        self.resolved, self.device, self.precision, self.decode = resolved, device, precision, decode
        if precision == "fp32":
            torch.backends.cudnn.allow_tf32 = False  # by default convolutions on CUDA keep 10 bits of fp32's 23

    def speed_up(self) -> None:
        """Rewrite a model that is not trained to encode faster (see `faster`); by default it stays as it is."""
        return

    @abstractmethod
    def in_fp32(self) -> "Embedder":
        """Load the same in fp32, to measure what a lower precision costs."""

    @property
    def fields(self) -> dict[str, str]:
        """The fingerprint fields of the embeddings; see `resolve.fingerprint_fields`."""
        return fingerprint_fields(self.resolved, decode=self.decode, precision=self.precision)

    @property
    def batch_sizes(self) -> tuple[int, int]:
        """Batch sizes for images and for hashtags that keep the device busy."""
        if self.device.startswith("cuda"):
            return 256, 1024
        # On a CPU small batches are faster: activations stay in its caches and in memory that malloc reuses.
        patches, image_width, text_width = self._shape()
        tokens = 32  # small batches of hashtags need less padding
        room = CPU_ACTIVATIONS * torch.get_num_threads() // 4
        return min(64, max(2, room // (image_width * patches))), min(128, max(16, room // (text_width * tokens)))

    @abstractmethod
    def _shape(self) -> tuple[int, int, int]:
        """Patches of an image, and the widths of the widest layers of the image tower and of the text tower."""

    def prepare(self, image: Image.Image | npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        """Resize and crop a decoded RGB image, or its (h, w, 3) pixels; thread-safe.

        Returns
        -------
        (h, w, 3) uint8, or a float32 array that the library prepares if `spec` is None
        """
        if self.spec:
            return self.spec.resize_crop(image)
        return self._prepare(Image.fromarray(image) if isinstance(image, np.ndarray) else image)

    @abstractmethod
    def _prepare(self, image: Image.Image) -> npt.NDArray[np.float32]:
        """Prepare an image with the library's own preprocessing, (3, h, w) unless the model is unusual."""

    @abstractmethod
    def token_ids(self, texts: Iterable[str]) -> list[list[int]]:
        """Tokenize texts, with special tokens, truncated to `text_length` and not padded."""

    @abstractmethod
    def truncated(self, texts: Iterable[str]) -> list[str]:
        """The texts that have more tokens than `text_length`, in their order."""

    @abstractmethod
    def encode_images(self, batch: Any) -> npt.NDArray[np.float32]:
        """Embed stacked results of `prepare`, an array or a tensor: (n, d) float32 of unit norm."""

    def launch_images(self, batch: Any) -> Callable[[], tuple[npt.NDArray[np.float32], float]]:
        """Begin to embed stacked results of `prepare`; on CUDA this returns before they are embedded.

        Returns
        -------
        callable
            Waits for the vectors, (n, d) float32 of unit norm, and gives them with the seconds that they took. A batch
            on the device must be held until then.
        """
        began = time.perf_counter()
        found = self.encode_images(batch), time.perf_counter() - began
        return lambda: found

    @abstractmethod
    def encode_texts(self, texts: Iterable[str]) -> npt.NDArray[np.float32]:
        """Embed m texts: (m, d) float32 of unit norm."""


class Backbone(Embedder):
    """A loaded dual encoder, through which gradients can pass."""

    def in_fp32(self) -> "Backbone":
        exact = type(self)(self.resolved, self.device, "fp32", self.decode)
        exact.speed_up()
        return exact

    def pixels(self, batch: Any) -> torch.Tensor:
        """Turn stacked results of `prepare`, an array or a tensor, into the model's input, (n, 3, h, w) float32."""
        pixels = batch if isinstance(batch, torch.Tensor) else torch.from_numpy(np.ascontiguousarray(batch))
        on_gpu = self.device.startswith("cuda")
        if on_gpu and not pixels.is_cuda:
            pixels = pixels.pin_memory()  # copied asynchronously; bytes need a quarter of the bandwidth of fp32
        pixels = pixels.to(self.device, non_blocking=on_gpu)
        if self.spec is None:
            return pixels
        std = _numbers(self.spec.std, self.device)
        scale, shift = self.spec.rescale / std, _numbers(self.spec.mean, self.device) / std
        # Convolutions are fastest with contiguous planes on a CPU, and with channels last on tensor cores.
        layout = torch.channels_last if on_gpu else torch.contiguous_format
        planes = pixels.permute(0, 3, 1, 2).to(torch.float32, memory_format=layout)
        return planes.mul_(scale[:, None, None]).sub_(shift[:, None, None])

    @abstractmethod
    def text_batch(self, ids: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Pad token ids as the model needs it.

        Returns
        -------
        ids, mask : (m, length) int64
            Token ids and attention mask, on the device.
        """

    @abstractmethod
    def image_embeds(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Embed images with gradients: the result of `pixels` to (n, d) float32 of unit norm."""

    @abstractmethod
    def text_embeds(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Embed texts with gradients: ids and mask from `text_batch` to (m, d) float32 of unit norm."""

    @torch.inference_mode()
    def encode_images(self, batch: Any) -> npt.NDArray[np.float32]:
        return self.image_embeds(self.pixels(batch)).cpu().numpy()

    @torch.inference_mode()
    def launch_images(self, batch: Any) -> Callable[[], tuple[npt.NDArray[np.float32], float]]:
        if not self.device.startswith("cuda"):
            return super().launch_images(batch)
        # `blocking` makes the wait for an event sleep; otherwise it would occupy a core that decodes.
        start, end = (torch.cuda.Event(enable_timing=True, blocking=True) for _ in range(2))
        start.record()
        embeds = self.image_embeds(self.pixels(batch))
        vectors = torch.empty(embeds.shape, dtype=embeds.dtype, pin_memory=True).copy_(embeds, non_blocking=True)
        end.record()

        def collect() -> tuple[npt.NDArray[np.float32], float]:
            end.synchronize()
            return vectors.numpy(), start.elapsed_time(end) / 1000

        return collect

    @torch.inference_mode()
    def encode_texts(self, texts: Iterable[str]) -> npt.NDArray[np.float32]:
        return self.text_embeds(*self.text_batch(self.token_ids(texts))).cpu().numpy()


@lru_cache(maxsize=16)
def _numbers(numbers: tuple[float, ...], device: str) -> torch.Tensor:
    """A float32 tensor that is copied to the device once: each copy would wait for all that the device has to do."""
    with torch.inference_mode(False):
        return torch.tensor(numbers, device=device)


def unit(embeddings: torch.Tensor) -> torch.Tensor:
    """Normalise (n, d) embeddings to unit norm, always in fp32: in half precision norms would be off by 1e-3."""
    embeddings = embeddings.float()
    return embeddings / embeddings.norm(dim=-1, keepdim=True)
