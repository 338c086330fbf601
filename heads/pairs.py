"""Pairs as tensors: two tables of embeddings, indices into them, and labels. Features are computed batch by batch."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from consistency.backbone.embeddings import PairEmbeddings
from consistency.scale import Floats, Ints
from heads.model import pair_features, post_context


@dataclass(frozen=True, eq=False)
class Pairs:
    """Everything that training reads, as tensors on one device.

    Attributes
    ----------
    images, hashtags : (n_images, embed_dim) and (n_hashtags, embed_dim) float
        The two tables of embeddings.
    image_index, hashtag_index : (n,) int64
        Rows of the tables for each pair.
    labels : (n,) int64
        Classes, 0 to 4.
    context : (n, len(POST)) float or None
        The part "post" of each pair: see `heads.model.post_context`.
    shares : (n, 5) float or None
        Share of the people who gave each score, for soft labels.
    """

    images: Tensor
    hashtags: Tensor
    image_index: Tensor
    hashtag_index: Tensor
    labels: Tensor
    context: Tensor | None = None
    shares: Tensor | None = None

    @classmethod
    def of(
        cls,
        embeddings: PairEmbeddings,
        labels: Ints,
        *,
        dtype: torch.dtype,
        device: str,
        shares: Floats | None = None,
    ) -> "Pairs":
        """Copy embeddings, in `dtype`, and labels to a device."""

        def move(array: Any, kind: torch.dtype) -> Tensor:
            return torch.as_tensor(array).to(device=device, dtype=kind)

        return cls(
            move(embeddings.images, dtype),
            move(embeddings.hashtags, dtype),
            move(embeddings.image_index, torch.int64),
            move(embeddings.hashtag_index, torch.int64),
            move(labels, torch.int64),
            None if embeddings.context is None else move(post_context(embeddings), dtype),
            None if shares is None else move(shares, dtype),
        )

    def rows(self, rows: Ints) -> Tensor:
        """Copy row numbers to the device."""
        return torch.as_tensor(rows, device=self.labels.device)

    def features(self, kind: str, rows: Tensor) -> Tensor:
        """Compute the features of some pairs, (n_rows, feature_dim)."""
        images = self.images.index_select(0, self.image_index.index_select(0, rows))
        hashtags = self.hashtags.index_select(0, self.hashtag_index.index_select(0, rows))
        context = None if self.context is None else self.context.index_select(0, rows)
        return pair_features(kind, images, hashtags, context)

    def moments(self, kind: str, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Compute mean and standard deviation of each feature over `rows`, (feature_dim,) each.

        The standard deviation of a constant feature is replaced by 1.
        """
        total = square = torch.zeros((), dtype=torch.float64, device=rows.device)
        for part in rows.split(2048):
            x = self.features(kind, part).double()
            total, square = total + x.sum(0), square + x.square().sum(0)
        mean = total / len(rows)
        deviation = (square / len(rows) - mean.square()).clamp(min=0).sqrt()
        deviation = torch.where(deviation > 1e-6, deviation, 1.0)
        return mean.to(self.images.dtype), deviation.to(self.images.dtype)
