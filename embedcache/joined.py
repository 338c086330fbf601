"""Fills the cache of several backbones as one from the caches of its members."""

from collections.abc import Mapping, Sequence

import numpy as np

from consistency.backbone.embeddings import side_by_side
from consistency.data.files import ImageFile
from embedcache.keys import hashtag_keys, image_keys
from embedcache.segments import Keys, Kind
from embedcache.store import EmbeddingCache

BLOCK = 65_536  # rows joined at a time


def join(
    cache: EmbeddingCache, members: Sequence[EmbeddingCache], texts: Sequence[str], files: Mapping[str, ImageFile]
) -> None:
    """Store the joined vectors of all images and texts that every member has.

    Parameters
    ----------
    cache : EmbeddingCache
        Cache to fill.
    members : sequence of EmbeddingCache
        Caches of the members, in their order.
    texts : sequence of str
        Distinct texts of hashtags.
    files : mapping of str to ImageFile
        Image file by name.

    Raises
    ------
    StorageError
        If the disk fails.
    """
    readable = [file for file in files.values() if file.digest is not None]
    keys: dict[Kind, Keys] = {"image": image_keys(readable), "hashtag": hashtag_keys(texts)}
    for kind, wanted in keys.items():
        lacking = np.unique(wanted[cache.missing(kind, wanted)], axis=0)
        for start in range(0, len(lacking), BLOCK):
            part = lacking[start : start + BLOCK]
            part = part[~np.any([member.missing(kind, part) for member in members], axis=0)]
            if len(part):
                cache.append(kind, part, side_by_side([member.vectors(kind, part) for member in members]))
