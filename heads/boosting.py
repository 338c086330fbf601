"""Gradient boosting as plain arrays: scikit-learn grows the trees, and nothing but numpy is needed to predict."""

from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from consistency.scale import CLASSES, Floats, Ints

BLOCK = 4096  # rows that pass through all trees at once, so that memory is bounded
ITERATIONS = 100
SETTINGS = {"learning_rate": 0.06, "max_leaf_nodes": 8, "min_samples_leaf": 20, "l2_regularization": 1.0}


@dataclass(frozen=True, eq=False)
class Boosting:
    """Trees whose sums are the logits of the classes.

    Attributes
    ----------
    classes : (k,) int64
        The classes that occurred in training, ascending.
    baseline : (t,) float64
        Logits before the first tree; t is 1 for two classes, else k.
    roots : (n_trees,) int64
        First node of each tree; t trees of one iteration follow each other.
    feature, left, right : (n_nodes,) int64
        The feature that a node compares, and the nodes that follow; a leaf is followed by itself.
    threshold, value : (n_nodes,) float64
        Rows whose feature is at most the threshold go left; what a leaf adds to its logit.

    References
    ----------
    Friedman, Greedy Function Approximation: A Gradient Boosting Machine, Annals of Statistics 29:1189, 2001.
    """

    classes: Ints
    baseline: Floats
    roots: Ints
    feature: Ints
    threshold: Floats
    left: Ints
    right: Ints
    value: Floats

    @classmethod
    def fit(cls, x: Floats, labels: Ints, *, seed: int) -> Self:
        """Grow the trees.

        Parameters
        ----------
        x : (n, n_features) float64
            Finite features.
        labels : (n,) int64
            Classes 0 to 4; at least two of them occur.
        seed : int
            Random seed of the subsample that finds the bins of more than 200,000 rows.

        Returns
        -------
        Boosting
        """
        from sklearn.ensemble import HistGradientBoostingClassifier

        grown = HistGradientBoostingClassifier(
            max_iter=ITERATIONS, early_stopping=False, random_state=seed, **SETTINGS
        ).fit(x, labels)
        trees = [tree.nodes for iteration in grown._predictors for tree in iteration]
        starts = np.cumsum([0, *map(len, trees)])
        nodes, offset = np.concatenate(trees), np.repeat(starts[:-1], np.diff(starts))
        leaf, itself = nodes["is_leaf"].astype(bool), np.arange(len(nodes))
        return cls(
            classes=grown.classes_.astype(np.int64),
            baseline=grown._baseline_prediction.ravel().astype(np.float64),
            roots=starts[:-1].astype(np.int64),
            feature=np.where(leaf, 0, nodes["feature_idx"]).astype(np.int64),
            threshold=np.where(leaf, 0.0, nodes["num_threshold"]),
            left=np.where(leaf, itself, offset + nodes["left"]).astype(np.int64),
            right=np.where(leaf, itself, offset + nodes["right"]).astype(np.int64),
            value=np.where(leaf, nodes["value"], 0.0),
        )

    def predict_proba(self, x: Floats) -> Floats:
        """Predict the probabilities of the five classes, (n, 5) float64, of rows (n, n_features)."""
        probabilities = np.zeros((len(x), CLASSES))
        for start in range(0, len(x), BLOCK):
            probabilities[start : start + BLOCK, self.classes] = softmax(self._logits(x[start : start + BLOCK]), axis=1)
        return probabilities

    def _logits(self, x: Floats) -> Floats:
        node, rows = np.tile(self.roots, (len(x), 1)), np.arange(len(x))[:, None]
        while True:
            follows = np.where(x[rows, self.feature[node]] <= self.threshold[node], self.left[node], self.right[node])
            if np.array_equal(follows, node):
                break
            node = follows
        raw = self.baseline + self.value[node].reshape(len(x), -1, len(self.baseline)).sum(axis=1)
        return raw if len(self.baseline) > 1 else np.hstack([np.zeros_like(raw), raw])  # two classes: a logistic one

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """Return the arrays by name, to be stored."""
        return {field.name: getattr(self, field.name) for field in fields(self)}
