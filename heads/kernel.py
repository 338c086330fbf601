"""Kernel ridge regression on pairs: a kernel of hashtags, of images and of contexts, multiplied."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy.linalg import solve

from consistency.backbone.embeddings import PairEmbeddings
from consistency.scale import CLASSES, Floats, Ints

EXACT = 4096  # rows up to which every row is a landmark; solving takes the cube of their number
LANDMARKS = 2048  # landmarks of more rows
BLOCK = 2048  # rows whose kernel is held at once
STRENGTH = 0.5
HASHTAG_WIDTH, IMAGE_WIDTH, CONTEXT_WIDTH = 2.0, 1.0, 0.15  # factors of squared distances, chosen on development draws
LEAST = 1e-3  # least probability of a class, before they are made to sum to 1


def kernel(a: PairEmbeddings, b: PairEmbeddings, *, sees_image: bool) -> Floats:
    """Compute the kernel of all pairs of `a` with all pairs of `b`, (len(a), len(b)) float64.

    It is Kt (1 + Ki) (1 + Kc) / 2 + Kc of the Gaussian kernels Kt of hashtags, Ki of images and Kc of contexts. Ki is
    0 if images are not to be seen; Kc is left out if no context is read.

    Parameters
    ----------
    a, b : PairEmbeddings
        Pairs of centred vectors of unit norm and a standardised context, (n, c), where c may be 0.
    sees_image : bool
        Whether the images are compared.
    """
    together = _gaussian(a.hashtag_vectors(), b.hashtag_vectors(), HASHTAG_WIDTH)
    if sees_image:
        together *= 1 + _gaussian(a.images[a.image_index], b.images[b.image_index], IMAGE_WIDTH)
    assert a.context is not None
    assert b.context is not None
    if a.context.shape[1]:
        contexts = _gaussian(a.context, b.context, CONTEXT_WIDTH)
        together = together * (0.5 + 0.5 * contexts) + contexts
    return together


def _gaussian(a: npt.NDArray[np.floating], b: npt.NDArray[np.floating], width: float) -> Floats:
    a, b = a.astype(np.float64), b.astype(np.float64)
    squared = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1) - 2 * (a @ b.T)
    return np.exp(-width * np.maximum(squared, 0))


@dataclass(frozen=True, eq=False)
class KernelRidge:
    """Regression of the five class indicators on the kernel to some landmarks.

    Attributes
    ----------
    landmarks : PairEmbeddings
        All training rows, or LANDMARKS of more than EXACT rows.
    weights : (n_landmarks, 5) float64
        Weights of the landmarks.
    frequencies : (5,) float64
        Share of each class in the training rows, to which predictions far from every landmark return.
    sees_image : bool
        Whether images are compared.

    References
    ----------
    Saunders, Gammerman & Vovk, Ridge Regression Learning Algorithm in Dual Variables, ICML 1998. Landmarks: the subset
    of regressors of Poggio & Girosi, Networks for Approximation and Learning, Proceedings of the IEEE 78:1481, 1990.
    """

    landmarks: PairEmbeddings
    weights: Floats
    frequencies: Floats
    sees_image: bool

    @classmethod
    def fit(cls, pairs: PairEmbeddings, labels: Ints, *, sees_image: bool, seed: int) -> Self:
        """Solve for the weights.

        Parameters
        ----------
        pairs : PairEmbeddings
            The n training pairs, as `kernel` takes them.
        labels : (n,) int64
            Classes 0 to 4.
        sees_image : bool
            Whether images are compared.
        seed : int
            Random seed of the landmarks of more than EXACT rows.
        """
        indicators = np.eye(CLASSES)[labels]
        frequencies = indicators.mean(axis=0)
        targets = indicators - frequencies
        if len(pairs) <= EXACT:
            landmarks = _compact(pairs)
            matrix, right = kernel(landmarks, landmarks, sees_image=sees_image), targets
            matrix[np.diag_indices_from(matrix)] += STRENGTH
        else:
            chosen = np.sort(np.random.default_rng([seed, 2]).choice(len(pairs), LANDMARKS, replace=False))
            landmarks = _compact(pairs.take(chosen))
            matrix = STRENGTH * kernel(landmarks, landmarks, sees_image=sees_image)
            matrix[np.diag_indices_from(matrix)] += 1e-8 * len(pairs)  # two equal landmarks would make it singular
            right = np.zeros((LANDMARKS, CLASSES))
            for rows in _blocks(len(pairs)):
                part = kernel(pairs.take(rows), landmarks, sees_image=sees_image)
                matrix += part.T @ part
                right += part.T @ targets[rows]
        return cls(landmarks, solve(matrix, right, assume_a="pos", overwrite_a=True), frequencies, sees_image)

    def predict_proba(self, pairs: PairEmbeddings) -> Floats:
        """Predict the probabilities of the five classes, (n, 5) float64: the regression, clipped at LEAST."""
        raised = np.empty((len(pairs), CLASSES))
        for rows in _blocks(len(pairs)):
            likeness = kernel(pairs.take(rows), self.landmarks, sees_image=self.sees_image)
            raised[rows] = np.maximum(likeness @ self.weights + self.frequencies, LEAST)
        return raised / raised.sum(axis=1, keepdims=True)


def _blocks(n: int) -> list[Ints]:
    return np.split(np.arange(n), range(BLOCK, n, BLOCK))


def _compact(pairs: PairEmbeddings) -> PairEmbeddings:
    """The same pairs, without the vectors that none of them uses."""
    images, image_index = np.unique(pairs.image_index, return_inverse=True)
    hashtags, hashtag_index = np.unique(pairs.hashtag_index, return_inverse=True)
    return PairEmbeddings(pairs.images[images], pairs.hashtags[hashtags], image_index, hashtag_index, pairs.context)
