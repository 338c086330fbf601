"""The cache of several backbones is filled from those of its members."""

from pathlib import Path

import numpy as np

from consistency.data.files import ImageFile
from consistency.data.pairs import PairTable
from embedcache.joined import join
from embedcache.keys import hashtag_keys, image_keys
from embedcache.store import EmbeddingCache
from tests.builders.caches import FIELDS, vectors_of


def test_what_every_member_has_is_joined_and_nothing_else(
    tmp_path: Path, cache: EmbeddingCache, pairs: tuple[PairTable, dict[str, ImageFile]]
) -> None:
    table, files = pairs
    other = EmbeddingCache.open(tmp_path / "other", FIELDS | {"model": "other"})
    both = EmbeddingCache.open(tmp_path / "both", FIELDS | {"model": "both"})
    here = image_keys([files["c"], files["b"]])
    other.append("image", here, vectors_of(2, seed=4))
    other.append("hashtag", hashtag_keys(["#x", "#y", "#nowhere"]), vectors_of(3, seed=5))
    for _ in range(2):  # the second time nothing is left to do
        join(both, [cache, other], both.recipe.all_texts(dict.fromkeys(table.hashtags)), files)
        assert len(both.sound_index("image")) == 1  # c; the members have a1 and b alone
        assert len(both.sound_index("hashtag")) == 2
    for kind, keys in (("image", here[:1]), ("hashtag", hashtag_keys(["#y", "#x"]))):
        of_members = [member.vectors(kind, keys) for member in (cache, other)]  # type: ignore[arg-type]
        found = both.vectors(kind, keys)  # type: ignore[arg-type]
        np.testing.assert_allclose(found, np.concatenate(of_members, axis=1) / np.sqrt(2), rtol=1e-6)
