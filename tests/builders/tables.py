"""Pair tables without files."""

from pathlib import Path

import numpy as np

from consistency.data.pairs import PairTable


def make_table(images: list[str], hashtags: list[str], scores: list[int]) -> PairTable:
    return PairTable(
        rows=np.arange(1, len(scores) + 1),
        images=np.array(images, dtype=object),
        hashtags=np.array(hashtags, dtype=object),
        scores=np.array(scores, dtype=np.int64),
        path=Path("pairs.csv"),
        digest="",
        skipped=(),
    )


def realistic_table(images: int = 172, rows: int = 1800, seed: int = 0) -> PairTable:
    """Skewed scores that depend on the image, as many rows per image as chance gives."""
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(12 * np.array([0.04, 0.1, 0.16, 0.27, 0.43]), size=images)
    owner = np.r_[np.arange(images), rng.integers(0, images, rows - images)]
    scores = [int(rng.choice(5, p=shares[image])) + 1 for image in owner]
    return make_table([f"{image}.png" for image in owner], [f"#tag{i}" for i in range(rows)], scores)
