"""The map against scikit-learn's PCA, and its edges."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from koclip_consistency.service.projection import project

RNG = np.random.default_rng(0)


def test_pca_of_kinds_that_are_centred_each() -> None:
    images = RNG.normal(size=(30, 8)).astype(np.float32) + 5  # the gap between CLIP's images and hashtags
    hashtags = RNG.normal(size=(20, 8)).astype(np.float32) * np.linspace(1, 3, 8, dtype=np.float32)
    points = project(images, hashtags)
    centred = np.concatenate([images - images.mean(axis=0), hashtags - hashtags.mean(axis=0)])
    expected = PCA(2, svd_solver="full").fit_transform(centred)
    assert np.abs(points).max() == 1
    for axis in range(2):
        assert abs(np.corrcoef(points[:, axis], expected[:, axis])[0, 1]) == pytest.approx(1, abs=1e-6)
    assert points[:30].mean(axis=0) == pytest.approx(points[30:].mean(axis=0), abs=1e-6)


def test_tsne_keeps_groups_together_and_repeats_itself() -> None:
    groups = np.repeat(np.eye(3, 8, dtype=np.float32), 10, axis=0)
    images = groups + RNG.normal(size=groups.shape).astype(np.float32) * 0.05
    points = project(images, np.empty((0, 8), np.float32), "tsne")
    np.testing.assert_array_equal(points, project(images, np.empty((0, 8), np.float32), "tsne"))
    middles = points.reshape(3, 10, 2).mean(axis=1)
    nearest = np.linalg.norm(points[:, None] - middles[None], axis=2).argmin(axis=1)
    assert nearest.tolist() == np.repeat(range(3), 10).tolist()


@pytest.mark.parametrize("method", ["pca", "tsne"])
@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_few_points(n: int, method: str) -> None:
    points = project(RNG.normal(size=(n, 1)).astype(np.float32), np.empty((0, 1), np.float32), method)  # type: ignore[arg-type]
    assert points.shape == (n, 2)
    assert np.isfinite(points).all()
