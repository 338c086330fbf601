"""Heads that follow scikit-learn's conventions: `Head` on pairs of embeddings or plain arrays, `PostHead` on posts."""

from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from consistency.backbone.embeddings import PairEmbeddings
from consistency.errors import InputError
from consistency.scale import SCORES, Floats, Ints
from heads.config import HeadConfig
from heads.post_head import PostConfig, TrainedPostHead
from heads.train import train_head


@dataclass(eq=False, repr=False)
class Head(ClassifierMixin, BaseEstimator):
    """A head on frozen embeddings that scores pairs of an image and a hashtag from 1 to 5.

    The defaults are the head that the command `heads` trains: the same rows and seed give the same numbers.

    Parameters
    ----------
    features : {"full", "concat", "product", "image", "text", "full+post", "product+post"}
        The features of a pair: both vectors, their product, their absolute difference and their cosine ("full"); both
        vectors ("concat"); their product; or one vector alone. Those with "+post" also read the context of the post,
        and take pairs from `kc.embed(..., posts=True)` only; `PostHead` reads it better.
    hidden : tuple of int
        Widths of the hidden layers, at most two; () is a linear head.
    dropout : float
        Share of hidden units that are dropped in training, from 0 to below 1.
    loss : {"cross-entropy", "sord", "emd", "corn", "cumulative-link", "regression"}
        The loss; `heads.losses` gives the source of each.
    class_weights : {"none", "balanced"}
        Whether rare scores weigh more in the loss.
    standardise : bool
        Whether features are centred and scaled by their mean and standard deviation over the training rows.
    optimizer : {"adamw", "adam", "ridge"}
        "ridge" solves a linear head in closed form with `weight_decay` as its strength.
    lr : float
        Learning rate.
    weight_decay : float
        Strength of the weight decay.
    schedule : {"cosine", "step", "constant"}
        How the learning rate falls.
    batch_size : int
        Pairs in a batch.
    epochs : int
        Passes over the training rows.
    patience : int, optional
        Used by the command line's recipes. It has no effect in `fit`, which has no validation rows.
    seed : int
        Random seed of the initial weights, the batches and the dropout. On one machine the same seed gives the same
        head, bit for bit.

    Attributes
    ----------
    classes_ : (5,) int64
        The scores 1 to 5, even if some of them do not occur in the training rows.
    n_features_in_ : int
        Number of columns of the training pairs as an array: 2 d, or d if the head reads one vector alone.
    trained_ : TrainedHead
        The trained head; its `save` writes the files of a run folder.
    history_ : list of dict
        Epoch, learning rate and training loss of every epoch.

    Notes
    -----
    Pairs are `PairEmbeddings` (n pairs of d-dimensional vectors), as returned by `kc.embed(...)[rows]`, or an array of
    shape (n, 2 d) that holds the image's vector, then the hashtag's. A head that reads one vector alone takes only that
    vector, (n, d). Unusable parameters and labels raise `consistency.errors.InputError`; arrays of the wrong shape or
    type raise scikit-learn's ValueError.

    Examples
    --------
    >>> import numpy as np
    >>> import koclip_consistency as kc
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(60, 16)).astype(np.float32)
    >>> y = np.clip(np.rint(3 + 2 * X[:, 0]), 1, 5).astype(int)
    >>> head = kc.Head(hidden=(), epochs=5).fit(X, y)
    >>> head.predict(X).shape, head.predict_proba(X).shape
    ((60,), (60, 5))
    >>> head.get_params()["hidden"]
    ()
    """

    features: str = HeadConfig.features
    hidden: tuple[int, ...] = HeadConfig.hidden
    dropout: float = HeadConfig.dropout
    loss: str = HeadConfig.loss
    class_weights: str = HeadConfig.class_weights
    standardise: bool = HeadConfig.standardise
    optimizer: str = HeadConfig.optimizer
    lr: float = HeadConfig.lr
    weight_decay: float = HeadConfig.weight_decay
    schedule: str = HeadConfig.schedule
    batch_size: int = HeadConfig.batch_size
    epochs: int = HeadConfig.epochs
    patience: int | None = HeadConfig.patience
    seed: int = 42

    @property
    def config(self) -> HeadConfig:
        """The parameters as the configuration of a head.

        Raises
        ------
        InputError
            If a parameter is not usable.
        """
        return HeadConfig(**{field.name: getattr(self, field.name) for field in fields(HeadConfig)})

    def fit(self, X: PairEmbeddings | npt.ArrayLike, y: npt.ArrayLike) -> Self:
        """Train the head from scratch.

        Parameters
        ----------
        X : PairEmbeddings or (n, 2 d) or (n, d) float
            The training pairs.
        y : (n,) int
            Their scores, 1 to 5.

        Returns
        -------
        Head
            The head itself.

        Raises
        ------
        InputError
            If a parameter or a score is not usable.
        DivergenceError
            If the loss becomes infinite or not a number.
        """
        config = self.config
        if isinstance(X, PairEmbeddings):
            pairs, scores = X, column_or_1d(y, warn=True)
            self.n_features_in_ = pairs.dim if self._reads_one else 2 * pairs.dim
        else:
            array, scores = validate_data(self, X, y, dtype=np.float32)
            pairs = self._of_array(array)
        labels = _labels(scores, len(pairs))
        self.classes_ = SCORES.copy()
        self.trained_, self.history_ = train_head(config, pairs, labels, seed=self.seed)
        return self

    def predict(self, X: PairEmbeddings | npt.ArrayLike) -> Ints:
        """Predict the scores of pairs.

        Parameters
        ----------
        X : PairEmbeddings or (n, 2 d) or (n, d) float
            The pairs, as for `fit`.

        Returns
        -------
        (n,) int64
            Scores, 1 to 5.
        """
        check_is_fitted(self)
        return self.trained_.predict(self._pairs(X)).predicted + 1

    def predict_proba(self, X: PairEmbeddings | npt.ArrayLike) -> Floats:
        """Predict the probability of each score.

        Parameters
        ----------
        X : PairEmbeddings or (n, 2 d) or (n, d) float
            The pairs, as for `fit`.

        Returns
        -------
        (n, 5) float64
            Probabilities of the scores 1 to 5.
        """
        check_is_fitted(self)
        return self.trained_.predict_proba(self._pairs(X))

    def expected_score(self, X: PairEmbeddings | npt.ArrayLike) -> Floats:
        """Predict the expected score, the mean of the scores weighted by their probabilities.

        Parameters
        ----------
        X : PairEmbeddings or (n, 2 d) or (n, d) float
            The pairs, as for `fit`.

        Returns
        -------
        (n,) float64
            Expected scores, from 1 to 5.
        """
        check_is_fitted(self)
        return self.trained_.predict(self._pairs(X)).values

    @property
    def _reads_one(self) -> bool:
        return self.features in ("image", "text")

    def _pairs(self, X: PairEmbeddings | npt.ArrayLike) -> PairEmbeddings:
        if isinstance(X, PairEmbeddings):
            return X
        return self._of_array(validate_data(self, X, reset=False, dtype=np.float32))

    def _of_array(self, array: npt.NDArray[np.float32]) -> PairEmbeddings:
        n, width = array.shape
        rows = np.arange(n)
        if self._reads_one:
            other = np.zeros((1, width), np.float32)
            tables = (array, other, rows, 0 * rows) if self.features == "image" else (other, array, 0 * rows, rows)
            return PairEmbeddings(*tables)
        if width % 2:
            raise InputError(
                f"the array has {width} columns, expected an even number: the image's vector, then the hashtag's"
            )
        images, hashtags = (np.ascontiguousarray(half) for half in np.split(array, 2, axis=1))
        return PairEmbeddings(images, hashtags, rows, rows)


@dataclass(eq=False, repr=False)
class PostHead(ClassifierMixin, BaseEstimator):
    """A head that reads the whole post: the image, the hashtag and the other hashtags of the image.

    It is the head that the command `heads --context post` trains: the same rows and seed give the same numbers. Pairs
    whose post has fewer than three other hashtags are answered by a second model that reads the pair alone.

    Parameters
    ----------
    sees_image : bool
        Whether images are seen; without them it is the control `text-and-post-head`.
    ordered : bool
        Whether the position of the hashtag in its post is read. In a table that is sorted by score this is the label.
    seed : int
        Random seed.

    Attributes
    ----------
    classes_ : (5,) int64
        The scores 1 to 5.
    trained_ : TrainedPostHead
        The trained head; its `save` writes the files of a run folder.

    Examples
    --------
    >>> import koclip_consistency as kc
    >>> pairs = kc.read_pairs("pairs.csv", images="image")
    >>> split, emb = kc.make_split(pairs), kc.embed(pairs, backbone="tiny", posts=True)
    >>> head = kc.PostHead().fit(emb[split.train], pairs.scores[split.train])
    >>> head.predict_proba(emb[split.test]).shape[1]
    5
    """

    sees_image: bool = True
    ordered: bool = False
    seed: int = 42

    def fit(self, X: PairEmbeddings, y: npt.ArrayLike) -> Self:
        """Train the head from scratch.

        Parameters
        ----------
        X : PairEmbeddings
            n training pairs with the context of their posts, as `kc.embed(..., posts=True)[rows]` gives them.
        y : (n,) int
            Their scores, 1 to 5.

        Raises
        ------
        InputError
            If the pairs have no context, or a score is not usable.
        """
        labels = _labels(column_or_1d(y, warn=True), len(X))
        self.classes_ = SCORES.copy()
        config = PostConfig(sees_image=self.sees_image, ordered=self.ordered)
        self.trained_ = TrainedPostHead.fit(X, labels, seed=self.seed, config=config)
        return self

    def predict(self, X: PairEmbeddings) -> Ints:
        """Predict the scores of n pairs with a context, (n,) int64, 1 to 5."""
        check_is_fitted(self)
        return self.trained_.predict(X).predicted + 1

    def predict_proba(self, X: PairEmbeddings) -> Floats:
        """Predict the probability of each score for n pairs with a context, (n, 5) float64."""
        check_is_fitted(self)
        return self.trained_.predict_proba(X)

    def expected_score(self, X: PairEmbeddings) -> Floats:
        """Predict the mean score under the probabilities for n pairs with a context, (n,) float64, 1 to 5."""
        return self.predict_proba(X) @ SCORES


def _labels(scores: npt.NDArray[Any], n: int) -> Ints:
    """Scores 1 to 5 as classes 0 to 4."""
    if not n:
        raise InputError("there are no pairs to train on: give at least one")
    if len(scores) != n:
        raise InputError(f"there are {n} pairs and {len(scores)} scores, expected one score for each pair")
    check_classification_targets(scores)
    outside = sorted(set(scores.tolist()) - set(SCORES.tolist()), key=str)
    if outside:
        raise InputError(f"y holds {', '.join(map(repr, outside[:5]))}, expected whole scores from 1 to {SCORES[-1]}")
    return scores.astype(np.int64) - 1
