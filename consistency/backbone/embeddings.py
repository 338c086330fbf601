"""Embeddings of pairs: one table of image vectors, one of hashtag vectors, and indices into both."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from consistency.errors import InputError


@dataclass(frozen=True, eq=False)
class PairEmbeddings:
    """Embeddings of n pairs; each distinct image and hashtag is stored once.

    Attributes
    ----------
    images : (n_images, d) float32
        Image embeddings of unit norm.
    hashtags : (n_hashtags, d) float32
        Hashtag embeddings of unit norm.
    image_index, hashtag_index : (n,) int64
        Rows of `images` and `hashtags` that make up each pair.
    context : (n, k) float64 or None
        What the other hashtags of each pair's post say about it: see `heads.post`. None if nothing reads it.
    """

    images: npt.NDArray[np.float32]
    hashtags: npt.NDArray[np.float32]
    image_index: npt.NDArray[np.int64]
    hashtag_index: npt.NDArray[np.int64]
    context: npt.NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        if self.images.ndim != 2 or self.hashtags.ndim != 2 or self.images.shape[1] != self.hashtags.shape[1]:
            raise ValueError(f"embedding tables {self.images.shape} and {self.hashtags.shape} do not match")
        if self.image_index.shape != self.hashtag_index.shape or self.image_index.ndim != 1:
            raise ValueError(f"indices {self.image_index.shape} and {self.hashtag_index.shape} do not match")
        if self.context is not None and len(self.context) != len(self):
            raise ValueError(f"the context has {len(self.context)} rows for {len(self)} pairs")

    def __len__(self) -> int:
        return len(self.image_index)

    @property
    def dim(self) -> int:
        return self.images.shape[1]

    def check_dim(self, trained: int) -> None:
        """Raise InputError unless the vectors are as wide as those that a head was `trained` on."""
        if self.dim != trained:
            raise InputError(
                f"the head was trained on embeddings of {trained} numbers, got {self.dim}: "
                "use the backbone that it was trained on"
            )

    def take(self, rows: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> "PairEmbeddings":
        """Select pairs by index or boolean mask; the two tables are shared, not copied."""
        context = None if self.context is None else self.context[rows]
        return PairEmbeddings(self.images, self.hashtags, self.image_index[rows], self.hashtag_index[rows], context)

    def hashtag_vectors(self) -> npt.NDArray[np.float32]:
        """Copy the hashtag embedding of every pair, (n, d) float32."""
        return self.hashtags[self.hashtag_index]

    def cosine(self) -> npt.NDArray[np.float64]:
        """Cosine similarity of every pair, (n,) float64."""
        images, hashtags = self.images.astype(np.float64), self.hashtags.astype(np.float64)
        similarity = np.empty(len(self), dtype=np.float64)
        for start in range(0, len(self), 65536):  # in parts, to bound memory
            part = slice(start, start + 65536)
            np.einsum(
                "nd,nd->n", images[self.image_index[part]], hashtags[self.hashtag_index[part]], out=similarity[part]
            )
        return similarity


def side_by_side(vectors: Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    """Join the vectors of k backbones, (n, d_1) to (n, d_k) of unit norm, to (n, d_1 + ... + d_k) float32 of unit norm.

    The cosine of two joined vectors is the mean of the k cosines.
    """
    return np.concatenate(vectors, axis=1) / np.float32(np.sqrt(len(vectors)))
