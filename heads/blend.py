"""Gradient boosting and kernel ridge regression, of which one errs where the other does not: their mean."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from consistency.backbone.embeddings import PairEmbeddings
from consistency.errors import InputError
from consistency.scale import Floats, Ints
from heads.boosting import Boosting
from heads.kernel import KernelRidge
from heads.post import CONTEXT

COMPONENTS = 16  # principal components of images and of hashtags that the trees read
COSINE = "cosine"  # of the pair itself, beside the columns of CONTEXT
Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Axes:
    """Principal axes of unit vectors.

    Attributes
    ----------
    mean : (d,) float64
        Mean of the training rows.
    axes : (d, c) float64
        The directions of largest variance.
    """

    mean: Floats
    axes: Floats

    @classmethod
    def fit(cls, table: Vectors, index: Ints) -> Self:
        """Find the axes of the rows `table[index]`."""
        counts = np.bincount(index, minlength=len(table)) / len(index)
        mean = counts @ table.astype(np.float64)
        centred = table - mean
        _, vectors = np.linalg.eigh((centred * counts[:, None]).T @ centred)
        axes = vectors[:, ::-1][:, :COMPONENTS]
        largest = axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])]
        return cls(mean, axes * np.sign(largest))  # the sign of an axis is arbitrary

    def components(self, table: Vectors) -> Floats:
        """Project vectors, (n, d), on the axes, (n, c)."""
        return (table - self.mean) @ self.axes

    def centred(self, table: Vectors) -> Vectors:
        """Centre vectors, (n, d), and scale them to unit norm again."""
        centred = table - self.mean
        return (centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-9)).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Blend:
    """The mean of two models' probabilities: gradient boosting and kernel ridge regression.

    On development draws the mean is calibrated as it is: the best temperature was 0.95 to 1.07.

    Attributes
    ----------
    context : tuple of str
        What it reads beside the vectors: columns of CONTEXT, and "cosine".
    hashtags : Axes
        Axes of the training hashtags.
    images : Axes or None
        Axes of the training images; None if images are not to be seen.
    centre, spread : (c,) float64
        Mean and standard deviation of the context in training.
    trees : Boosting or None
        None if only one class occurred in training.
    ridge : KernelRidge
    """

    context: tuple[str, ...]
    hashtags: Axes
    images: Axes | None
    centre: Floats
    spread: Floats
    trees: Boosting | None
    ridge: KernelRidge

    @classmethod
    def fit(cls, pairs: PairEmbeddings, labels: Ints, *, context: tuple[str, ...], sees_image: bool, seed: int) -> Self:
        """Train both models on n pairs with labels (n,) int64, 0 to 4."""
        hashtags = Axes.fit(pairs.hashtags, pairs.hashtag_index)
        images = Axes.fit(pairs.images, pairs.image_index) if sees_image else None
        read = _context(pairs, context)
        centre, spread = read.mean(axis=0), read.std(axis=0)
        spread = np.where(spread > 1e-9, spread, 1.0)
        x = _features(pairs, read, hashtags, images)
        centred = _centred(pairs, (read - centre) / spread, hashtags, images)
        return cls(
            context=context,
            hashtags=hashtags,
            images=images,
            centre=centre,
            spread=spread,
            trees=Boosting.fit(x, labels, seed=seed) if len(np.unique(labels)) > 1 else None,
            ridge=KernelRidge.fit(centred, labels, sees_image=sees_image, seed=seed),
        )

    def predict_proba(self, pairs: PairEmbeddings) -> Floats:
        """Predict the probabilities of the five classes, (n, 5) float64."""
        read = _context(pairs, self.context)
        centred = _centred(pairs, (read - self.centre) / self.spread, self.hashtags, self.images)
        of_ridge = self.ridge.predict_proba(centred)
        if self.trees is None:
            return of_ridge
        return (self.trees.predict_proba(_features(pairs, read, self.hashtags, self.images)) + of_ridge) / 2

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return all arrays by name, to be stored."""
        parts: dict[str, Mapping[str, npt.NDArray[Any]]] = {
            "": {"centre": self.centre, "spread": self.spread},
            "hashtags.": vars(self.hashtags),
            "images.": {} if self.images is None else vars(self.images),
            "trees.": {} if self.trees is None else self.trees.arrays(),
            "ridge.": {"weights": self.ridge.weights, "frequencies": self.ridge.frequencies},
            "landmarks.": vars(self.ridge.landmarks),
        }
        return {prefix + name: array for prefix, arrays in parts.items() for name, array in arrays.items()}

    @classmethod
    def of_arrays(cls, context: tuple[str, ...], arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Read what `arrays` returned."""
        sees_image, landmarks = "images.mean" in arrays, PairEmbeddings(**below("landmarks.", arrays))
        return cls(
            context=context,
            hashtags=Axes(**below("hashtags.", arrays)),
            images=Axes(**below("images.", arrays)) if sees_image else None,
            centre=arrays["centre"],
            spread=arrays["spread"],
            trees=Boosting(**below("trees.", arrays)) if "trees.roots" in arrays else None,
            ridge=KernelRidge(landmarks, **below("ridge.", arrays), sees_image=sees_image),
        )


def below(prefix: str, arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _context(pairs: PairEmbeddings, names: tuple[str, ...]) -> Floats:
    columns = []
    for name in names:
        if name == COSINE:
            columns.append(pairs.cosine())
        elif pairs.context is not None:
            columns.append(pairs.context[:, CONTEXT.index(name)])
        else:
            raise InputError("this head reads the whole post, but the pairs have no context: see heads.post")
    return np.column_stack([np.zeros((len(pairs), 0)), *columns])


def _features(pairs: PairEmbeddings, read: Floats, hashtags: Axes, images: Axes | None) -> Floats:
    of_images = [] if images is None else [images.components(pairs.images)[pairs.image_index]]
    return np.hstack([read, *of_images, hashtags.components(pairs.hashtags)[pairs.hashtag_index]])


def _centred(pairs: PairEmbeddings, context: Floats, hashtags: Axes, images: Axes | None) -> PairEmbeddings:
    """The pairs as the kernel takes them."""
    if images is None:
        nothing, none = np.zeros((1, pairs.dim), np.float32), np.zeros(len(pairs), np.int64)
        return PairEmbeddings(nothing, hashtags.centred(pairs.hashtags), none, pairs.hashtag_index, context)
    of_images, of_hashtags = images.centred(pairs.images), hashtags.centred(pairs.hashtags)
    return PairEmbeddings(of_images, of_hashtags, pairs.image_index, pairs.hashtag_index, context)
