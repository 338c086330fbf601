"""Keys are digests of contents."""

import hashlib
from pathlib import Path
from unicodedata import normalize

from consistency.data.files import ImageFile
from embedcache.keys import hashtag_keys, image_key


def test_keys_are_contents() -> None:
    digest = hashlib.sha256(b"pixels").digest()
    names = [ImageFile(name, Path(name), digest, None) for name in ("a.png", "b.png")]
    assert (image_key(names[0]) == image_key(names[1])).all()
    assert image_key(names[0]).tobytes() == digest
    assert hashtag_keys(["#카페"])[0].tobytes() == hashlib.sha256("#카페".encode()).digest()
    assert len({key.tobytes() for key in hashtag_keys(["#카페", "카페", "#카페 ", normalize("NFD", "#카페")])}) == 4
    assert hashtag_keys([]).shape == (0, 32)
