"""Embeddings of pairs, as two small tables and indices into them: what the cache hands to the heads."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class PairEmbeddings:
    """`n` pairs over distinct images and hashtags, whose vectors are here once.

    images: (n_images, d) float32, unit norm. hashtags: (n_hashtags, d) float32, unit norm.
    image_index, hashtag_index: (n,) int64 rows of the two tables.
    """

    images: npt.NDArray[np.float32]
    hashtags: npt.NDArray[np.float32]
    image_index: npt.NDArray[np.int64]
    hashtag_index: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.images.ndim != 2 or self.hashtags.ndim != 2 or self.images.shape[1] != self.hashtags.shape[1]:
            raise ValueError(f"embedding tables {self.images.shape} and {self.hashtags.shape} do not match")
        if self.image_index.shape != self.hashtag_index.shape or self.image_index.ndim != 1:
            raise ValueError(f"indices {self.image_index.shape} and {self.hashtag_index.shape} do not match")

    def __len__(self) -> int:
        return len(self.image_index)

    @property
    def dim(self) -> int:
        return self.images.shape[1]

    def take(self, rows: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> "PairEmbeddings":
        """The pairs `rows` (indices or mask) over the same two tables."""
        return PairEmbeddings(self.images, self.hashtags, self.image_index[rows], self.hashtag_index[rows])

    def hashtag_vectors(self) -> npt.NDArray[np.float32]:
        """The hashtag's vector of every pair, (n, d) float32: a copy for each."""
        return self.hashtags[self.hashtag_index]

    def cosine(self) -> npt.NDArray[np.float64]:
        """Cosine similarity of every pair, (n,) float64 (the tables have unit norm)."""
        images, hashtags = self.images.astype(np.float64), self.hashtags.astype(np.float64)
        similarity = np.empty(len(self), dtype=np.float64)
        for start in range(0, len(self), 65536):  # bounded memory whatever n is
            part = slice(start, start + 65536)
            np.einsum(
                "nd,nd->n", images[self.image_index[part]], hashtags[self.hashtag_index[part]], out=similarity[part]
            )
        return similarity
