"""A cache that keeps in memory what it cannot store: a full disk or a read-only folder does not stop an answer."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from consistency.backbone.text_recipe import TextRecipe
from consistency.errors import StorageError
from embedcache import fingerprint as identity
from embedcache.index import Rows
from embedcache.segments import KINDS, Keys, Kind, Vectors
from embedcache.store import EmbeddingCache

HELD = 65_536  # vectors of each kind that `forget` leaves: 128 MB of 512 numbers each


class FallbackCache(EmbeddingCache):
    """An embedding cache that need not exist, and whose `append` never fails for lack of storage.

    Parameters
    ----------
    root : Path
        Folder of all caches.
    fields : mapping of str to str
        What affects the embeddings.
    recipe : TextRecipe, optional
        As which texts hashtags are stored; by default as they are written.

    Attributes
    ----------
    unwritten : str or None
        Why vectors are kept in memory; None if all of them are stored.
    """

    def __init__(self, root: Path, fields: Mapping[str, str], recipe: TextRecipe | None = None) -> None:
        super().__init__(root / identity.fingerprint(fields), fields, recipe)
        self.unwritten: str | None = None
        self._held: dict[Kind, dict[bytes, Vectors]] = {kind: {} for kind in KINDS}

    def create(self) -> None:
        """Create the folder of the cache if it does not exist and can be created.

        Raises
        ------
        InputError
            If the folder of all caches is a file.
        """
        try:
            EmbeddingCache.open(self.path.parent, self.fields)
        except StorageError as error:
            self.unwritten = str(error)

    def append(self, kind: Kind, keys: Keys, vectors: Vectors) -> None:
        try:
            super().append(kind, keys, vectors)
        except StorageError as error:
            self.unwritten = str(error)
            kept = vectors.astype(self.dtype, copy=False).astype(np.float32, copy=False)
            self._held[kind].update(zip(map(bytes, keys), kept, strict=True))

    def record_texts(self, texts: Iterable[str]) -> None:
        try:
            super().record_texts(texts)
        except StorageError as error:
            self.unwritten = str(error)

    def forget(self) -> None:
        """Drop the oldest vectors in memory, so that any number of them can be encoded one after another."""
        for held in self._held.values():
            for key in list(held)[:-HELD]:
                del held[key]

    def present(self, kind: Kind, keys: Keys) -> tuple[Vectors, Rows]:
        vectors, rows = super().present(kind, keys)
        held = self._held[kind]
        found = {at: held[key] for at in np.flatnonzero(rows < 0).tolist() if (key := bytes(keys[at])) in held}
        if not found:
            return vectors, rows
        rows[list(found)] = len(vectors) + np.arange(len(found))
        more = np.stack(list(found.values()))
        return np.concatenate([vectors.reshape(-1, more.shape[1]), more]), rows

    def missing(self, kind: Kind, keys: Keys) -> npt.NDArray[np.bool_]:
        held = self._held[kind]
        return super().missing(kind, keys) & np.array([bytes(key) not in held for key in keys], bool)

    def sample(self, kind: Kind, most: int) -> Vectors:
        stored, held = super().sample(kind, most), list(self._held[kind].values())[:most]
        return np.concatenate([stored.reshape(-1, held[0].size), np.stack(held)])[:most] if held else stored

    def listed(self) -> list[Path]:
        return super().listed() if self.path.is_dir() else []
