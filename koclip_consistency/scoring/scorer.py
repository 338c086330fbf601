"""The warm scorer: one loaded model that answers any number of questions, about one image or a whole table."""

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from consistency.backbone.embeddings import PairEmbeddings
from consistency.data.hashtags import hashtag_fault, identities
from consistency.data.inputs import Inputs
from consistency.data.pairs import Skipped
from consistency.errors import ImageError, InputError
from consistency.options import ImageLimits, Source
from embedcache.extract import NOT_FINITE
from embedcache.store import valid_rows
from heads.familiarity import Familiarity
from heads.post import with_context
from koclip_consistency.keywords import record_of
from koclip_consistency.scoring.encoder import WarmEncoder
from koclip_consistency.scoring.images import ImageInput, read_image, unusable
from koclip_consistency.scoring.scored import ANSWER, WHY_NOT, Scored, scored_frame

if TYPE_CHECKING:
    import pandas as pd

Rows = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
# Predicted scores (n,), what ranks them (n,), and probabilities (n, 5) or None, of n pairs.
Judgement = tuple[Rows, Floats, Floats | None]
# Rows of a table that can be answered, their embeddings, and the rows that cannot.
EncodedTable = tuple[Rows, PairEmbeddings, tuple[Skipped, ...]]


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
    reads_post : bool
        Whether pairs need the context of their post.

    Examples
    --------
    >>> import koclip_consistency as kc
    >>> scorer = kc.load("runs/heads")
    >>> scores = scorer.score("image/demo_001.png", ["#바다", "카페"])
    >>> scores.columns.tolist()
    ['hashtag', 'predicted', 'expected_score', 'similarity', 'p1', 'p2', 'p3', 'p4', 'p5', 'familiar', 'why_not']
    """

    def __init__(
        self,
        system: str,
        judge: Callable[[PairEmbeddings], Judgement],
        encoder: WarmEncoder,
        encode_table: Callable[[Inputs, Source], EncodedTable],
        familiarity: Familiarity | None = None,
        *,
        reads_post: bool = False,
    ) -> None:
        self.system = system
        self.reads_post = reads_post
        self._judge, self._encoder, self._encode_table = judge, encoder, encode_table
        self._familiarity = familiarity
        self._lock = threading.Lock()

    def answer(self, image: ImageInput, hashtags: Sequence[str], limits: ImageLimits | None = None) -> Scored:
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
        pairs = PairEmbeddings(image_vector, vectors[rows], 0 * index, index)
        return self._judged(
            rows, pairs, skipped, np.full(len(rows), given.name, object), [hashtags[row] for row in rows.tolist()]
        )

    def answer_table(self, inputs: Inputs, source: Source) -> Scored:
        """Score every row of a table that can be encoded, through the embedding cache where the system uses one."""
        with self._lock:
            rows, pairs, skipped = self._encode_table(inputs, source)
        return self._judged(rows, pairs, skipped, inputs.posts[rows], inputs.table.hashtags[rows])

    def score(self, image: ImageInput, hashtags: Sequence[str], limits: ImageLimits | None = None) -> "pd.DataFrame":
        """Score one image with some hashtags.

        Parameters
        ----------
        image : path, bytes, PIL.Image.Image or uint8 array of shape (height, width, 3) or (height, width)
        hashtags : sequence of str
            At least one.
        limits : ImageLimits, optional
            Which images are refused; the default limits if None.

        Returns
        -------
        DataFrame
            One row for each hashtag, in their order: hashtag, predicted (the score, 1 to 5), expected_score (1 to 5),
            similarity (cosine, -1 to 1), p1 to p5 (the probability of each score), familiar, and why_not (why there
            is no answer). expected_score and p1 to p5 are NaN for systems of `similarity`, familiar is NA for runs
            without a record of their hashtags.

        Raises
        ------
        InputError
            If the image or a hashtag cannot be used.
        """
        hashtags = list(hashtags)
        answers = self.answer(image, hashtags, limits)
        frame = scored_frame(answers, len(hashtags), reasons_by_row(answers.skipped))
        frame.insert(0, "hashtag", hashtags)
        return frame

    def score_frame(
        self,
        frame: "pd.DataFrame",
        images: "str | os.PathLike[str] | None" = None,
        *,
        prefix: str = "",
        **options: Any,
    ) -> "pd.DataFrame":
        """Score every row of a table of images and hashtags.

        Parameters
        ----------
        frame : DataFrame
            n rows with any columns.
        images : path, optional
            Folder of the images, below which the table names them; the command line's default if None.
        prefix : str
            Put before the name of each new column, where the table has columns of those names already.
        **options
            Options of the command line about the data: `image_column`, `hashtag_column` and the images' limits.

        Returns
        -------
        DataFrame
            The caller's columns, rows and index, and the columns that `score` adds to a hashtag.

        Raises
        ------
        InputError
            If the table lacks a column, or has a column of a new name already.

        Examples
        --------
        >>> import pandas as pd
        >>> import koclip_consistency as kc
        >>> frame = pd.DataFrame({"Image Filename": ["demo_001.png", "lost.png"], "Hashtag": ["바다", "바다"]})
        >>> scored = kc.load("runs/heads").score_frame(frame, images="image")
        >>> scored["predicted"].isna().tolist()
        [False, True]
        >>> scored["why_not"].str.startswith("not found").tolist()
        [None, True]
        """
        import pandas as pd

        from koclip_consistency.scoring.frames import frame_inputs

        new = [f"{prefix}{name}" for name in (*ANSWER, WHY_NOT)]
        if there := [name for name in new if name in frame.columns]:
            raise InputError(f"the table already has the column {there[0]!r}: give a prefix, such as prefix='model_'")
        source = record_of(Source, {"images": images, "on_error": "allow", **options})
        inputs = frame_inputs(frame, source)
        found, reasons = None, reasons_by_row(inputs.skipped)
        if len(inputs.table):
            answers = self.answer_table(inputs, source)
            reasons |= reasons_by_row(answers.skipped)
            found = replace(answers, rows=inputs.table.rows[answers.rows] - 1)
        scored = scored_frame(found, len(frame), reasons)
        return pd.concat([frame, scored.set_axis(new, axis=1).set_axis(frame.index, axis=0)], axis=1)

    def _judged(
        self,
        rows: Rows,
        pairs: PairEmbeddings,
        skipped: tuple[Skipped, ...],
        posts: npt.NDArray[np.object_],
        hashtags: Iterable[str],
    ) -> Scored:
        if self.reads_post:
            pairs = with_context(pairs, posts, identities(hashtags))
        predicted, values, probabilities = self._judge(pairs)
        familiar = None
        if self._familiarity is not None:
            familiar = self._familiarity.familiar(pairs.hashtags)[pairs.hashtag_index]
        return Scored(rows, predicted, values, probabilities, pairs.cosine(), familiar, skipped)


def reasons_by_row(skipped: Sequence[Skipped]) -> dict[int, str]:
    """Why rows have no answer, by their index."""
    return {each.row - 1: each.reason for each in skipped if each.row is not None}
