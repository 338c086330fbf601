"""Controls: predictions that never use an image, which a system must beat before its metrics mean anything."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from threadpoolctl import threadpool_limits

from consistency.data.folds import make_folds
from consistency.evaluation.post_texts import PostTexts
from consistency.evaluation.systems import BALANCED, IN_ORDER, NAME_AND_TEXT, TEXT_AND_POST, TEXT_ONLY
from consistency.evaluation.text_and_post import text_and_post_predictions
from consistency.scale import CLASSES, Floats, Ints, Objects, confusion, merit

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)  # scikit-learn's C: smaller values regularise more
TEXT_STRENGTH = 5.0  # scikit-learn's C in the published regressions on text
FOLDS = 5


def decide(system: str, probabilities: Floats) -> Ints:
    """Return the classes, (n,) int64 from 0 to 4, that a control predicts from probabilities (n, 5).

    text-and-post predicts the median of its probabilities, which has a better QWK and macro-F1 than the most probable
    class, which the others predict.
    """
    if system in (TEXT_AND_POST, IN_ORDER):
        return (np.cumsum(probabilities[:, :-1], axis=1) < 0.5).sum(axis=1)
    return probabilities.argmax(axis=1)


def control_predictions(
    images: Objects,
    hashtags: Objects,
    labels: Ints,
    train: Ints,
    test: Ints,
    *,
    posts: Objects | None = None,
    groups: Objects | None = None,
    order: Ints | None = None,
    balanced: bool = False,
) -> dict[str, Floats]:
    """Train the controls that need no backbone on the train rows, and predict the test rows.

    - majority: the relative frequencies of the classes in train, so that it predicts the most frequent class. This is
      the best constant prediction for accuracy.
    - median: the median class of train (the lower of two) with certainty. This is the best constant for MAE.
    - text-only: logistic regression on character 1- to 4-grams of the raw hashtag.
    - name-and-text: the same features and the one-hot file name of the image. Under a split by rows this is pure
      leakage.
    - text-and-post: kernel ridge regression on the hashtag and the other hashtags of its post (without their labels);
      see `consistency.evaluation.text_and_post`. `decide` says what it predicts.
    - text-and-post-ordered: the same with the position of the hashtag in its post.
    - text-only-balanced, name-and-text-balanced: these two with balanced class weights, as in the published table. The
      systems train without class weights, which would cost a control accuracy and MAE, so these are not a fair
      comparison.

    Parameters
    ----------
    images, hashtags : (n,) object str
        File names and raw hashtags of a table.
    labels : (n,) int64
        Classes 0 to 4; those of test rows are not read.
    train, test : (n_train,) and (n_test,) int64
        The rows to learn from and the rows to predict. The posts consist of both.
    posts : (n,) object, optional
        Equal for rows of one post; by default a post is the rows of one file name.
    groups : (n,) object, optional
        Rows of one group are held out together when text-and-post is calibrated; single rows by default.
    order : (n,) int64, optional
        Numbers that ascend in the order in which a post has its hashtags; adds text-and-post-ordered.
    balanced : bool, default False
        Whether to add the balanced controls.

    Returns
    -------
    dict
        Probabilities (n_test, 5) float64 by system.
    """
    learned, n = labels[train], len(test)
    frequencies = np.bincount(learned, minlength=CLASSES) / len(train)
    median = np.eye(CLASSES)[np.sort(learned)[(len(train) - 1) // 2]]
    answers = {"majority": np.tile(frequencies, (n, 1)), "median": np.tile(median, (n, 1))}
    weights = {"": None} | ({BALANCED: "balanced"} if balanced else {})
    orders = {TEXT_AND_POST: None} | ({} if order is None else {IN_ORDER: order})
    if np.count_nonzero(frequencies) < 2:  # a regression needs two classes
        names = [f"{name}{ending}" for ending in weights for name in (TEXT_ONLY, NAME_AND_TEXT)]
        return answers | {name: answers["majority"].copy() for name in (*names, *orders)}
    text = _text_features()
    name = OneHotEncoder(handle_unknown="ignore")
    train_text, test_text = text.fit_transform(hashtags[train]), text.transform(hashtags[test])
    train_name, test_name = name.fit_transform(images[train, None]), name.transform(images[test, None])
    both = hstack([train_text, train_name]).tocsr(), hstack([test_text, test_name]).tocsr()
    for ending, class_weight in weights.items():
        for system, (seen, unseen) in ((TEXT_ONLY, (train_text, test_text)), (NAME_AND_TEXT, both)):
            answers[system + ending] = _answer(_regression(TEXT_STRENGTH, class_weight), seen, learned, unseen)
    rows = np.concatenate([train, test])
    for system, numbers in orders.items():
        texts = PostTexts.of(
            hashtags[rows], (images if posts is None else posts)[rows], order=None if numbers is None else numbers[rows]
        )
        sides = texts.take(np.arange(len(train))), texts.take(np.arange(len(train), len(rows)))
        held_out = None if groups is None else groups[train]
        answers[system] = text_and_post_predictions(sides[0], learned, held_out, sides[1])
    return answers


def fit_text_only(hashtags: Objects, labels: Ints) -> Callable[[Objects], Floats]:
    """Train the control text-only alone, as `control_predictions` does.

    Parameters
    ----------
    hashtags : (n,) object str
        Raw hashtags.
    labels : (n,) int64
        Classes 0 to 4.

    Returns
    -------
    callable
        Maps m raw hashtags, (m,) object str, to probabilities (m, 5) float64.
    """
    if len(np.unique(labels)) < 2:
        frequencies = np.bincount(labels, minlength=CLASSES) / len(labels)
        return lambda asked: np.tile(frequencies, (len(asked), 1))
    text, model = _text_features(), _regression(TEXT_STRENGTH)
    with threadpool_limits(1):
        model.fit(text.fit_transform(hashtags), labels)

    def answer(asked: Objects) -> Floats:
        probabilities = np.zeros((len(asked), CLASSES))
        probabilities[:, model.classes_] = model.predict_proba(text.transform(asked))
        return probabilities

    return answer


def text_embedding_predictions(
    train: npt.NDArray[np.float32],
    labels: Ints,
    groups: Objects | None,
    test: npt.NDArray[np.float32],
    *,
    seed: int,
) -> Floats:
    """Train the control text-embedding and predict the test rows: what the backbone knows of the hashtag alone.

    It is logistic regression on the standardised embeddings of the hashtags, with the one of STRENGTHS that has the
    highest out-of-fold merit in FOLDS folds of the train rows.

    Parameters
    ----------
    train, test : (n, d) and (n_test, d) float32
        Embeddings of the hashtags.
    labels : (n,) int64
        Classes 0 to 4 of the train rows.
    groups : (n,) object or None
        Rows of one group stay in one fold; None divides single rows.
    seed : int
        Random seed of the folds.

    Returns
    -------
    (n_test, 5) float64
        Probabilities.
    """
    if len(np.unique(labels)) < 2:
        return np.tile(np.bincount(labels, minlength=CLASSES) / len(labels), (len(test), 1))
    best = max(STRENGTHS, key=_out_of_fold_merit(train, labels, groups, seed).__getitem__)
    return _answer(_standardised(best), train, labels, test)


def _out_of_fold_merit(
    train: npt.NDArray[np.float32], labels: Ints, groups: Objects | None, seed: int
) -> dict[float, float]:
    """Return the merit of each strength; 0 for all if there are too few rows for folds."""
    possible = int(np.bincount(labels).max()) if groups is None else len(set(groups))
    folds = min(FOLDS, possible)
    fold = make_folds(labels, groups, folds=folds, seed=seed) if folds > 1 else np.zeros(len(labels), dtype=np.int64)
    several = {number: np.unique(labels[fold != number]).size > 1 for number in range(folds)}
    if not all(several.values()):
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


def _text_features() -> Any:
    return TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4))


def _regression(strength: float, class_weight: str | None = None) -> Any:
    return LogisticRegression(C=strength, max_iter=2000, class_weight=class_weight)


def _standardised(strength: float) -> Any:
    return make_pipeline(StandardScaler(), _regression(strength))


def _answer(model: Any, train: Any, labels: Ints, test: Any) -> Floats:
    """Probabilities (n_test, 5) of `model` after learning; train, test: (n, features), sparse or not."""
    with threadpool_limits(1):  # thousands of tiny products: on a busy machine more threads were 15x slower
        model.fit(train, labels)
    probabilities = np.zeros((test.shape[0], CLASSES))
    probabilities[:, model.classes_] = model.predict_proba(test)
    return probabilities
