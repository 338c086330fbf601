"""Two models as one dual encoder: a model of images, and one of texts that was trained to embed into its space."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from consistency.backbone.base import Backbone
from consistency.errors import BackboneError


class PairedBackbone(Backbone):
    """Images as `images` embeds them, and hashtags as `texts` does.

    Raises
    ------
    BackboneError
        If their embeddings have different dimensions.
    """

    def __init__(self, images: Backbone, texts: Backbone) -> None:
        super().__init__(images.resolved, images.device, images.precision, images.decode)
        if images.embed_dim != texts.embed_dim:
            raise BackboneError(
                f"{images.resolved.name}: texts are embedded in {texts.embed_dim} dimensions and images in "
                f"{images.embed_dim}; expected the image model that the text model was trained for"
            )
        self.images, self.texts = images, texts
        self.model, self.spec = images.model, images.spec
        self.text_length, self.embed_dim = texts.text_length, images.embed_dim

    def speed_up(self) -> None:
        self.images.speed_up()
        self.texts.speed_up()

    def in_fp32(self) -> "PairedBackbone":
        return PairedBackbone(self.images.in_fp32(), self.texts.in_fp32())

    @property
    def batch_sizes(self) -> tuple[int, int]:
        return self.images.batch_sizes[0], self.texts.batch_sizes[1]

    def _shape(self) -> tuple[int, int, int]:
        patches, width, _ = self.images._shape()
        return patches, width, self.texts._shape()[2]

    def _prepare(self, image: Image.Image) -> npt.NDArray[np.float32]:
        return self.images._prepare(image)

    def pixels(self, batch: npt.NDArray[Any]) -> torch.Tensor:
        return self.images.pixels(batch)

    def image_embeds(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return self.images.image_embeds(pixel_values)

    def token_ids(self, texts: Iterable[str]) -> list[list[int]]:
        return self.texts.token_ids(texts)

    def truncated(self, texts: Iterable[str]) -> list[str]:
        return self.texts.truncated(texts)

    def text_batch(self, ids: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        return self.texts.text_batch(ids)

    def text_embeds(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return self.texts.text_embeds(input_ids, attention_mask)
