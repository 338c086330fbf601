"""The warm scorer: one loaded model that scores any number of images, hashtags and tables."""

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from consistency.backbone.embeddings import PairEmbeddings
from consistency.data.hashtags import hashtag_fault, hashtag_identity, identities
from consistency.data.inputs import Inputs
from consistency.data.pairs import Skipped
from consistency.errors import ImageError, InputError
from consistency.options import ImageLimits, Source
from consistency.scale import Floats, Ints
from embedcache.extract import NOT_FINITE
from embedcache.store import valid_rows
from heads.familiarity import Familiarity
from heads.post import with_context
from koclip_consistency.keywords import record_of
from koclip_consistency.scoring.encoder import WarmEncoder
from koclip_consistency.scoring.images import ImageInput, read_image, unusable
from koclip_consistency.scoring.probe import Probe
from koclip_consistency.scoring.scored import ANSWER, POST_READ, SETS, STANDING, WHY_NOT, Scored, scored_frame
from koclip_consistency.scoring.standing import find_standing

if TYPE_CHECKING:
    import pandas as pd

# Predicted scores (n,), what ranks them (n,), and probabilities (n, 5) or None, of n pairs.
Judgement = tuple[Ints, Floats, Floats | None]
# Rows of a table that can be answered, their embeddings, and the rows that cannot.
EncodedTable = tuple[Ints, PairEmbeddings, tuple[Skipped, ...]]
BLOCK = 4096  # hashtags that are scored at once in a search for the best


class Scorer:
    """A trained system with its model, or a backbone alone, ready to answer.

    Parameters
    ----------
    system : str
        Name of the system, for example "heads".
    judge : callable or None
        Scores pairs of embeddings. None if nothing was trained: there are no scores then, but the cosine and its
        standing among the hashtags of the post and of the cache.
    encoder : WarmEncoder
        Gives the vectors of single images and hashtags.
    encode_table : callable
        Gives the embeddings of a pair table.
    familiarity : Familiarity or None
        The training hashtags, where the run recorded them.
    post_read : callable or None
        For n pairs, whether the judge has read the other hashtags of their post, (n,) bool; None if it reads none.
    sets : callable or None
        Makes prediction sets, (n, 2) int64, from probabilities (n, 5).
    run : Path or None
        The run folder that it was loaded from.

    Attributes
    ----------
    system, run
        As given.
    reads_post : bool
        Whether an answer depends on the other hashtags of the post, so that all rows of a post must be asked together.

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
        judge: Callable[[PairEmbeddings], Judgement] | None,
        encoder: WarmEncoder,
        encode_table: Callable[[Inputs, Source], EncodedTable],
        familiarity: Familiarity | None = None,
        *,
        post_read: Callable[[PairEmbeddings], npt.NDArray[np.bool_]] | None = None,
        sets: Callable[[Floats], Ints] | None = None,
        run: Path | None = None,
    ) -> None:
        self.system, self.run = system, run
        self.reads_post = post_read is not None or judge is None
        self._post_read = post_read
        self._judge, self._encoder, self._encode_table = judge, encoder, encode_table
        self._familiarity, self._sets = familiarity, sets

    @property
    def encoder(self) -> WarmEncoder:
        """What gives the vectors; its lock is to be held around every call."""
        return self._encoder

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of its answers, without `value` and `why_not`."""
        if self._judge is None:
            return (*ANSWER, *STANDING)
        return (*ANSWER, *([POST_READ] if self.reads_post else []), *(SETS if self._sets else ()))

    @property
    def note(self) -> str | None:
        """One line about a cache that cannot be written; None if it can."""
        unwritten = self._encoder.cache.unwritten if self._encoder.cache else None
        return unwritten and f"embeddings are not stored, and computed again next time: {unwritten.partition(';')[0]}"

    def answer(
        self, image: ImageInput, hashtags: Sequence[str], limits: ImageLimits | None = None, *, alone: bool = False
    ) -> Scored:
        """Score one image with some hashtags, in the order of the hashtags. Nothing is written to the disk.

        Parameters
        ----------
        image : path, bytes, PIL.Image.Image or uint8 array of shape (height, width, 3) or (height, width)
        hashtags : sequence of str
            At least one.
        limits : ImageLimits, optional
            Which images are refused; the default limits if None.
        alone : bool
            Whether each hashtag is scored as the only one of its post; otherwise they are one post.

        Raises
        ------
        InputError
            If the image or a hashtag cannot be used.
        """
        _refuse_faulty(hashtags)
        given = read_image(image)
        with self._encoder.lock:
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
        asked = (rows, PairEmbeddings(image_vector, vectors[rows], 0 * index, index), skipped)
        return self._judged(asked, rows if alone else 0 * rows, [hashtags[row] for row in rows.tolist()])

    def load(self) -> None:
        """Load the model now, which the first answer would do otherwise."""
        with self._encoder.lock:
            _ = self._encoder.backbone

    def remember(
        self, images: Sequence[ImageInput], hashtags: Sequence[str], limits: ImageLimits | None = None
    ) -> None:
        """Encode the images and hashtags of several requests at once; `answer` then takes them from memory.

        Images and hashtags that cannot be used are left to `answer`, which says why.
        """
        given = []
        for image in images:
            with suppress(InputError):
                given.append(read_image(image))
        usable = [hashtag for hashtag in dict.fromkeys(hashtags) if not hashtag_fault(hashtag)]
        with self._encoder.lock:
            self._encoder.remember(given, usable, limits or ImageLimits())

    def encode_table(self, inputs: Inputs, source: Source) -> None:
        """Encode a table ahead of `answer_table`, through the embedding cache where the system uses one."""
        with self._encoder.lock:
            self._encode_table(inputs, source)
            self._encoder.forget()

    def answer_table(self, inputs: Inputs, source: Source) -> Scored:
        """Score every row of a table that can be encoded, through the embedding cache where the system uses one."""
        with self._encoder.lock:
            rows, pairs, skipped = self._encode_table(inputs, source)
            self._encoder.forget()
        return self._judged((rows, pairs, skipped), inputs.posts[rows], inputs.table.hashtags[rows])

    def probe(self, image: ImageInput, hashtags: Sequence[str], limits: ImageLimits | None = None) -> Probe:
        """The first of `hashtags` with an image that can be varied, for `explanation.explain`; one post in all.

        Raises
        ------
        InputError
            If the image or a hashtag cannot be used.
        """
        _refuse_faulty(hashtags)
        names = identities(hashtags)
        with self._encoder.lock:
            vectors = self._encoder.hashtags(hashtags)

        def rank_by(pairs: PairEmbeddings) -> Floats:
            if self._judge is None:
                return pairs.cosine()
            if self.reads_post:
                pairs = with_context(pairs, pairs.image_index.astype(object), names[pairs.hashtag_index])
            return self._judge(pairs)[1]

        return Probe(self._encoder, read_image(image), limits or ImageLimits(), vectors, rank_by)

    def suggestions(
        self, image: ImageInput, n: int, words: Sequence[str] | None = None, limits: ImageLimits | None = None
    ) -> tuple[list[str], Scored]:
        """The n hashtags that suit an image best, best first, and their answers; see `suggest` for the parameters."""
        texts = list(dict.fromkeys(self._encoder.texts() if words is None else words))
        if not texts:
            found = "the cache records no hashtags" if words is None else "the word list is empty"
            raise InputError(f"there is nothing to suggest: {found}; name a list with one hashtag a line with --words")
        values = np.concatenate(
            [self._values(image, texts[start : start + BLOCK], limits) for start in range(0, len(texts), BLOCK)]
        )
        best: dict[str, str] = {}  # the best spelling of each hashtag
        for at in np.argsort(-values, kind="stable").tolist():
            best.setdefault(hashtag_identity(texts[at]), texts[at])
            if len(best) == n:
                break
        suggested = list(best.values())
        return suggested, self.answer(image, suggested, limits, alone=self._judge is not None)

    def _values(self, image: ImageInput, hashtags: list[str], limits: ImageLimits | None) -> Floats:
        """What ranks the hashtags, -inf for those that cannot be encoded."""
        answers = self.answer(image, hashtags, limits, alone=True)
        values = np.full(len(hashtags), -np.inf)
        values[answers.rows] = answers.values
        return values

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
            without a record of their hashtags. Without a run, predicted is NA as well, and there are rank, rank_of
            (places among the given hashtags by similarity) and percentile (share in % of the cache's hashtags whose
            similarity to the image is lower). For a head that reads the whole post, which the hashtags are, post_read
            tells whether there were enough of them.

        Raises
        ------
        InputError
            If the image or a hashtag cannot be used.
        """
        hashtags = list(hashtags)
        return self._frame(hashtags, self.answer(image, hashtags, limits))

    def _frame(self, hashtags: list[str], answers: Scored) -> "pd.DataFrame":
        frame = scored_frame(answers, len(hashtags), reasons_by_row(answers.skipped), self.columns)
        frame.insert(0, "hashtag", hashtags)
        return frame

    def suggest(
        self,
        image: ImageInput,
        n: int = 10,
        words: Sequence[str] | None = None,
        limits: ImageLimits | None = None,
    ) -> "pd.DataFrame":
        """Rank hashtags for an image: by expected score, or by cosine where there are no probabilities.

        Parameters
        ----------
        image : path, bytes, PIL.Image.Image or uint8 array of shape (height, width, 3) or (height, width)
        n : int
            Number of hashtags.
        words : sequence of str, optional
            The hashtags to choose from; those of the embedding cache if None.
        limits : ImageLimits, optional
            Which images are refused; the default limits if None.

        Returns
        -------
        DataFrame
            The n best hashtags, best first, with the columns of `score`. Of several spellings of a hashtag the best
            one is listed. A head that reads the post scores each hashtag as the only one of its post.

        Raises
        ------
        InputError
            If the image or a word cannot be used, or there are no words.

        Examples
        --------
        >>> import koclip_consistency as kc
        >>> scorer = kc.load("runs/heads")
        >>> len(scorer.suggest("image/demo_001.png", n=3))
        3
        >>> best = scorer.suggest("image/demo_001.png", n=1, words=["#바다", "바다"])
        >>> best["hashtag"].isin(["#바다", "바다"]).tolist()
        [True]
        """
        return self._frame(*self.suggestions(image, n, words, limits))

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
            Folder, ZIP or tar of the images, in which the table names them; the command line's default if None.
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

        new = [f"{prefix}{name}" for name in (*self.columns, WHY_NOT)]
        if there := [name for name in new if name in frame.columns]:
            raise InputError(f"the table already has the column {there[0]!r}: give a prefix, such as prefix='model_'")
        source = record_of(Source, {"images": images, "on_error": "allow", **options})
        inputs = frame_inputs(frame, source)
        found, reasons = None, reasons_by_row(inputs.skipped)
        if len(inputs.table):
            answers = self.answer_table(inputs, source)
            reasons |= reasons_by_row(answers.skipped)
            found = replace(answers, rows=inputs.table.rows[answers.rows] - 1)
        scored = scored_frame(found, len(frame), reasons, self.columns)
        return pd.concat([frame, scored.set_axis(new, axis=1).set_axis(frame.index, axis=0)], axis=1)

    def _judged(self, asked: EncodedTable, posts: npt.NDArray[Any], hashtags: Iterable[str]) -> Scored:
        rows, pairs, skipped = asked
        similarity = pairs.cosine()
        if self._judge is None:
            standing = find_standing(pairs, posts, hashtags, self._encoder.reference())
            return Scored(rows, None, similarity, None, similarity, None, skipped, standing)
        if self.reads_post:
            pairs = with_context(pairs, posts, identities(hashtags))
        predicted, values, probabilities = self._judge(pairs)
        familiar = None
        if self._familiarity is not None:
            familiar = self._familiarity.familiar(pairs.hashtags)[pairs.hashtag_index]
        post_read = None if self._post_read is None else self._post_read(pairs)
        sets = None if self._sets is None or probabilities is None else self._sets(probabilities)
        return Scored(
            rows, predicted, values, probabilities, similarity, familiar, skipped, post_read=post_read, sets=sets
        )


def _refuse_faulty(hashtags: Sequence[str]) -> None:
    if not hashtags:
        raise InputError("there is no hashtag to score: give at least one")
    for hashtag in hashtags:
        if fault := hashtag_fault(hashtag):
            raise InputError(f"the hashtag {hashtag!r} cannot be scored: {fault}")


def reasons_by_row(skipped: Sequence[Skipped]) -> dict[int, str]:
    """Why rows have no answer, by their index."""
    return {each.row - 1: each.reason for each in skipped if each.row is not None}
