"""The warm scorer: one loaded model that answers any number of questions, about one image or a whole table."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from consistency.backbone.embeddings import PairEmbeddings
from consistency.data.hashtags import hashtag_fault
from consistency.data.inputs import Inputs
from consistency.data.pairs import Skipped
from consistency.errors import ImageError, InputError
from consistency.options import ImageLimits, Source
from embedcache.extract import NOT_FINITE
from embedcache.store import valid_rows
from heads.familiarity import Familiarity
from koclip_consistency.scoring.encoder import WarmEncoder
from koclip_consistency.scoring.images import ImageInput, read_image, unusable

Rows = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
# Predicted scores (n,), what ranks them (n,), and probabilities (n, 5) or None, of n pairs.
Judgement = tuple[Rows, Floats, Floats | None]
# Rows of a table that can be answered, their embeddings, and the rows that cannot.
EncodedTable = tuple[Rows, PairEmbeddings, tuple[Skipped, ...]]


@dataclass(frozen=True, eq=False)
class Answers:
    """What a scorer says about the rows of a table, or about the hashtags of one image.

    Attributes
    ----------
    rows : (m,) int64
        Indices of the rows or hashtags that have an answer.
    predicted : (m,) int64
        Scores, 1 to 5.
    values : (m,) float64
        What ranks the pairs: the expected score, 1 to 5, or the cosine similarity where only thresholds were trained.
    probabilities : (m, 5) float64 or None
        None where only thresholds were trained.
    similarity : (m,) float64
        Cosine of image and hashtag, -1 to 1.
    familiar : (m,) bool or None
        Whether the hashtag resembles one of the training rows; None where the run has no record of them.
    skipped : tuple of Skipped
        What has no answer, and why; `row` counts from 1.
    """

    rows: Rows
    predicted: Rows
    values: Floats
    probabilities: Floats | None
    similarity: Floats
    familiar: npt.NDArray[np.bool_] | None
    skipped: tuple[Skipped, ...]


class Scorer:
    """A trained system with its model, ready to answer.

    Parameters
    ----------
    system : str
        Name of the system, for example "heads".
    judge : callable
        Scores pairs of embeddings.
    encoder : WarmEncoder
        Gives the vectors of single images and hashtags.
    encode_table : callable
        Gives the embeddings of a pair table.
    familiarity : Familiarity or None
        The training hashtags, where the run recorded them.
    """

    def __init__(
        self,
        system: str,
        judge: Callable[[PairEmbeddings], Judgement],
        encoder: WarmEncoder,
        encode_table: Callable[[Inputs, Source], EncodedTable],
        familiarity: Familiarity | None = None,
    ) -> None:
        self.system = system
        self._judge, self._encoder, self._encode_table = judge, encoder, encode_table
        self._familiarity = familiarity
        self._lock = threading.Lock()

    def answer(self, image: ImageInput, hashtags: Sequence[str], limits: ImageLimits | None = None) -> Answers:
        """Score one image with some hashtags, in the order of the hashtags. Nothing is written to the disk.

        Parameters
        ----------
        image : path, bytes, PIL.Image.Image or uint8 array of shape (height, width, 3) or (height, width)
        hashtags : sequence of str
            At least one.
        limits : ImageLimits, optional
            Which images are refused; the default limits if None.

        Raises
        ------
        InputError
            If the image or a hashtag cannot be used.
        """
        if not hashtags:
            raise InputError("there is no hashtag to score: give at least one")
        for hashtag in hashtags:
            if fault := hashtag_fault(hashtag):
                raise InputError(f"the hashtag {hashtag!r} cannot be scored: {fault}")
        given = read_image(image)
        with self._lock:
            try:
                image_vector = self._encoder.image(given, limits or ImageLimits())
            except ImageError as error:
                raise unusable(given, error) from error
            vectors = self._encoder.hashtags(hashtags)
        good = valid_rows(vectors)
        rows = np.flatnonzero(good)
        skipped = tuple(
            Skipped(row + 1, given.name, hashtags[row], NOT_FINITE) for row in np.flatnonzero(~good).tolist()
        )
        if not len(rows):
            raise InputError(f"{given.name} cannot be scored: {NOT_FINITE}")
        index = np.arange(len(rows))
        return self._judged(rows, PairEmbeddings(image_vector, vectors[rows], 0 * index, index), skipped)

    def answer_table(self, inputs: Inputs, source: Source) -> Answers:
        """Score every row of a table that can be encoded, through the embedding cache where the system uses one."""
        with self._lock:
            rows, pairs, skipped = self._encode_table(inputs, source)
        return self._judged(rows, pairs, skipped)

    def _judged(self, rows: Rows, pairs: PairEmbeddings, skipped: tuple[Skipped, ...]) -> Answers:
        predicted, values, probabilities = self._judge(pairs)
        familiar = None
        if self._familiarity is not None:
            familiar = self._familiarity.familiar(pairs.hashtags)[pairs.hashtag_index]
        return Answers(rows, predicted, values, probabilities, pairs.cosine(), familiar, skipped)
