"""Features of a post: no labels, no counts of repeats, and no order unless it is asked for."""

import itertools

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.preprocessing import normalize

from consistency.data.hashtags import hashtag_identity
from consistency.errors import DataError
from consistency.evaluation.post_texts import PostTexts, context_features, order_gamma, refuse_sorted
from tests.builders.posts import drawn_posts


def test_the_context_is_that_of_the_distinct_other_hashtags() -> None:
    posts, hashtags, _ = drawn_posts(posts=6)
    found = PostTexts.of(hashtags, posts)
    words = sorted({hashtag_identity(tag) for tag in hashtags})
    counted = CountVectorizer(analyzer="char_wb", ngram_range=(1, 4)).fit_transform(words)
    vectors = dict(zip(words, normalize(counted.astype(float)).toarray(), strict=True))
    for row, (post, hashtag) in enumerate(zip(posts, hashtags, strict=True)):
        own = hashtag_identity(hashtag)
        of_post = {hashtag_identity(tag) for tag in hashtags[posts == post]}
        others = np.stack([vectors[tag] for tag in sorted(of_post - {own})])
        cosines, total = others @ vectors[own], others.sum(axis=0)
        to_all = total @ vectors[own] / np.linalg.norm(total)
        expected = [cosines.mean(), cosines.max(), to_all, np.log(len(of_post))]
        np.testing.assert_allclose(found.features[row], expected, atol=1e-9)
        of_others = found.others()[row]
        np.testing.assert_allclose(of_others @ found.text[row].T.toarray().ravel(), [to_all], atol=1e-9)


def test_repeats_and_spellings_change_no_feature() -> None:
    posts, hashtags, _ = drawn_posts(posts=5)
    once = PostTexts.of(hashtags, posts, order=np.arange(len(posts)))
    again = np.r_[np.arange(len(posts)), [3, 3, 3, 17]]
    spelled = hashtags[again]
    spelled[-4:] = [f"＃{tag.lstrip('#')}" for tag in spelled[-4:]]
    twice = PostTexts.of(spelled, posts[again], order=np.arange(len(again)))
    np.testing.assert_array_equal(twice.features, once.features[again])
    np.testing.assert_array_equal(twice.others().toarray(), once.others()[again].toarray())


def test_a_lone_hashtag_has_no_context() -> None:
    found = PostTexts.of(np.array(["#바다", "바다"], dtype=object), np.array(["a", "a"], dtype=object))
    assert found.features.tolist() == [[0, 0, 0, 0]] * 2
    assert found.others().count_nonzero() == 0


def test_long_posts_are_compared_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    posts, hashtags, _ = drawn_posts(posts=2, size=30)
    whole = PostTexts.of(hashtags, posts)
    monkeypatch.setattr("consistency.evaluation.post_texts._COSINES", 20)
    np.testing.assert_allclose(context_features(whole.text, whole.tags, posts), whole.features, atol=1e-12)


def test_positions_follow_the_given_order_and_repeats_stand_where_they_are_first() -> None:
    hashtags = np.array(["a", "b", "#A", "c", "b", "d"], dtype=object)
    posts = np.array([1, 1, 1, 1, 2, 2])
    found = PostTexts.of(hashtags, posts, context=False, order=np.array([10, 20, 30, 40, 6, 5])).features
    place = np.array([0, 1, 0, 2, 1, 0])
    np.testing.assert_allclose(found, np.stack([np.log1p(place), [0, 0.5, 0, 1, 1, 0]], axis=1))
    shuffled = np.array([5, 2, 0, 4, 1, 3])
    order = np.array([10, 20, 30, 40, 6, 5])[shuffled]
    again = PostTexts.of(hashtags[shuffled], posts[shuffled], context=False, order=order).features
    np.testing.assert_array_equal(again, found[shuffled])
    assert PostTexts.of(hashtags, posts, context=False).features.shape == (6, 0)


def test_gamma_counts_pairs_of_a_post() -> None:
    posts, _, labels = drawn_posts(posts=7)
    order = np.random.default_rng(1).permutation(len(posts))
    signs = [
        np.sign((labels[i] - labels[j]) * (order[i] - order[j]))
        for i, j in itertools.combinations(range(len(posts)), 2)
        if posts[i] == posts[j]
    ]
    rising, falling = signs.count(1), signs.count(-1)
    assert order_gamma(labels, posts, order) == pytest.approx((rising - falling) / (rising + falling))
    assert order_gamma(np.full(len(posts), 3), posts, order) == 0


def test_a_table_sorted_by_score_is_refused() -> None:
    posts, _, labels = drawn_posts()
    order = np.arange(len(posts))
    assert abs(refuse_sorted(labels, posts, order)) < 0.2
    for by_score in (np.argsort(labels, kind="stable"), np.argsort(-labels, kind="stable")):
        with pytest.raises(DataError, match="sorted by score .*leave out --ordered, or restore"):
            refuse_sorted(labels[by_score], posts[by_score], order)
        # within posts only, whatever the order of the posts
        by_post = by_score[np.argsort(posts[by_score].astype(str), kind="stable")]
        with pytest.raises(DataError, match="gamma -?1.00"):
            refuse_sorted(labels[by_post], posts[by_post], order)
    nearly = np.argsort(labels + np.random.default_rng(0).normal(0, 0.7, len(labels)), kind="stable")
    with pytest.raises(DataError, match="gamma 0.[78]"):
        refuse_sorted(labels[nearly], posts[nearly], order)
