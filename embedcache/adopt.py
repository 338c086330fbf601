"""Takes over what a cache of earlier library versions holds, if a sample that is encoded again comes out equal."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from consistency.data.distinct import number_distinct
from consistency.data.files import ImageFile
from consistency.data.reading import Decoding
from consistency.errors import ImageError
from consistency.options import Decode, ImageLimits
from consistency.text import to_json
from embedcache.catalog import list_fields
from embedcache.fingerprint import difference
from embedcache.keys import hashtag_keys, image_keys
from embedcache.pipeline import Encoder
from embedcache.segments import Keys, Kind
from embedcache.storage import storage_of
from embedcache.store import EmbeddingCache

if TYPE_CHECKING:
    from consistency.backbone.model import Embedder

SAMPLE = 16  # images, and as many texts, that are encoded again
BLOCK = 65_536  # rows taken over at a time
EXACT, ROUNDED = 1e-5, 1e-3  # largest difference of two numbers that count as equal: in fp32, and in anything less


@dataclass(frozen=True)
class Verdict:
    """How far vectors of earlier library versions are from those of now.

    Attributes
    ----------
    fingerprint : str
        Of the earlier cache.
    libraries : str
        The earlier versions.
    images, texts : int
        How many were encoded again.
    largest : float
        Largest difference of two numbers.
    tolerance : float
        What counts as equal.
    """

    fingerprint: str
    libraries: str
    images: int
    texts: int
    largest: float
    tolerance: float

    @property
    def equal(self) -> bool:
        return self.largest <= self.tolerance

    @property
    def note(self) -> str:
        """One line: what was measured, and what follows from it."""
        what = (
            "they are taken over"
            if self.equal
            else "they are not used, and a run that was trained on them cannot score: encode and train again"
        )
        return (
            f"embeddings made with {self.libraries}: {self.images} images and {self.texts} texts of hashtags, encoded "
            f"again, differ by at most {self.largest:.2g} (equal: {self.tolerance:g}); {what}"
        )


def adopt(
    texts: Sequence[str],
    files: Mapping[str, ImageFile],
    cache: EmbeddingCache,
    load: "Callable[[], Embedder]",
    limits: ImageLimits,
) -> Verdict | None:
    """Fill the cache from one that differs in library versions only, after comparing a sample.

    The verdict is kept in the folder of the cache, so that a sample is encoded once for each pair of versions.

    Parameters
    ----------
    texts : sequence of str
        Distinct texts of hashtags.
    files : mapping of str to ImageFile
        Image file by name.
    cache : EmbeddingCache
        Cache to fill.
    load : callable
        Loads the backbone; only called if there is something to compare.
    limits : ImageLimits
        Limits beyond which an image is not decoded.

    Returns
    -------
    Verdict or None
        None if nothing is missing or no earlier cache holds any of it.

    Raises
    ------
    StorageError
        If the disk fails.
    """
    readable = [file for file in files.values() if file.digest is not None and file.problem is None]
    readable = [readable[first] for first in number_distinct([file.digest for file in readable])[0]]
    keys: dict[Kind, Keys] = {"image": image_keys(readable), "hashtag": hashtag_keys(texts)}
    missing = {kind: cache.missing(kind, of_kind) for kind, of_kind in keys.items()}
    if not any(lacks.any() for lacks in missing.values()):
        return None
    for path, fields in list_fields(cache.path.parent):
        if difference(fields, cache.fields) != ("libraries",):
            continue
        earlier = EmbeddingCache(path, fields)
        found = {kind: np.flatnonzero(missing[kind] & ~earlier.missing(kind, keys[kind])) for kind in keys}
        if not any(map(len, found.values())):
            continue
        verdict = read_verdict(cache.path, earlier.fingerprint)
        if verdict is None:
            images = [readable[at] for at in _some(found["image"])]
            verdict = _compare(earlier, cache, load(), images, [texts[at] for at in _some(found["hashtag"])], limits)
            data = to_json(asdict(verdict)).encode()
            cache.storage.write(_name(earlier.fingerprint), data)
        if verdict.equal:
            for kind, of_kind in keys.items():
                for start in range(0, len(found[kind]), BLOCK):
                    part = of_kind[found[kind][start : start + BLOCK]]
                    vectors, rows = earlier.present(kind, part)
                    cache.append(kind, part[rows >= 0], vectors)
        return verdict
    return None


def read_verdict(cache: Path, earlier: str) -> Verdict | None:
    """What was measured about an earlier cache, by its fingerprint; None if nothing was, or the file is damaged."""
    try:
        return Verdict(**json.loads(storage_of(cache).read(_name(earlier))))
    except (OSError, ValueError, TypeError):
        return None


def _name(earlier: str) -> str:
    return f"compared-{earlier[:32]}.json"


def _some(places: Iterable[int]) -> list[int]:
    chosen = np.asarray(places, np.int64)
    return chosen[np.linspace(0, len(chosen) - 1, min(SAMPLE, len(chosen))).astype(np.int64)].tolist()


def _compare(
    earlier: EmbeddingCache,
    cache: EmbeddingCache,
    backbone: "Embedder",
    images: list[ImageFile],
    texts: list[str],
    limits: ImageLimits,
) -> Verdict:
    decoding = Decoding(cast(Decode, backbone.decode), limits, None if backbone.spec is None else backbone.spec.target)
    kept, pixels = [], []
    for file in images:
        try:
            pixels.append(backbone.prepare(decoding.read(file)))
            kept.append(file)
        except ImageError:  # the earlier versions could decode it, so nothing is equal
            continue
    sizes, pairs = backbone.batch_sizes, []
    if kept:
        now = Encoder(sizes[0])(backbone.encode_images, np.stack(pixels))
        pairs.append((now, earlier.vectors("image", image_keys(kept))))
    if texts:
        now = Encoder(sizes[1])(backbone.encode_texts, texts)
        pairs.append((now, earlier.vectors("hashtag", hashtag_keys(texts))))
    gaps = [np.abs(now.astype(cache.dtype).astype(np.float32) - then).max() for now, then in pairs]
    # No two numbers of unit vectors differ by more than 2.
    largest = float(np.nan_to_num(max(gaps), nan=2.0)) if len(kept) == len(images) else 2.0
    exact = backbone.precision == "fp32" and cache.store == "fp32"
    return Verdict(
        earlier.fingerprint, earlier.fields["libraries"], len(images), len(texts), largest, EXACT if exact else ROUNDED
    )
