"""The control text-and-post against kernel ridge regressions that are refitted without each group."""

import numpy as np
import pytest
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import cohen_kappa_score, log_loss

from consistency.evaluation import text_and_post
from consistency.evaluation.post_texts import Numbers, PostTexts
from consistency.evaluation.text_and_post import text_and_post_predictions
from consistency.scale import Floats, Ints
from tests.builders.posts import drawn_posts


def kernel(one: PostTexts, other: PostTexts, train: PostTexts) -> Floats:
    text = np.exp((one.text @ other.text.T).toarray() / 0.5 - 2) + (one.tags[:, None] == other.tags)
    if not train.features.shape[1]:
        return text
    if train.post is not None:
        text = text * (1 + 8 * np.exp((one.others() @ other.others().T).toarray() / 0.2 - 5)) / 2
    spread = train.features.std(axis=0)
    scaled = [(part.features - train.features.mean(axis=0)) / np.where(spread > 0, spread, 1) for part in (one, other)]
    distance = ((scaled[0][:, None] - scaled[1][None]) ** 2).mean(axis=2)
    place = np.exp(-distance / 2)
    return text * (1 + place) / 2 + place


def refitted(train: PostTexts, labels: Ints, groups: Numbers, test: PostTexts) -> Floats:
    inner, outer = kernel(train, train, train), kernel(test, train, train)
    targets = np.eye(5)[labels] - np.bincount(labels, minlength=5) / len(labels)
    held_out = np.empty_like(targets)
    for group in set(groups):
        own = groups == group
        model = KernelRidge(alpha=1, kernel="precomputed").fit(inner[np.ix_(~own, ~own)], targets[~own])
        held_out[own] = model.predict(inner[np.ix_(own, ~own)])
    values = KernelRidge(alpha=1, kernel="precomputed").fit(inner, targets).predict(outer)
    return np.asarray(LogisticRegression(C=10, max_iter=2000).fit(held_out, labels).predict_proba(values))


@pytest.mark.parametrize("reads", ["text", "context", "position", "both", "rows"])
def test_held_out_values_are_those_of_refits(reads: str) -> None:
    posts, hashtags, labels = drawn_posts(posts=16)
    order = np.arange(len(posts)) if reads in ("position", "both") else None
    texts = PostTexts.of(hashtags, posts, context=reads in ("context", "both", "rows"), order=order)
    train, test = np.arange(96), np.arange(96, 128)
    groups = None if reads == "rows" else posts[train]
    found = text_and_post_predictions(texts.take(train), labels[train], groups, texts.take(test))
    each = np.arange(96) if groups is None else groups
    np.testing.assert_allclose(found, refitted(texts.take(train), labels[train], each, texts.take(test)), atol=1e-4)


def test_the_post_tells_more_than_the_text() -> None:
    posts, hashtags, labels = drawn_posts(posts=80)
    train, test = np.arange(480), np.arange(480, 640)
    reached, losses = {}, {}
    for context in (False, True):
        texts = PostTexts.of(hashtags, posts, context=context)
        chances = text_and_post_predictions(texts.take(train), labels[train], posts[train], texts.take(test))
        reached[context] = cohen_kappa_score(labels[test], chances.argmax(axis=1), weights="quadratic")
        losses[context] = log_loss(labels[test], chances)
    assert reached[True] > reached[False] + 0.3
    assert losses[True] < losses[False] - 0.1


def test_many_rows_are_read_in_chunks_with_landmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    posts, hashtags, labels = drawn_posts(posts=80)
    texts = PostTexts.of(hashtags, posts)
    train, test = np.arange(480), np.arange(480, 640)

    def predict() -> Floats:
        return text_and_post_predictions(texts.take(train), labels[train], posts[train], texts.take(test))

    exact = predict()
    monkeypatch.setattr(text_and_post, "CHUNK", 50)
    np.testing.assert_allclose(predict(), exact, atol=1e-6)
    monkeypatch.setattr(text_and_post, "LANDMARKS", 240)
    near = predict()
    assert np.array_equal(near, predict())
    assert 0 < np.abs(near - exact).mean() < 0.05
    monkeypatch.setattr(text_and_post, "LANDMARKS", 6)  # fewer than the rows of a post
    few = predict()
    monkeypatch.setattr(text_and_post, "CHUNK", 4096)
    np.testing.assert_allclose(few, predict(), atol=1e-6)
    assert log_loss(labels[test], few) > log_loss(labels[test], near)


def test_a_group_is_held_out_alike_with_few_and_many_landmarks() -> None:
    rng = np.random.default_rng(0)
    mapped, errors = rng.standard_normal((30, 12)) / 10, rng.standard_normal((30, 5))
    direct = np.linalg.inv(np.eye(30) - mapped @ mapped.T) @ errors
    np.testing.assert_allclose(text_and_post._without(mapped, errors), direct)
    wide = np.hstack([mapped, np.zeros((30, 30))])
    np.testing.assert_allclose(text_and_post._without(wide, errors), direct)
