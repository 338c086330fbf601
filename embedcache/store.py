"""The embedding cache of one backbone: what has been appended is never lost, and models are never mixed."""

from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from consistency.backbone.embeddings import PairEmbeddings
from consistency.backbone.text_recipe import TextRecipe, mean_vectors
from consistency.data.distinct import number_distinct
from consistency.errors import CacheError
from embedcache import fingerprint as identity
from embedcache.catalog import (
    check_root,
    list_fields,
    no_cache,
    read_fields,
    refuse_newer,
    write_fields,
)
from embedcache.index import Rows, sort_rows
from embedcache.keys import hashtag_keys
from embedcache.segments import (
    KEY_BYTES,
    Keys,
    Kind,
    Vectors,
    build,
    name_of,
    rows_per_segment,
)
from embedcache.texts import read_texts, write_texts
from embedcache.view import STORES, SegmentView

if TYPE_CHECKING:
    from consistency.data.files import ImageFile
    from consistency.data.pairs import PairTable


class EmbeddingCache(SegmentView):
    """Embeddings of one backbone, in the folder named by their fingerprint; docs/cache-format.md describes it.

    Any number of processes may read, append and compact at the same time.
    """

    @classmethod
    def open(
        cls, root: Path, fields: Mapping[str, str], *, create: bool = True, recipe: TextRecipe | None = None
    ) -> "EmbeddingCache":
        """Open the cache for some fields.

        Parameters
        ----------
        root : Path
            Folder of all caches.
        fields : mapping of str to str
            What affects the embeddings.
        create : bool
            Whether to create the cache if it does not exist.
        recipe : TextRecipe, optional
            As which texts hashtags are stored; by default as they are written.

        Returns
        -------
        EmbeddingCache

        Raises
        ------
        CacheError
            If the cache does not exist and `create` is False; the message tells in what the most similar one differs.
            If a newer version of this program wrote it.
        InputError
            If `root` is a file.
        StorageError
            If the cache cannot be created.
        """
        cache = cls(root / identity.fingerprint(fields), fields, recipe)
        refuse_newer(cache.path)
        if not create:
            if read_fields(cache.path) is None:
                raise CacheError(no_cache(root, fields))
            return cache
        check_root(root)
        cache.storage.create()
        if read_fields(cache.path) != cache.fields:
            write_fields(cache.path, cache.fields)
        return cache

    def vectors(self, kind: Kind, keys: Keys) -> Vectors:
        """Vectors, (n, d) float32, of keys (n, 32) uint8; raises CacheError if any is missing."""
        vectors, rows = self.present(kind, keys)
        if absent := int((rows < 0).sum()):
            damage = f" ({'; '.join(self.quarantined)})" if self.quarantined else ""
            raise CacheError(f"{absent} of {len(keys)} {kind}s are not in {self.path}{damage}; run extract")
        return vectors

    def append(self, kind: Kind, keys: Keys, vectors: Vectors) -> None:
        """Store vectors durably.

        Parameters
        ----------
        kind : {"image", "hashtag"}
            What the vectors are of.
        keys : (n, 32) uint8
            Their keys.
        vectors : (n, d) float32
            The vectors.

        Raises
        ------
        CacheError
            If vectors are not finite, zero or of another dimension; nothing is stored.
        StorageError
            If the disk fails; some rows may be missing, but none is wrong.
        """
        if len(keys) == 0:
            return
        self._check_rows(keys, vectors)
        order = sort_rows(keys)
        step = rows_per_segment(vectors.shape[1], self.dtype)
        for start in range(0, len(order), step):
            part = order[start : start + step]
            self.publish(kind, keys[part], vectors[part])
        self._dim, self._indexes = vectors.shape[1], None  # rebuilt when needed, not after every append

    def publish(self, kind: Kind, keys: Keys, vectors: Vectors) -> Path:
        """Write one segment durably, of keys (n, 32) uint8 that are sorted and distinct; return its path."""
        data = build(kind, self.fingerprint, keys, vectors.astype(self.dtype, copy=False))
        name = name_of(data)
        self.storage.write(name, data)
        self._unused.discard(name)
        return self.storage.place(name)

    def record_texts(self, texts: Iterable[str]) -> None:
        """Record the texts of hashtags durably: the segments hold digests of them only.

        Raises
        ------
        StorageError
            If writing fails.
        """
        write_texts(self.path, texts)

    def texts(self) -> list[str]:
        """The recorded hashtags that have a vector, sorted."""
        texts = np.array(read_texts(self.path), dtype=object)
        return texts[self.hashtags(texts)[1] >= 0].tolist()

    def hashtags(self, hashtags: Iterable[str]) -> tuple[Vectors, Rows]:
        """Gather the vectors of n hashtags that are in the cache, each the mean of its texts' vectors.

        Returns
        -------
        vectors : (p, d) float32
            Vectors of unit norm of the hashtags found.
        rows : (n,) int64
            Row of `vectors` for each hashtag, -1 for those with a missing text.
        """
        texts = [self.recipe.texts(hashtag) for hashtag in hashtags]
        vectors, rows = self.present("hashtag", hashtag_keys(chain.from_iterable(texts)))
        if not texts or len(texts[0]) == 1:
            return vectors, rows
        rows = rows.reshape(len(texts), -1)
        whole = (rows >= 0).all(axis=1)
        means = mean_vectors([vectors[part] for part in rows[whole].T])
        return means, np.where(whole, np.cumsum(whole) - 1, -1)

    def sample(self, kind: Kind, most: int) -> Vectors:
        """Vectors, (n, d) float32, of at most `most` keys: a random choice, but the same one for the same keys.

        Texts that were made of hashtags by a recipe are left out if the cache records its hashtags.
        """
        index = self.sound_index(kind)
        keys = index.keys
        if kind == "hashtag" and (recorded := read_texts(self.path)):
            rows = index.find(hashtag_keys(recorded))
            keys = keys[np.unique(rows[rows >= 0])]
        chosen = np.linspace(0, len(keys) - 1, min(len(keys), most)).astype(np.int64)
        return self.present(kind, keys[chosen])[0]  # digests in their order are in random order

    def features(
        self, table: "PairTable", files: "Mapping[str, ImageFile]"
    ) -> tuple[PairEmbeddings, npt.NDArray[np.bool_]]:
        """Collect the embeddings of the rows whose image and hashtag are both in the cache.

        Images with the same content share one vector, whatever their names.

        Parameters
        ----------
        table : PairTable
            The n rows.
        files : mapping of str to ImageFile
            Image file by name.

        Returns
        -------
        embeddings : PairEmbeddings
            Of the usable rows, in their order.
        usable : (n,) bool
            Which rows those are.
        """
        digest_of = [files[name].digest or b"" for name in table.images]
        firsts, image_of = number_distinct(digest_of)
        digests = [digest_of[first] for first in firsts]
        with_content = np.array([bool(digest) for digest in digests], bool)
        image_keys = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, KEY_BYTES)
        images, found = self.present("image", image_keys)
        image_rows = np.full(len(digests), -1, np.int64)
        image_rows[with_content] = found
        firsts, hashtag_of = number_distinct(table.hashtags)
        hashtags, hashtag_rows = self.hashtags(table.hashtags[firsts])
        usable = (image_rows[image_of] >= 0) & (hashtag_rows[hashtag_of] >= 0)
        dim = images.shape[1] or hashtags.shape[1]
        return PairEmbeddings(
            images.reshape(len(images), dim),
            hashtags.reshape(len(hashtags), dim),
            image_rows[image_of[usable]],
            hashtag_rows[hashtag_of[usable]],
        ), usable

    def _check_rows(self, keys: Keys, vectors: Vectors) -> None:
        if vectors.ndim != 2 or len(vectors) != len(keys) or vectors.shape[1] != (self.dim or vectors.shape[1]):
            raise CacheError(
                f"vectors {vectors.shape} for {len(keys)} keys, expected ({len(keys)}, {self.dim or 'd'}): "
                "the model does not fit this cache"
            )
        with np.errstate(over="ignore"):
            kept = vectors.astype(self.dtype, copy=False)
        if bad := int((~valid_rows(kept)).sum()):
            raise CacheError(f"{bad} of {len(vectors)} vectors are NaN, infinite or zero; nothing was stored")


def list_caches(root: Path) -> list[EmbeddingCache]:
    """All caches under `root` that this version can read, sorted by fingerprint."""
    return [EmbeddingCache(path, fields) for path, fields in list_fields(root) if fields.get("store", "fp32") in STORES]


def valid_rows(vectors: Vectors) -> npt.NDArray[np.bool_]:
    """Which vectors, (n, d), are finite and not zero: (n,) bool."""
    return np.isfinite(vectors).all(axis=1) & (vectors != 0).any(axis=1)
