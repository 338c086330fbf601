"""A model of sentence-transformers: CLIP, students of its text tower, and models with a chat template."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from transformers import AutoImageProcessor
from transformers.utils import logging as transformers_logging

from consistency.backbone.base import DTYPES, Backbone, unit
from consistency.backbone.loading import check_finite
from consistency.backbone.quiet import quiet
from consistency.backbone.resolve import ResolvedBackbone
from consistency.backbone.sentence_folder import embeds_images, modules
from consistency.errors import BackboneError, is_out_of_memory, one_line

IN_BATCHES = {"pixel_values", "modality"}  # what images become if those of a batch can be stacked


class SentenceTransformersBackbone(Backbone):
    """A model whose embeddings equal those of sentence-transformers' `encode`, with unit norm.

    One that embeds texts alone is part of a `PairedBackbone`, and its image methods cannot be used.
    """

    def __init__(self, resolved: ResolvedBackbone, device: str, precision: str, decode: str) -> None:
        super().__init__(resolved, device, precision, decode)
        with _loading(resolved):
            from sentence_transformers import SentenceTransformer

            self.model = SentenceTransformer(
                str(resolved.folder),
                device=device,
                trust_remote_code=False,
                local_files_only=True,
            )
            self.model.to(DTYPES[precision]).eval()
            if embeds_images(resolved.folder):  # with Pillow: embeddings must not depend on torchvision
                reader = modules(resolved.folder)[0][1]
                self.model[0].processor.image_processor = AutoImageProcessor.from_pretrained(reader, backend="pil")
        check_finite(self.model, resolved.weights[0])
        self._prompt = self.model.prompts.get(self.model.default_prompt_name) or None
        example = self._features("a")
        self._told = {name: value for name, value in example.items() if not isinstance(value, torch.Tensor)}
        self._masked = "attention_mask" in example
        self._padding, self._left = self.model.tokenizer.pad_token_id or 0, self.model.tokenizer.padding_side == "left"
        self.text_length = int(self.model.max_seq_length or 512)
        self.embed_dim = self.encode_texts(["a"]).shape[1]

    def _shape(self) -> tuple[int, int, int]:
        widest = max(layer.out_features for layer in self.model.modules() if isinstance(layer, torch.nn.Linear))
        return 257, widest, widest

    def _prepare(self, image: Image.Image) -> npt.NDArray[Any]:
        """(3, h, w) float32; or one object with all inputs of the image, if those of several images do not stack."""
        with quiet("sentence_transformers"):
            features = self.model.preprocess([{"image": image}], prompt=self._prompt)
        if set(features) == IN_BATCHES:
            return features["pixel_values"][0].numpy()
        prepared = np.empty((), object)
        prepared[()] = features
        return prepared

    def pixels(self, batch: npt.NDArray[Any]) -> Any:
        """As `Backbone.pixels`; objects are returned as they are."""
        return batch if batch.dtype == object else super().pixels(batch)

    def image_embeds(self, pixel_values: Any) -> torch.Tensor:
        if isinstance(pixel_values, torch.Tensor):
            return self._embed({"pixel_values": pixel_values, "modality": "image"})
        return torch.cat([self._embed(dict(features)) for features in pixel_values.tolist()])

    def token_ids(self, texts: Iterable[str]) -> list[list[int]]:
        return [self._features(text)["input_ids"][0].tolist() for text in texts]

    def truncated(self, texts: Iterable[str]) -> list[str]:
        whole = {"text": {"truncation": False}}
        return [
            text
            for text in texts
            if self._features(text)["input_ids"].shape[1] < self._features(text, whole)["input_ids"].shape[1]
        ]

    def _features(self, text: str, processing: dict[str, dict[str, Any]] | None = None) -> dict[str, Any]:
        """The inputs of one text. As a plain string, a hashtag that is an address would be fetched as an image."""
        with quiet("sentence_transformers"), quiet("transformers"):
            return self.model.preprocess([{"text": text}], prompt=self._prompt, processing_kwargs=processing)

    def text_batch(self, ids: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        length = max(map(len, ids))
        tokens = torch.full((len(ids), length), self._padding)
        mask = torch.zeros((len(ids), length), dtype=torch.int64)
        for row, own in enumerate(ids):
            place = slice(length - len(own), length) if self._left else slice(len(own))
            tokens[row, place], mask[row, place] = torch.tensor(own), 1
        return tokens.to(self.device), mask.to(self.device)

    def text_embeds(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        if self._masked:
            return self._embed({**self._told, "input_ids": input_ids, "attention_mask": attention_mask})
        # A model without a mask attends to its padding, so that each text is embedded alone.
        rows = zip(input_ids, attention_mask.bool(), strict=True)
        return torch.cat([self._embed({**self._told, "input_ids": row[mask][None]}) for row, mask in rows])

    def _embed(self, features: dict[str, Any]) -> torch.Tensor:
        moved = {name: self._moved(value) for name, value in features.items()}
        return unit(self.model(moved)["sentence_embedding"])

    def _moved(self, value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        return value.to(self.device, DTYPES[self.precision] if value.is_floating_point() else None)


@contextmanager
def _loading(resolved: ResolvedBackbone) -> Iterator[None]:
    """Turn the library's errors into one line, without its log lines and progress bars."""
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        with quiet("sentence_transformers"), quiet("transformers"):
            yield
    except Exception as error:  # the library raises many kinds of errors for unreadable files
        if is_out_of_memory(error):
            raise
        said = one_line(error)
        if isinstance(error, ImportError) and "torchvision" in said.lower():
            raise BackboneError(
                f"{resolved.folder} also reads videos, for which transformers needs torchvision: install the one that "
                f"belongs to torch {torch.__version__}, from where torch was installed"
            ) from error
        raise BackboneError(f"{resolved.folder} cannot be loaded by sentence-transformers: {said[:200]}") from error
    finally:
        if bars:
            transformers_logging.enable_progress_bar()
