"""Several backbones as one: the vectors of each side by side, so that a cosine is the mean of their cosines."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from consistency.backbone.base import Embedder
from consistency.backbone.embeddings import side_by_side
from consistency.backbone.resolve import ResolvedBackbone


class JoinedBackbone(Embedder):
    """The members' vectors side by side, each divided by the root of their number: of unit norm again.

    Attributes
    ----------
    members : tuple of Embedder
        The backbones, in the order in which they are named.
    """

    def __init__(self, resolved: ResolvedBackbone, members: Sequence[Embedder]) -> None:
        first = members[0]
        super().__init__(resolved, first.device, first.precision, first.decode)
        self.members = tuple(members)
        self.model = torch.nn.ModuleList([member.model for member in members])
        self.text_length = min(member.text_length for member in members)
        self.embed_dim = sum(member.embed_dim for member in members)

    def speed_up(self) -> None:
        for member in self.members:
            member.speed_up()

    def in_fp32(self) -> "JoinedBackbone":
        return JoinedBackbone(self.resolved, [member.in_fp32() for member in self.members])

    @property
    def batch_sizes(self) -> tuple[int, int]:
        images, texts = zip(*(member.batch_sizes for member in self.members), strict=True)
        return min(images), min(texts)

    def _shape(self) -> tuple[int, int, int]:
        patches, images, texts = zip(*(member._shape() for member in self.members), strict=True)
        return max(patches), max(images), max(texts)

    def _prepare(self, image: Image.Image) -> npt.NDArray[Any]:
        """One object: the image as each member prepares it."""
        prepared = np.empty((), object)
        prepared[()] = tuple(np.array(member.prepare(image)) for member in self.members)
        return prepared

    def encode_images(self, batch: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        of_members = zip(self.members, zip(*batch.tolist(), strict=True), strict=True)
        return side_by_side([member.encode_images(np.stack(images)) for member, images in of_members])

    def encode_texts(self, texts: Iterable[str]) -> npt.NDArray[np.float32]:
        texts = list(texts)
        return side_by_side([member.encode_texts(texts) for member in self.members])

    def token_ids(self, texts: Iterable[str]) -> list[list[int]]:
        """Of the first member; they say how long a text is."""
        return self.members[0].token_ids(texts)

    def truncated(self, texts: Iterable[str]) -> list[str]:
        texts = list(texts)
        cut = {text for member in self.members for text in member.truncated(texts)}
        return [text for text in texts if text in cut]
