"""Predictions that never look at an image: what a system must beat before its number means something."""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from threadpoolctl import threadpool_limits

from consistency.data.splits import make_folds
from consistency.scale import CLASSES, Floats, Ints, confusion, merit

TEXT_EMBEDDING = "text-embedding"
CONTROLS = ("majority", "median", "text-only", "name-and-text", TEXT_EMBEDDING)
PEEKED = "-best"  # ends systems whose epoch was picked on the test rows, as published; their weights are not kept
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)  # C of scikit-learn: the smaller, the smoother
FOLDS = 5

Objects = npt.NDArray[np.object_]


def competes(system: str) -> bool:
    """Whether a system takes part in rankings: no control, and nothing that was picked on the rows it answers for."""
    return system not in CONTROLS and not system.endswith(PEEKED)


def control_predictions(
    train_images: Objects, train_hashtags: Objects, train_labels: Ints, test_images: Objects, test_hashtags: Objects
) -> dict[str, Floats]:
    """Probabilities (n_test, 5) float64 of the controls that need no model, learned from the train rows.

    majority: the frequencies of the classes in train, so that the most frequent is predicted; the best constant for
    accuracy. median: certain of the train rows' median class, the lower of two; the best constant for MAE. text-only:
    logistic regression on the character 1- to 4-grams of the raw hashtag. name-and-text: the same beside the image's
    file name, one-hot; under a split by rows this is pure leakage. Labels are classes 0..4; images are file names.
    """
    n = len(test_images)
    frequencies = np.bincount(train_labels, minlength=CLASSES) / len(train_labels)
    median = np.eye(CLASSES)[np.sort(train_labels)[(len(train_labels) - 1) // 2]]
    constants = {"majority": np.tile(frequencies, (n, 1)), "median": np.tile(median, (n, 1))}
    if np.count_nonzero(frequencies) < 2:  # a regression needs two classes to tell apart
        return constants | {name: constants["majority"].copy() for name in ("text-only", "name-and-text")}
    text = TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4))
    name = OneHotEncoder(handle_unknown="ignore")
    train_text, test_text = text.fit_transform(train_hashtags), text.transform(test_hashtags)
    train_name, test_name = name.fit_transform(train_images[:, None]), name.transform(test_images[:, None])
    both = hstack([train_text, train_name]).tocsr(), hstack([test_text, test_name]).tocsr()
    return constants | {
        "text-only": _answer(_regression(5), train_text, train_labels, test_text),
        "name-and-text": _answer(_regression(5), both[0], train_labels, both[1]),
    }


def text_embedding_predictions(
    train: npt.NDArray[np.float32],
    labels: Ints,
    groups: Objects | None,
    test: npt.NDArray[np.float32],
    *,
    seed: int,
) -> Floats:
    """Probabilities (n_test, 5) float64 of the control text-embedding: what the backbone knows of the hashtag alone.

    Logistic regression on the standardised embeddings of the hashtags, train (n, d) and test (n_test, d) float32. Of
    STRENGTHS it takes the one with the highest merit, out of fold, in FOLDS folds of the train rows
    that keep `groups`, (n,) object, together.
    """
    if len(np.unique(labels)) < 2:
        return np.tile(np.bincount(labels, minlength=CLASSES) / len(labels), (len(test), 1))
    best = max(STRENGTHS, key=_out_of_fold_merit(train, labels, groups, seed).__getitem__)
    return _answer(_standardised(best), train, labels, test)


def _out_of_fold_merit(
    train: npt.NDArray[np.float32], labels: Ints, groups: Objects | None, seed: int
) -> dict[float, float]:
    """Merit by strength; the same for all where folds cannot be made of so few rows."""
    possible = int(np.bincount(labels).max()) if groups is None else len(set(groups))
    folds = min(FOLDS, possible)
    fold = make_folds(labels, groups, folds=folds, seed=seed) if folds > 1 else np.zeros(len(labels), dtype=np.int64)
    told = {number: np.unique(labels[fold != number]).size > 1 for number in range(folds)}
    if not all(told.values()):
        return dict.fromkeys(STRENGTHS, 0.0)
    reached = {}
    for strength in STRENGTHS:
        predicted = np.empty(len(labels), dtype=np.int64)
        for number in range(folds):
            held_out = fold == number
            chances = _answer(_standardised(strength), train[~held_out], labels[~held_out], train[held_out])
            predicted[held_out] = chances.argmax(axis=1)
        reached[strength] = float(merit(confusion(labels, predicted)))
    return reached


def _regression(strength: float) -> Any:
    return LogisticRegression(C=strength, max_iter=2000, class_weight="balanced")


def _standardised(strength: float) -> Any:
    return make_pipeline(StandardScaler(), _regression(strength))


def _answer(model: Any, train: Any, labels: Ints, test: Any) -> Floats:
    """Probabilities (n_test, 5) of `model` after learning; train, test: (n, features), sparse or not."""
    with threadpool_limits(1):  # thousands of tiny products: on a busy machine more threads were 15x slower
        model.fit(train, labels)
    probabilities = np.zeros((test.shape[0], CLASSES))
    probabilities[:, model.classes_] = model.predict_proba(test)
    return probabilities
