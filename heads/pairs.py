"""Pairs as tensors: two tables, indices and labels; features of a batch are made when it is read."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from consistency.backbone.embeddings import PairEmbeddings
from consistency.scale import Ints
from heads.model import pair_features


@dataclass(frozen=True, eq=False)
class Pairs:
    """Everything a stack reads, as tensors on one device."""

    images: Tensor
    hashtags: Tensor
    image_index: Tensor
    hashtag_index: Tensor
    labels: Tensor

    @classmethod
    def of(cls, embeddings: PairEmbeddings, labels: Ints, *, dtype: torch.dtype, device: str) -> "Pairs":
        def move(array: Any, kind: torch.dtype) -> Tensor:
            return torch.as_tensor(array).to(device=device, dtype=kind)

        return cls(
            move(embeddings.images, dtype),
            move(embeddings.hashtags, dtype),
            move(embeddings.image_index, torch.int64),
            move(embeddings.hashtag_index, torch.int64),
            move(labels, torch.int64),
        )

    def rows(self, rows: Ints) -> Tensor:
        return torch.as_tensor(rows, device=self.labels.device)

    def features(self, kind: str, rows: Tensor) -> Tensor:
        images = self.images.index_select(0, self.image_index.index_select(0, rows))
        hashtags = self.hashtags.index_select(0, self.hashtag_index.index_select(0, rows))
        return pair_features(kind, images, hashtags)

    def moments(self, kind: str, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation of every feature over `rows`, (feature_dim,) each; a constant feature gets 1."""
        total = square = torch.zeros((), dtype=torch.float64, device=rows.device)
        for part in rows.split(2048):
            x = self.features(kind, part).double()
            total, square = total + x.sum(0), square + x.square().sum(0)
        mean = total / len(rows)
        deviation = (square / len(rows) - mean.square()).clamp(min=0).sqrt()
        deviation = torch.where(deviation > 1e-6, deviation, 1.0)
        return mean.to(self.images.dtype), deviation.to(self.images.dtype)
