"""The controls follow their published recipe and see nothing but names and text."""

import numpy as np
import numpy.typing as npt
import pytest
from scipy.sparse import hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, cohen_kappa_score, f1_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from consistency.data.folds import make_folds
from consistency.evaluation.controls import STRENGTHS, control_predictions, decide, text_embedding_predictions
from consistency.evaluation.systems import CONTROLS

Columns = tuple[npt.NDArray[np.object_], npt.NDArray[np.object_], npt.NDArray[np.int64]]


def leaking_rows(seed: int = 0, n: int = 240) -> Columns:
    """Scores that depend on the image and, less, on the hashtag."""
    rng = np.random.default_rng(seed)
    images, tags = rng.integers(0, 12, n), rng.integers(0, 30, n)
    words = ["카페", "바다", "#맛집", "여행", "coffee"]
    labels = np.clip((images % 5 + (tags % 5 == 0) - (rng.random(n) < 0.1)), 0, 4)
    return (
        np.array([f"{image}.png" for image in images], dtype=object),
        np.array([f"{words[tag % 5]}{tag}" for tag in tags], dtype=object),
        labels.astype(np.int64),
    )


def test_controls_are_plain_regressions_and_the_balanced_ones_the_published_recipe() -> None:
    images, hashtags, labels = leaking_rows()
    train, test = np.arange(180), np.arange(180, 240)
    columns = images, hashtags, labels, train, test
    found = control_predictions(*columns, order=np.arange(240), balanced=True)
    assert (*found, "text-embedding", "text-head", "text-and-post-head") == CONTROLS
    plain = control_predictions(*columns)
    assert list(plain) == ["majority", "median", "text-only", "name-and-text", "text-and-post"]
    assert all(np.array_equal(chances, found[system]) for system, chances in plain.items())

    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4))
    text = vectorizer.fit_transform(hashtags[train]), vectorizer.transform(hashtags[test])
    encoder = OneHotEncoder(handle_unknown="ignore")
    names = encoder.fit_transform(images[train, None]), encoder.transform(images[test, None])
    both = hstack([text[0], names[0]]).tocsr(), hstack([text[1], names[1]]).tocsr()
    for system, (seen, unseen) in (("text-only", text), ("name-and-text", both)):
        for name, weights in ((system, None), (f"{system}-balanced", "balanced")):
            model = LogisticRegression(C=5, max_iter=2000, class_weight=weights).fit(seen, labels[train])
            assert np.array_equal(found[name].argmax(axis=1), model.predict(unseen))
            np.testing.assert_allclose(found[name], model.predict_proba(unseen), atol=1e-12)


def test_majority_predicts_the_most_frequent_class_with_its_frequency() -> None:
    images, hashtags, _ = leaking_rows(n=10)
    labels = np.array([4, 4, 4, 4, 3, 3, 1, 1, 1, 0])
    majority = control_predictions(images, hashtags, labels, np.arange(10), np.arange(2))["majority"]
    assert majority.tolist() == [[0.1, 0.3, 0, 0.2, 0.4]] * 2


def test_median_is_the_best_constant_for_mae() -> None:
    images, hashtags, _ = leaking_rows(n=10)
    for labels in ([4, 4, 4, 4, 3, 3, 3, 1, 1, 0], [4, 4, 3, 0, 0], [0, 0, 2, 2], [1, 1, 1]):
        classes = np.array(labels)
        k = len(labels)
        median = control_predictions(images[:k], hashtags[:k], classes, np.arange(k), np.arange(2))["median"]
        errors = [np.abs(classes - constant).mean() for constant in range(5)]
        assert set(np.unique(median)) == {0, 1}
        assert median.argmax(axis=1).tolist() == [int(np.argmin(errors))] * 2


def embedded_rows(seed: int = 0, n: int = 300, dim: int = 16) -> tuple[npt.NDArray[np.float32], Columns]:
    """Rows of 30 hashtags and 20 images whose score depends on the hashtag's vector and noise."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((30, dim)).astype(np.float32)
    tags, images = rng.integers(0, 30, n), rng.integers(0, 20, n)
    latent = vectors[tags] @ rng.standard_normal(dim) + rng.standard_normal(n)
    labels = np.searchsorted(np.quantile(latent, [0.1, 0.2, 0.4, 0.6]), latent)
    names = np.array([f"{image}.png" for image in images], dtype=object)
    return vectors[tags], (names, tags.astype(object), labels.astype(np.int64))


def test_text_embedding_is_the_strength_that_is_best_out_of_fold() -> None:
    vectors, (images, _, labels) = embedded_rows()
    train, test = np.arange(200), np.arange(200, 300)
    found = text_embedding_predictions(vectors[train], labels[train], images[train], vectors[test], seed=3)

    fold = make_folds(labels[train], images[train], folds=5, seed=3)
    scores = []
    for strength in STRENGTHS:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2000))
        said = np.empty(200, dtype=np.int64)
        for number in range(5):
            learned, held_out = train[fold != number], train[fold == number]
            said[held_out] = model.fit(vectors[learned], labels[learned]).predict(vectors[held_out])
        f1 = f1_score(labels[train], said, average="macro")
        scores.append(f1 + cohen_kappa_score(labels[train], said, weights="quadratic"))
    model.set_params(logisticregression__C=STRENGTHS[int(np.argmax(scores))]).fit(vectors[train], labels[train])
    np.testing.assert_allclose(found, model.predict_proba(vectors[test]), atol=1e-12)
    assert accuracy_score(labels[test], found.argmax(axis=1)) > 0.5
    again = text_embedding_predictions(vectors[train], labels[train], images[train], vectors[test], seed=3)
    assert np.array_equal(found, again)


@pytest.mark.parametrize("groups", [None, np.array(["a.png"] * 6, dtype=object)])
def test_text_embedding_of_few_rows_or_one_class(groups: npt.NDArray[np.object_] | None) -> None:
    vectors, _ = embedded_rows(n=6)
    lonely = np.array([0, 1, 2, 3, 4, 4])  # some folds train without a class, or cannot be made
    for labels in (lonely, np.array([0, 4, 4, 4, 4, 4]), np.array([0, 1, 2, 3, 4, 0])):
        chances = text_embedding_predictions(vectors, labels, groups, vectors[:2], seed=0)
        np.testing.assert_allclose(chances.sum(axis=1), 1)
    one = text_embedding_predictions(vectors, np.full(6, 4), groups, vectors[:2], seed=0)
    assert one.tolist() == [[0, 0, 0, 0, 1]] * 2


def test_names_help_exactly_where_rows_leak() -> None:
    images, hashtags, labels = leaking_rows()
    rows = np.arange(240) % 4 == 0  # images on both sides
    whole = np.array([int(name[:-4]) % 4 == 0 for name in images])  # images on one side
    gains = []
    for test in (rows, whole):
        found = control_predictions(images, hashtags, labels, np.flatnonzero(~test), np.flatnonzero(test))
        accuracy = {name: accuracy_score(labels[test], p.argmax(axis=1)) for name, p in found.items()}
        gains.append(accuracy["name-and-text"] - accuracy["text-only"])
    assert gains[0] > 0.3
    assert gains[1] < 0.15


def test_a_class_that_train_lacks_has_probability_zero() -> None:
    images, hashtags, labels = leaking_rows()
    labels = np.where(labels == 2, 3, labels)
    for probabilities in control_predictions(images, hashtags, labels, np.arange(240), np.arange(5)).values():
        assert probabilities.shape == (5, 5)
        assert probabilities[:, 2].tolist() == [0] * 5
        np.testing.assert_allclose(probabilities.sum(axis=1), 1)


def test_one_class_leaves_nothing_to_learn() -> None:
    images, hashtags, _ = leaking_rows(n=6)
    found = control_predictions(images, hashtags, np.full(6, 4), np.arange(6), np.arange(6), order=np.arange(6))
    assert list(found)[-2:] == ["text-and-post", "text-and-post-ordered"]
    assert all((probabilities == [0, 0, 0, 0, 1]).all() for probabilities in found.values())


def test_text_and_post_predicts_the_median_and_other_controls_the_most_probable_class() -> None:
    chances = np.array([[0.4, 0.15, 0.3, 0.1, 0.05], [0.1, 0.1, 0.1, 0.1, 0.6], [1, 0, 0, 0, 0]])
    assert decide("text-only", chances).tolist() == [0, 4, 0]
    assert decide("text-and-post", chances).tolist() == decide("text-and-post-ordered", chances).tolist() == [1, 4, 0]


def test_labels_of_test_rows_change_nothing() -> None:
    images, hashtags, labels = leaking_rows()
    test = np.flatnonzero([int(name[:-4]) % 4 == 0 for name in images])
    train = np.setdiff1d(np.arange(240), test)
    other = labels.copy()
    other[test] = 4 - labels[test]
    columns = [control_predictions(images, hashtags, given, train, test, groups=images) for given in (labels, other)]
    assert all(np.array_equal(columns[0][system], columns[1][system]) for system in columns[0])
