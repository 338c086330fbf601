"""The kernel by its formula, and the regression on it against scikit-learn's."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.kernel_ridge import KernelRidge as Reference
from sklearn.metrics.pairwise import rbf_kernel

from heads import kernel as module
from heads.kernel import CONTEXT_WIDTH, HASHTAG_WIDTH, IMAGE_WIDTH, STRENGTH, KernelRidge, kernel
from tests.builders.head_data import make_pairs


def make(n=200, columns=2, seed=0):
    pairs, labels = make_pairs(n, seed=seed)
    return replace(pairs, context=np.random.default_rng(seed).normal(size=(n, columns))), labels


def by_formula(a, b, sees_image):
    tags = rbf_kernel(a.hashtag_vectors().astype(float), b.hashtag_vectors().astype(float), HASHTAG_WIDTH)
    of_a, of_b = a.images[a.image_index].astype(float), b.images[b.image_index].astype(float)
    images = rbf_kernel(of_a, of_b, IMAGE_WIDTH) if sees_image else 0
    if not a.context.shape[1]:
        return tags * (1 + images)
    contexts = rbf_kernel(a.context, b.context, CONTEXT_WIDTH)
    return tags * (1 + images) * (1 + contexts) / 2 + contexts


@pytest.mark.parametrize("sees_image", [True, False])
@pytest.mark.parametrize("columns", [0, 2])
def test_the_kernel_is_its_formula(sees_image, columns):
    pairs, _ = make(columns=columns)
    a, b = pairs.take(np.arange(30)), pairs.take(np.arange(30, 90))
    np.testing.assert_allclose(kernel(a, b, sees_image=sees_image), by_formula(a, b, sees_image), atol=1e-9)


def test_up_to_a_number_of_rows_it_is_scikit_learns_ridge(monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 32)
    pairs, labels = make()
    train, test = np.arange(150), np.arange(150, 200)
    mine = KernelRidge.fit(pairs.take(train), labels[train], sees_image=True, seed=0)
    targets = np.eye(5)[labels[train]]
    reference = Reference(alpha=STRENGTH, kernel="precomputed")
    reference.fit(by_formula(pairs.take(train), pairs.take(train), True), targets - targets.mean(axis=0))
    likeness = by_formula(pairs.take(test), pairs.take(train), True)
    expected = np.maximum(reference.predict(likeness) + targets.mean(axis=0), 1e-3)
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(mine.predict_proba(pairs.take(test)), expected, atol=1e-8)
    assert len(mine.landmarks.images) <= len(pairs.images)


def test_with_all_rows_as_landmarks_the_bounded_solution_is_the_exact_one(monkeypatch):
    pairs, labels = make(300)
    exact = KernelRidge.fit(pairs, labels, sees_image=True, seed=0).predict_proba(pairs)
    monkeypatch.setattr(module, "EXACT", 299)
    monkeypatch.setattr(module, "LANDMARKS", 300)
    monkeypatch.setattr(module, "BLOCK", 64)
    np.testing.assert_allclose(
        KernelRidge.fit(pairs, labels, sees_image=True, seed=0).predict_proba(pairs), exact, atol=1e-3
    )
    monkeypatch.setattr(module, "LANDMARKS", 100)
    fewer = KernelRidge.fit(pairs, labels, sees_image=True, seed=0)
    assert len(fewer.landmarks) == len(fewer.weights) == 100
    assert (fewer.predict_proba(pairs).argmax(axis=1) == exact.argmax(axis=1)).mean() > 0.7
    again = KernelRidge.fit(pairs, labels, sees_image=True, seed=0)
    assert np.array_equal(again.weights, fewer.weights)
