"""Images that are copies of each other without having the same bytes: re-encoded, resized, slightly changed.

Measured on images that `data demo` draws, as differing bits of 64 (the module's tests repeat it). A copy
beside its original, the largest of 180: JPEG of quality 30 4, half the size 2, a third of the size 2, brightness
x0.8 2 and x1.2 8, contrast x1.2 6, 2 % cropped 8. Two different images, the smallest of 16,110 pairs: 10, and of
another 179,700 pairs: 12. So LIMIT is 8. Stronger changes are found in part: of images cropped by 4 % it joins 88 %,
by 6 % 58 %.
"""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.fft import dctn
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from consistency.data.files import ImageFile
from consistency.data.reading import Decoding
from consistency.errors import ImageError
from consistency.options import ImageLimits
from consistency.progress import Progress, silent

LIMIT = 8
_SIDE, _LOW = 32, 8
_COMPARED = 1 << 22  # pairs of hashes at a time: 32 MiB
_KEPT = 1 << 20  # pairs found before they are boiled down


@dataclass(frozen=True, eq=False)
class NearDuplicates:
    """Which of a table's n rows show nearly the same image.

    limit: differing bits allowed. scenes: (n,) object, equal where two rows show images that a chain of
    near-duplicates links. groups: the names of every two or more different images that are one scene.
    """

    limit: int
    scenes: npt.NDArray[np.object_]
    groups: tuple[tuple[str, ...], ...]

    @property
    def joined(self) -> int:
        """Images that are no longer on their own."""
        return sum(map(len, self.groups))


def find_near_duplicates(
    names: npt.NDArray[np.object_],
    identity: npt.NDArray[np.object_],
    files: Mapping[str, ImageFile],
    *,
    limit: int = LIMIT,
    limits: ImageLimits | None = None,
    progress: Progress = silent,
) -> NearDuplicates:
    """Hash every distinct image, in threads, and join those that differ in `limit` bits or fewer.

    names, identity: (n,) object, as in the table. An image that cannot be decoded stays alone.
    """
    first = dict(zip(identity[::-1], names[::-1], strict=True))  # the first name of each content
    pictures = [picture for picture in dict.fromkeys(identity) if files[first[picture]].path is not None]
    with (
        progress("Hashing images", len(pictures)) as advance,
        ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool,
    ):
        hashed: dict[object, int] = {}
        each = pool.map(lambda picture: _hash_file(files[first[picture]], limits), pictures)
        for picture, value in zip(pictures, each, strict=True):
            advance(1)
            if value is not None:
                hashed[picture] = value
    labels = join_similar(np.array(list(hashed.values()), dtype=np.uint64), limit)
    members: dict[int, list[object]] = {}
    for picture, label in zip(hashed, labels.tolist(), strict=True):
        members.setdefault(label, []).append(picture)
    scene = {picture: same[0] for same in members.values() for picture in same}
    return NearDuplicates(
        limit=limit,
        scenes=np.array([scene.get(picture, picture) for picture in identity], dtype=object),
        groups=tuple(tuple(first[picture] for picture in same) for same in members.values() if len(same) > 1),
    )


def perceptual_hash(image: Image.Image) -> int:
    """64 bits that hardly change with what a viewer hardly sees: pHash.

    The grey image at 32x32, of its discrete cosine transform the 8x8 lowest frequencies without row and column 0,
    each a bit: above their median or not (Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions,
    2010, section 3.2.1; the resampling filter takes the place of the mean filter). Where most frequencies are nothing
    few bits tell: images of a single colour or of bars are all alike, and of different images that are symmetric in
    both axes every second pair is within 8 bits.
    """
    grey = image.convert("L").resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    low = dctn(np.asarray(grey, dtype=np.float64))[1 : _LOW + 1, 1 : _LOW + 1].round(6)  # a flat image's are noise
    return int.from_bytes(np.packbits(low > np.median(low)).tobytes(), "big")


def join_similar(hashes: npt.NDArray[np.uint64], limit: int) -> npt.NDArray[np.int64]:
    """The group of each of k hashes, (k,) int64: two that differ in `limit` bits or fewer share theirs, and so on.

    Compares all pairs, some millions at a time: k (k - 1) / 2 of them, 64 bits each, but never in memory at once.
    """
    distinct, place = np.unique(hashes, return_inverse=True)
    k = len(distinct)
    labels = np.arange(k)
    pairs: list[npt.NDArray[np.int64]] = []
    start = waiting = 0
    while start < k:
        stop = min(k, start + max(1, _COMPARED // (k - start)))
        distance = np.bitwise_count(distinct[start:stop, None] ^ distinct[None, start:])
        found = np.argwhere(distance <= limit) + start
        pairs.append(found)
        waiting += len(found)
        start = stop
        if waiting > _KEPT or start == k:
            links = np.concatenate([*pairs, np.column_stack([np.arange(k), labels])])
            graph = coo_array((np.ones(len(links), dtype=np.int8), links.T), shape=(k, k))
            group = connected_components(graph, directed=False)[1]
            labels = np.unique(group, return_index=True)[1][group]  # each group by its first member
            pairs, waiting = [], 0
    return labels[place]


def _hash_file(file: ImageFile, limits: ImageLimits | None) -> int | None:
    try:
        return perceptual_hash(Decoding("fast", limits or ImageLimits(), 2 * _SIDE).read(file))
    except ImageError:  # the command that needs the image says so
        return None
