"""Ranks and percentiles against a count over all pairs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consistency.backbone.embeddings import PairEmbeddings
from koclip_consistency.scoring import standing as module
from koclip_consistency.scoring.standing import find_standing


def unit(rng: np.random.Generator, n: int, dim: int = 5) -> np.ndarray:
    vectors = rng.normal(size=(n, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(
    pairs=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), min_size=1, max_size=40),
    seed=st.integers(0, 99),
    block=st.integers(1, 3),
)
def test_places_are_those_counted_one_by_one(pairs: list[tuple[int, int]], seed: int, block: int) -> None:
    rng = np.random.default_rng(seed)
    images, hashtags, reference = unit(rng, 4), unit(rng, 6), unit(rng, 50)
    hashtags[5] = hashtags[4]  # two hashtags with equal cosines
    image, hashtag = np.array(pairs).T
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", block)
        found = find_standing(
            PairEmbeddings(images, hashtags, image, hashtag), [f"post {i}" for i in image], hashtag.tolist(), reference
        )
    cosine = {(i, h): float(images[i].astype(float) @ hashtags[h].astype(float)) for i, h in pairs}
    for row, (i, h) in enumerate(pairs):
        post = {other: value for (owner, other), value in cosine.items() if owner == i}
        assert found.rank_of[row] == len(post)
        assert found.rank[row] == 1 + sum(value > post[h] + 1e-12 for value in post.values())
        assert found.percentile is not None
        below = sum(float(images[i].astype(float) @ vector) < cosine[i, h] - 1e-6 for vector in reference.astype(float))
        assert found.percentile[row] == pytest.approx(100 * below / 50, abs=1e-9)


def test_without_a_reference_there_is_no_percentile() -> None:
    rng = np.random.default_rng(0)
    pairs = PairEmbeddings(unit(rng, 1), unit(rng, 2), np.zeros(2, int), np.arange(2))
    assert find_standing(pairs, [0, 0], ["a", "b"], np.empty((0, 0), np.float32)).percentile is None
