"""The control text-and-post: what a hashtag's text and the other hashtags of its post tell without an image.

Kernel ridge regression on the characters of the hashtag, on which hashtag it is, and on its place among the hashtags
of the post. No label of another row is a feature, so that the labels of a tested post cannot change its predictions.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from consistency.data.distinct import members_of, number_distinct
from consistency.evaluation.post_texts import Numbers, PostTexts
from consistency.scale import CLASSES, Floats, Ints

LANDMARKS = 2000  # up to this many training rows the kernel is exact, beyond it is Nystroem's approximation
CHUNK = 4096  # rows of the kernel matrix held at once
TEXT_WIDTH, OTHERS_WIDTH = 0.5, 0.2  # cosine distances at which the Gaussian kernels fall to 1/e
FEATURE_WIDTH = 2.0  # squared standard deviations of each feature at which they do
OTHERS_WEIGHT = 8.0  # of similar posts against the text alone
RIDGE = 1.0


def text_and_post_predictions(train: PostTexts, labels: Ints, groups: Numbers | None, test: PostTexts) -> Floats:
    """Train the control and predict the test rows.

    One ridge regression for each class is fitted on the kernel `T (1 + 8 O) (1 + F) / 4 + F`, where `T` is a Gaussian
    kernel of the text plus 1 for the same hashtag, `O` one of the text of the other hashtags of the post, and `F` one
    of the standardised features. Multinomial logistic regression turns the five values into probabilities. It is fitted
    on values for held-out groups, which follow from the fit on all rows: `y_g - (I - H_gg)^-1 (y - f)_g`, with `H` the
    matrix that maps `y` to `f`.

    The kernel is exact up to 2,000 training rows and Nystroem's approximation beyond, with rows at equal distances as
    landmarks, so memory is bounded. Nothing is random.

    Parameters
    ----------
    train, test : PostTexts
        The rows, read together by `PostTexts.of`.
    labels : (n,) int64
        Classes 0 to 4 of the train rows, at least two different ones.
    groups : (n,) or None
        Rows of one group are held out together; None holds out single rows.

    Returns
    -------
    (n_test, 5) float64
        Probabilities.

    References
    ----------
    Williams and Seeger, Using the Nystroem method to speed up kernel machines, NIPS 2000; Hastie, Tibshirani and
    Friedman, The Elements of Statistical Learning, section 7.10, for the held-out values.
    """
    with threadpool_limits(1):  # the same sums in the same order whatever the machine
        kernel = _Kernel.of(train)
        mean = np.bincount(labels, minlength=CLASSES) / len(labels)
        targets = np.eye(CLASSES)[labels] - mean
        parts = list(_whole_groups(np.arange(len(train)) if groups is None else groups))
        # A single part is mapped once. Several are mapped again in each pass, so that only one is in memory.
        kept = [kernel.map(train.take(np.concatenate(part))) for part in parts[:1] if len(parts) == 1]

        def mapped_parts() -> Iterator[tuple[list[Ints], Floats]]:
            maps = kept or (kernel.map(train.take(np.concatenate(part))) for part in parts)
            return zip(parts, maps, strict=True)

        gram, moment = RIDGE * np.eye(len(kernel.landmarks)), np.zeros((len(kernel.landmarks), CLASSES))
        for part, mapped in mapped_parts():
            gram += mapped.T @ mapped
            moment += mapped.T @ targets[np.concatenate(part)]
        factor = cholesky(gram, lower=True)
        weights = cho_solve((factor, True), moment)
        held_out = np.empty_like(targets)
        for part, mapped in mapped_parts():
            errors = targets[np.concatenate(part)] - mapped @ weights
            leverage = solve_triangular(factor, mapped.T, lower=True).T  # H is leverage @ leverage.T
            end = 0
            for group in part:
                own = slice(end, end := end + len(group))
                held_out[group] = targets[group] - _without(leverage[own], errors[own])
        calibration = LogisticRegression(C=10.0, max_iter=2000).fit(held_out, labels)
        probabilities = np.zeros((len(test), CLASSES))
        for rows in _chunks(len(test)):
            values = kernel.map(test.take(rows)) @ weights
            probabilities[np.ix_(rows, calibration.classes_)] = calibration.predict_proba(values)
    return probabilities


@dataclass(frozen=True, eq=False)
class _Kernel:
    """A kernel in the coordinates of its landmarks: the products of mapped rows are the kernel's values."""

    landmarks: PostTexts
    others: csr_matrix | None
    center: Floats
    spread: Floats
    factor: Floats  # lower Cholesky factor of the kernel of the landmarks

    @classmethod
    def of(cls, train: PostTexts) -> "_Kernel":
        center, spread = train.features.mean(axis=0), train.features.std(axis=0)
        spread = np.where(spread > 1e-9, spread, 1.0)
        n = min(LANDMARKS, len(train))
        landmarks = train.take(np.arange(n) * len(train) // n)
        bare = cls(landmarks, None if landmarks.post is None else landmarks.others(), center, spread, np.eye(0))
        values = bare.values(landmarks)
        values[np.diag_indices(n)] += 1e-6  # equal rows would make it singular
        return replace(bare, factor=cholesky(values, lower=True))

    def values(self, rows: PostTexts) -> Floats:
        """(n, landmarks) values of the kernel."""
        other = self.landmarks
        text = np.exp(((rows.text @ other.text.T).toarray() - 1) / TEXT_WIDTH)
        text += rows.tags[:, None] == other.tags
        if self.others is not None:
            alike = np.exp(((rows.others() @ self.others.T).toarray() - 1) / OTHERS_WIDTH)
            text *= (1 + OTHERS_WEIGHT * alike) / 2
        if not rows.features.shape[1]:
            return text
        own, others = ((part.features - self.center) / self.spread for part in (rows, other))
        squared = (own**2).sum(axis=1)[:, None] + (others**2).sum(axis=1) - 2 * own @ others.T
        place = np.exp(-np.maximum(squared, 0) / (FEATURE_WIDTH * own.shape[1]))
        return text * (1 + place) / 2 + place

    def map(self, rows: PostTexts) -> Floats:
        """(n, landmarks) coordinates of rows."""
        return solve_triangular(self.factor, self.values(rows).T, lower=True).T


def _without(leverage: Floats, errors: Floats) -> Floats:
    """Errors (m, 5) of the rows of a group if the model had not learned from them; leverage: (m, landmarks)."""
    if len(leverage) <= leverage.shape[1]:
        return np.asarray(np.linalg.solve(np.eye(len(leverage)) - leverage @ leverage.T, errors), dtype=np.float64)
    inner = np.eye(leverage.shape[1]) - leverage.T @ leverage
    return errors + leverage @ np.linalg.solve(inner, leverage.T @ errors)


def _chunks(n: int) -> Iterator[Ints]:
    for start in range(0, n, CHUNK):
        yield np.arange(start, min(start + CHUNK, n))


def _whole_groups(groups: Numbers) -> Iterator[list[Ints]]:
    """Yield the rows of whole groups, about CHUNK rows at a time."""
    pending: list[Ints] = []
    count = 0
    for members in members_of(number_distinct(groups.tolist())[1]):
        pending.append(members)
        count += len(members)
        if count >= CHUNK:
            yield pending
            pending, count = [], 0
    if pending:
        yield pending
