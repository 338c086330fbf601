"""Embeddings of a pair table for notebooks, from the same cache as the command line."""

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from consistency.backbone.embeddings import PairEmbeddings
from consistency.errors import InputError
from consistency.options import Encoding
from consistency.progress import Progress, silent
from koclip_consistency.keywords import record_of
from koclip_consistency.python.pairs import Pairs, skipped_frame
from koclip_consistency.workflows.encode import Encoded, encode_pairs, with_posts


@dataclass(frozen=True, eq=False, repr=False)
class Embeddings:
    """Embeddings of the n rows of a pair table; `emb[rows]` gives those of some rows.

    Attributes
    ----------
    encoded : Encoded
        What the commands work with.
    backbone : str
        The backbone, as it was named.

    Examples
    --------
    >>> import koclip_consistency as kc
    >>> pairs = kc.read_pairs("pairs.csv", images="image")
    >>> emb = kc.embed(pairs, backbone="tiny")
    >>> emb[[0, 1, 2]].cosine().shape
    (3,)
    """

    encoded: Encoded
    backbone: str

    def __len__(self) -> int:
        return len(self.encoded.position)

    def __repr__(self) -> str:
        return f"<Embeddings: {len(self)} rows, {self.dim} numbers each, of {self.backbone}; {self.encoded.note}>"

    def __getitem__(self, rows: Any) -> PairEmbeddings:
        """The pairs of `rows`: indices, a mask (n,) or a slice. Raises InputError where one has no embedding."""
        chosen = np.atleast_1d(np.arange(len(self))[rows])
        if missing := int((self.encoded.position[chosen] < 0).sum()):
            raise InputError(
                f"{missing} of {len(chosen)} rows have no embedding, since their image cannot be used (see .skipped): "
                "take .usable(rows)"
            )
        return self.encoded.at(chosen)

    @property
    def dim(self) -> int:
        """Numbers in a vector."""
        return self.encoded.pairs.dim

    @property
    def fingerprint(self) -> str:
        """Identity of the embeddings in hexadecimal: model, revision, preprocessing, precision and libraries."""
        return self.encoded.fingerprint

    @property
    def skipped(self) -> pd.DataFrame:
        """The rows that cannot be used: row (from 1), image, hashtag and reason."""
        return skipped_frame(self.encoded.skipped)

    def usable(self, rows: npt.ArrayLike | None = None) -> npt.NDArray[np.int64]:
        """Those of `rows` (m,) that have embeddings; of all rows if None."""
        chosen = np.arange(len(self)) if rows is None else np.arange(len(self))[np.asarray(rows)]
        return self.encoded.usable(chosen)


def embed(
    pairs: Pairs,
    *,
    backbone: str | os.PathLike[str] | None = None,
    cache: str | os.PathLike[str] | None = None,
    posts: bool = False,
    progress: Progress = silent,
    **options: Any,
) -> Embeddings:
    """Encode every distinct image and hashtag that the cache lacks, and give the embeddings of all rows.

    Parameters
    ----------
    pairs : Pairs
        n rows.
    backbone : str or path, optional
        "clip", "koclip", "tiny", the name of a Hugging Face model, or a folder; the command line's default if None.
    cache : path, optional
        Folder of the embeddings; the command line's default if None, so that both share it.
    posts : bool
        Whether each pair also gets the context of its post, which `PostHead` reads.
    progress : Progress
        Shows how far the encoding has come.
    **options
        Other options of the command line about the encoding: `revision`, `decode`, `precision`, `batch_size`,
        `workers`, `store`, `device`, `threads`, `extract`.

    Returns
    -------
    Embeddings
        Rows whose image cannot be used are in its `skipped`.

    Raises
    ------
    BackboneError
        If the model cannot be found or loaded.
    CacheError
        If embeddings are missing and `extract` is False.

    Examples
    --------
    >>> import koclip_consistency as kc
    >>> pairs = kc.read_pairs("pairs.csv", images="image")
    >>> kc.embed(pairs, backbone="tiny").dim
    128
    """
    named = None if backbone is None else os.fspath(backbone)
    encoding = record_of(Encoding, {"backbone": named, "cache": cache, **options})
    encoded = encode_pairs(pairs.inputs, encoding, pairs.source, progress=progress)
    return Embeddings(with_posts(encoded, pairs.inputs) if posts else encoded, encoding.backbone)
