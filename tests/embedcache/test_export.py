"""The exported file holds exactly the stored vectors, in the order of the table."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from consistency.data.files import ImageFile
from consistency.data.pairs import PairTable
from consistency.errors import InputError
from embedcache.export import export
from embedcache.store import EmbeddingCache
from tests.builders.caches import vectors_of


@pytest.mark.parametrize("extension", ["npz", "h5"])
def test_export(
    cache: EmbeddingCache, pairs: tuple[PairTable, dict[str, ImageFile]], tmp_path: Path, extension: str
) -> None:
    out = tmp_path / f"out.{extension}"
    assert export(cache, *pairs, out) == (3, 2)
    if extension == "npz":
        with np.load(out) as file:
            content = dict(file)
        names, hashtags = content["image_names"].tolist(), content["hashtags"].tolist()
    else:
        with h5py.File(out, "r") as file:
            content = {name: file[name][()] for name in file}
            names, hashtags = (file[name].asstr()[()].tolist() for name in ("image_names", "hashtags"))
    assert set(content) == {"image_names", "image_embeddings", "hashtags", "hashtag_embeddings"}
    assert (names, hashtags) == (["a1", "a2", "c"], ["#x", "#y"])
    assert content["image_embeddings"].dtype == np.float32
    assert (content["image_embeddings"] == vectors_of(2)[[0, 0, 1]]).all()
    assert (content["hashtag_embeddings"] == vectors_of(2, seed=1)[::-1]).all()


def test_export_elsewhere(cache: EmbeddingCache, pairs: tuple[PairTable, dict[str, ImageFile]], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"out.csv has the extension '.csv'; expected .npz or .h5"):
        export(cache, *pairs, tmp_path / "out.csv")
