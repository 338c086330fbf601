"""Predictions that never look at a picture: what a system must beat before its number means something."""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import OneHotEncoder
from threadpoolctl import threadpool_limits

CONTROLS = ("majority", "text-only", "name-and-text")
CLASSES = 5


def control_predictions(
    train_images: npt.NDArray[np.object_],
    train_hashtags: npt.NDArray[np.object_],
    train_labels: npt.NDArray[np.int64],
    test_images: npt.NDArray[np.object_],
    test_hashtags: npt.NDArray[np.object_],
) -> dict[str, npt.NDArray[np.float64]]:
    """Probabilities (n_test, 5) float64 of every control in CONTROLS, learned from the train rows.

    majority: the frequencies of the classes in train, so that the most frequent is predicted. text-only:
    logistic regression on the character 1- to 4-grams of the raw hashtag. name-and-text: the same beside the
    picture's file name, one-hot; under a split by rows this is pure leakage. Labels are classes 0..4; images
    are file names.
    """
    frequencies = np.bincount(train_labels, minlength=CLASSES) / len(train_labels)
    majority = np.tile(frequencies, (len(test_images), 1))
    if np.count_nonzero(frequencies) < 2:  # a regression needs two classes to tell apart
        return {name: majority.copy() for name in CONTROLS}
    text = TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4))
    name = OneHotEncoder(handle_unknown="ignore")
    train_text, test_text = text.fit_transform(train_hashtags), text.transform(test_hashtags)
    train_name, test_name = name.fit_transform(train_images[:, None]), name.transform(test_images[:, None])
    return {
        "majority": majority,
        "text-only": _regression(train_text, train_labels, test_text),
        "name-and-text": _regression(
            hstack([train_text, train_name]).tocsr(), train_labels, hstack([test_text, test_name]).tocsr()
        ),
    }


def _regression(train: Any, labels: npt.NDArray[np.int64], test: Any) -> npt.NDArray[np.float64]:
    """train, test: sparse matrices (n, features)."""
    with threadpool_limits(1):  # thousands of tiny products: on a busy machine more threads were 15x slower
        model = LogisticRegression(C=5, max_iter=2000, class_weight="balanced").fit(train, labels)
    probabilities = np.zeros((test.shape[0], CLASSES))
    probabilities[:, model.classes_] = model.predict_proba(test)
    return probabilities
