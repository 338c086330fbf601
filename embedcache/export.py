"""Exports the stored embeddings of a pair table as one .npz or .h5 file for other programs."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from consistency.data.files import ImageFile
from consistency.data.pairs import PairTable
from consistency.durable import write_file
from consistency.errors import InputError
from embedcache.keys import image_keys
from embedcache.store import EmbeddingCache

Arrays = dict[str, npt.NDArray[Any]]


def export(cache: EmbeddingCache, table: PairTable, files: Mapping[str, ImageFile], out: Path) -> tuple[int, int]:
    """Export the embeddings of all images and hashtags of a pair table that are in the cache.

    The file holds image_names (n,) str, image_embeddings (n, d) float32, hashtags (m,) str and hashtag_embeddings
    (m, d) float32, with one row per image name and per hashtag, in the order of the table.

    Parameters
    ----------
    cache : EmbeddingCache
        Cache to read; its recipe says as which texts hashtags are exported.
    table : PairTable
        Pair table.
    files : mapping of str to ImageFile
        Image file by name.
    out : Path
        File to write, .npz or .h5.

    Returns
    -------
    n, m : int
        Numbers of images and of hashtags.

    Raises
    ------
    InputError
        If the extension is neither .npz nor .h5.
    StorageError
        If the file cannot be written.
    """
    if out.suffix not in (".npz", ".h5"):
        raise InputError(f"{out} has the extension {out.suffix!r}; expected .npz or .h5")
    names = [name for name in dict.fromkeys(table.images) if files[name].digest is not None]
    texts = list(dict.fromkeys(table.hashtags))
    images, image_rows = cache.present("image", image_keys([files[name] for name in names]))
    hashtags, hashtag_rows = cache.hashtags(texts)
    arrays = {
        "image_names": np.array(names, str)[image_rows >= 0],
        "image_embeddings": images,
        "hashtags": np.array(texts, str)[hashtag_rows >= 0],
        "hashtag_embeddings": hashtags,
    }
    write_file(out, _npz(arrays) if out.suffix == ".npz" else _h5(arrays))
    return len(images), len(hashtags)


def _npz(arrays: Arrays) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def _h5(arrays: Arrays) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, array in arrays.items():
            data = array.astype(h5py.string_dtype()) if array.dtype.kind == "U" else array
            file.create_dataset(name, data=data)
    return buffer.getvalue()
