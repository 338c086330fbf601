"""The controls follow their published recipe and see nothing but names and text."""

import numpy as np
import numpy.typing as npt
from scipy.sparse import hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.preprocessing import OneHotEncoder

from consistency.controls import CONTROLS, control_predictions

Columns = tuple[npt.NDArray[np.object_], npt.NDArray[np.object_], npt.NDArray[np.int64]]


def leaking_rows(seed: int = 0, n: int = 240) -> Columns:
    """Scores that depend on the picture and, less, on the hashtag."""
    rng = np.random.default_rng(seed)
    pictures, tags = rng.integers(0, 12, n), rng.integers(0, 30, n)
    words = ["카페", "바다", "#맛집", "여행", "coffee"]
    labels = np.clip((pictures % 5 + (tags % 5 == 0) - (rng.random(n) < 0.1)), 0, 4)
    return (
        np.array([f"{picture}.png" for picture in pictures], dtype=object),
        np.array([f"{words[tag % 5]}{tag}" for tag in tags], dtype=object),
        labels.astype(np.int64),
    )


def test_controls_are_the_published_recipe() -> None:
    images, hashtags, labels = leaking_rows()
    train, test = np.arange(180), np.arange(180, 240)
    found = control_predictions(images[train], hashtags[train], labels[train], images[test], hashtags[test])
    assert tuple(found) == CONTROLS

    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4))
    text = vectorizer.fit_transform(hashtags[train]), vectorizer.transform(hashtags[test])
    encoder = OneHotEncoder(handle_unknown="ignore")
    names = encoder.fit_transform(images[train, None]), encoder.transform(images[test, None])
    both = hstack([text[0], names[0]]).tocsr(), hstack([text[1], names[1]]).tocsr()
    for system, (seen, unseen) in (("text-only", text), ("name-and-text", both)):
        model = LogisticRegression(C=5, max_iter=2000, class_weight="balanced").fit(seen, labels[train])
        assert np.array_equal(found[system].argmax(axis=1), model.predict(unseen))
        np.testing.assert_allclose(found[system], model.predict_proba(unseen), atol=1e-12)


def test_majority_predicts_the_most_frequent_class_with_its_frequency() -> None:
    images, hashtags, _ = leaking_rows(n=10)
    labels = np.array([4, 4, 4, 4, 3, 3, 1, 1, 1, 0])
    majority = control_predictions(images, hashtags, labels, images[:2], hashtags[:2])["majority"]
    assert majority.tolist() == [[0.1, 0.3, 0, 0.2, 0.4]] * 2


def test_names_help_exactly_where_rows_leak() -> None:
    images, hashtags, labels = leaking_rows()
    rows = np.arange(240) % 4 == 0  # pictures on both sides
    whole = np.array([int(name[:-4]) % 4 == 0 for name in images])  # pictures on one side
    gains = []
    for test in (rows, whole):
        train = ~test
        found = control_predictions(images[train], hashtags[train], labels[train], images[test], hashtags[test])
        accuracy = {name: accuracy_score(labels[test], p.argmax(axis=1)) for name, p in found.items()}
        gains.append(accuracy["name-and-text"] - accuracy["text-only"])
    assert gains[0] > 0.3
    assert gains[1] < 0.15


def test_a_class_that_train_lacks_has_probability_zero() -> None:
    images, hashtags, labels = leaking_rows()
    labels = np.where(labels == 2, 3, labels)
    for probabilities in control_predictions(images, hashtags, labels, images[:5], hashtags[:5]).values():
        assert probabilities.shape == (5, 5)
        assert probabilities[:, 2].tolist() == [0] * 5
        np.testing.assert_allclose(probabilities.sum(axis=1), 1)


def test_one_class_leaves_nothing_to_learn() -> None:
    images, hashtags, _ = leaking_rows(n=6)
    found = control_predictions(images, hashtags, np.full(6, 4), images, hashtags)
    assert all((probabilities == [0, 0, 0, 0, 1]).all() for probabilities in found.values())
