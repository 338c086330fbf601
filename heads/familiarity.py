"""Whether a hashtag resembles any hashtag that a model was trained on. The score of an unfamiliar one is a guess."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from consistency.data.hashtags import hashtag_identity
from consistency.durable import check_digest, write_with_digest
from consistency.errors import InputError

Vectors = npt.NDArray[np.float32]

FILE = "familiarity.safetensors"
QUANTILE = 0.05
BLOCK = 1024  # rows of a matrix of cosines, so that memory is bounded for any number of hashtags
SAMPLE = 8192  # training hashtags whose neighbours are searched, so that time is linear in the number of hashtags


@dataclass(frozen=True, eq=False)
class Familiarity:
    """The distinct training hashtags, and the smallest cosine to one of them that makes a hashtag familiar.

    Attributes
    ----------
    hashtags : (m, d) float32
        Vectors of unit norm, one for each distinct spelling among the training hashtags.
    threshold : float
        The 5 % quantile of the cosines between each training hashtag and its nearest other one.
    """

    hashtags: Vectors
    threshold: float

    @classmethod
    def fit(cls, vectors: Vectors, hashtags: Iterable[str]) -> "Familiarity | None":
        """Measure how close the training hashtags are to each other.

        The threshold counts each hashtag once, whatever its spellings, which would look like close neighbours. Every
        spelling is stored, so that all of them are familiar.

        Parameters
        ----------
        vectors : (n, d) float32
            Vectors of unit norm of the training rows' hashtags; repeats are allowed.
        hashtags : iterable of n str
            The hashtags themselves.

        Returns
        -------
        Familiarity or None
            None if there are fewer than two distinct hashtags, because none can be left out then.
        """
        spelled: dict[str, int] = {}
        first: dict[str, int] = {}
        for row, hashtag in enumerate(hashtags):
            if hashtag not in spelled:
                spelled[hashtag] = row
                first.setdefault(hashtag_identity(hashtag), row)
        distinct = vectors[list(first.values())]
        m = len(distinct)
        if m < 2:
            return None
        asked = np.arange(0, m, -(-m // SAMPLE))
        nearest = np.concatenate([_nearest_other(distinct, rows) for rows in _blocks(asked)])
        return cls(vectors[list(spelled.values())], float(np.quantile(nearest, QUANTILE)))

    def nearest(self, vectors: Vectors) -> npt.NDArray[np.float64]:
        """Compute the cosine of each hashtag to its nearest training hashtag.

        Parameters
        ----------
        vectors : (n, d) float32
            Vectors of unit norm.

        Returns
        -------
        (n,) float64
            Cosines, from -1 to 1.
        """
        if not len(vectors):
            return np.empty(0)
        return np.concatenate([(part @ self.hashtags.T).max(axis=1) for part in _blocks(vectors)]).astype(np.float64)

    def familiar(self, vectors: Vectors) -> npt.NDArray[np.bool_]:
        """Tell which hashtags are familiar.

        Parameters
        ----------
        vectors : (n, d) float32
            Vectors of unit norm.

        Returns
        -------
        (n,) bool
            Whether the nearest training hashtag is at least `threshold` close.
        """
        return self.nearest(vectors) >= self.threshold

    def save(self, folder: Path) -> None:
        """Write `familiarity.safetensors` and its digest into a run folder."""
        threshold = np.array([self.threshold], np.float64)
        write_with_digest(folder / FILE, save_arrays({"hashtags": self.hashtags, "threshold": threshold}))


@dataclass(frozen=True)
class Unfamiliar:
    """Of `n` rows that were answered, the `rows` whose hashtag is unfamiliar, and those hashtags."""

    n: int
    rows: int
    hashtags: tuple[str, ...]

    @property
    def note(self) -> str:
        """The same in a line."""
        return f"of {self.n:,} test rows {self.rows:,} have a hashtag that is unlike every hashtag of train"


def keep_familiarity(
    folder: Path, vectors: Vectors, hashtags: Sequence[str], asked: Vectors, asked_hashtags: Sequence[str]
) -> Unfamiliar | None:
    """Record the training hashtags in a run folder, and count the unfamiliar ones among those asked for.

    Parameters
    ----------
    folder : Path
        The run folder.
    vectors, hashtags : (n, d) float32 and n str
        Of the training rows, as for `Familiarity.fit`.
    asked, asked_hashtags : (m, d) float32 and m str
        Of the rows that were answered.

    Returns
    -------
    Unfamiliar or None
        None, and nothing is recorded, if there are fewer than two distinct training hashtags.
    """
    known = Familiarity.fit(vectors, hashtags)
    if known is None:
        return None
    known.save(folder)
    strange = np.flatnonzero(~known.familiar(asked))
    return Unfamiliar(len(asked), len(strange), tuple(sorted({asked_hashtags[row] for row in strange.tolist()})))


def load_familiarity(folder: Path) -> Familiarity | None:
    """Read what `Familiarity.save` wrote into a run folder; None if the run has no such record.

    Raises
    ------
    StorageError
        If the file does not match its digest.
    InputError
        If it holds anything else.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    check_digest(path)
    try:
        arrays = load_arrays(path.read_bytes())
        hashtags, threshold = arrays["hashtags"], float(arrays["threshold"][0])
        if hashtags.ndim != 2 or hashtags.dtype != np.float32 or not len(hashtags):
            raise ValueError(f"its hashtags are {hashtags.shape} {hashtags.dtype}, expected (m, d) float32")
    except (SafetensorError, ValueError, KeyError, IndexError, TypeError) as error:
        raise InputError(
            f"{path} is not a record of training hashtags that this version can read ({error}): run its command again"
        ) from error
    return Familiarity(hashtags, threshold)


def _nearest_other(vectors: Vectors, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    cosine = vectors[rows] @ vectors.T
    cosine[np.arange(len(rows)), rows] = -np.inf
    return cosine.max(axis=1)


def _blocks(rows: npt.NDArray) -> Iterable[npt.NDArray]:
    return (rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK))
