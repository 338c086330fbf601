"""A blend is the mean of its two models, and sees what it may see."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.decomposition import PCA

from consistency.errors import InputError
from heads.blend import COMPONENTS, COSINE, Axes, Blend
from tests.builders.head_data import make_pairs, make_posts

READS = ("mean", "maximum", "weighted", COSINE)


@pytest.fixture(scope="module")
def data():
    return make_posts(dim=24)


def test_axes_are_the_principal_components_of_the_rows(data):
    pairs = data[0]
    axes = Axes.fit(pairs.hashtags, pairs.hashtag_index)
    reference = PCA(COMPONENTS).fit(pairs.hashtag_vectors().astype(np.float64))
    same = np.abs(np.einsum("dc,cd->c", axes.axes, reference.components_))
    np.testing.assert_allclose(same, 1, atol=1e-6)
    np.testing.assert_allclose(axes.mean, reference.mean_, atol=1e-6)
    largest = np.abs(axes.axes).argmax(axis=0)
    assert (axes.axes[largest, range(COMPONENTS)] > 0).all()
    centred = axes.centred(pairs.hashtags)
    np.testing.assert_allclose(np.linalg.norm(centred, axis=1), 1, atol=1e-6)


def test_it_is_the_mean_of_trees_and_ridge(data):
    pairs, labels, *_ = data
    both = Blend.fit(pairs, labels, context=READS, sees_image=True, seed=1)
    assert both.trees is not None
    alone = replace(both, trees=None).predict_proba(pairs)
    from_trees = 2 * both.predict_proba(pairs) - alone
    assert from_trees.min() > -1e-9
    np.testing.assert_allclose(from_trees.sum(axis=1), 1)
    assert (both.predict_proba(pairs).argmax(axis=1) == labels).mean() > 0.7
    again = Blend.of_arrays(READS, both.arrays())
    assert np.array_equal(again.predict_proba(pairs), both.predict_proba(pairs))


def test_without_images_no_image_changes_an_answer(data):
    pairs, labels, *_ = data
    others = replace(pairs, images=make_pairs(300, images=50, seed=9, dim=24)[0].images)
    for sees_image in (True, False):
        blind = Blend.fit(pairs, labels, context=("mean",), sees_image=sees_image, seed=1)
        assert np.array_equal(blind.predict_proba(pairs), blind.predict_proba(others)) is not sees_image


def test_one_class_and_no_context(data):
    pairs, labels, *_ = data
    one = Blend.fit(pairs, np.full_like(labels, 3), context=(), sees_image=True, seed=1)
    assert one.trees is None
    assert (one.predict_proba(pairs).argmax(axis=1) == 3).all()
    with pytest.raises(InputError, match="reads the whole post, but the pairs have no context"):
        Blend.fit(replace(pairs, context=None), labels, context=READS, sees_image=True, seed=1)
