"""Finds near-duplicates: images that are copies of each other but were re-encoded, resized or slightly changed.

NEAR_DUPLICATES is the largest number of bits, of 64, in which the hashes of near-duplicates differ. It was chosen on
images that `data demo` draws; the tests of this module repeat the measurement. Largest distance of 180 images to
their copies:

    JPEG of quality 30      6        brightness x0.8   4        contrast x1.2    6
    half the size           2        brightness x1.2   6        cropped by 2 %   8, one image 12
    a third of the size     2        in grey           0

Smallest distance between different images: 16 among their 16,110 pairs; among the 179,700 pairs of 600 images 6 once,
12 otherwise. Stronger changes are found in part: 89 % of images cropped by 4 %, and 51 % of images cropped by 6 %.
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
from consistency.options import NEAR_DUPLICATES, ImageLimits
from consistency.progress import Progress, silent

_SIDE, _LOW = 32, 8
COMPARED_AT_ONCE = 1 << 22  # pairs of hashes compared at a time, 32 MiB
KEPT_AT_ONCE = 1 << 20  # similar pairs to collect before they are merged into groups


@dataclass(frozen=True, eq=False)
class NearDuplicates:
    """Near-duplicate images of a pair table with n rows.

    Attributes
    ----------
    limit : int
        Largest number of differing bits.
    scenes : (n,) object
        Equal for rows whose images are linked by a chain of near-duplicates.
    groups : tuple of tuple of str
        Names of the distinct images of each scene that has at least two.
    """

    limit: int
    scenes: npt.NDArray[np.object_]
    groups: tuple[tuple[str, ...], ...]

    @property
    def joined(self) -> int:
        """Number of images that have a near-duplicate."""
        return sum(map(len, self.groups))


def find_near_duplicates(
    names: npt.NDArray[np.object_],
    identity: npt.NDArray[np.object_],
    files: Mapping[str, ImageFile],
    *,
    limit: int = NEAR_DUPLICATES,
    limits: ImageLimits | None = None,
    progress: Progress = silent,
) -> NearDuplicates:
    """Hash every distinct image, in threads, and join those whose hashes differ in at most `limit` bits.

    Parameters
    ----------
    names : (n,) object
        Image name of each row.
    identity : (n,) object
        Identity of each row's image: equal for rows that show the same image.
    files : mapping of str to ImageFile
        Image file by name. Images that cannot be decoded have no near-duplicates.
    limit : int
        Largest number of differing bits.
    limits : ImageLimits, optional
        Limits beyond which an image is rejected; None means the defaults.
    progress : Progress
        Progress of hashing.

    Returns
    -------
    NearDuplicates
    """
    first = dict(zip(identity[::-1], names[::-1], strict=True))  # first name of each distinct image
    distinct = [each for each in dict.fromkeys(identity) if files[first[each]].path is not None]
    with (
        progress("Hashing images", len(distinct)) as advance,
        ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool,
    ):
        hashed: dict[object, int] = {}
        hashes = pool.map(lambda each: _hash_file(files[first[each]], limits), distinct)
        for each, value in zip(distinct, hashes, strict=True):
            advance(1)
            if value is not None:
                hashed[each] = value
    labels = join_similar(np.array(list(hashed.values()), dtype=np.uint64), limit)
    members: dict[int, list[object]] = {}
    for each, label in zip(hashed, labels.tolist(), strict=True):
        members.setdefault(label, []).append(each)
    scene = {each: same[0] for same in members.values() for each in same}
    return NearDuplicates(
        limit=limit,
        scenes=np.array([scene.get(each, each) for each in identity], dtype=object),
        groups=tuple(tuple(first[each] for each in same) for same in members.values() if len(same) > 1),
    )


def perceptual_hash(image: Image.Image) -> int:
    """Compute pHash, a 64-bit hash that hardly changes when an image hardly changes to the eye.

    The image is converted to grey and resized to 32x32. Of its discrete cosine transform, the 8x8 lowest frequencies
    without row and column 0 give one bit each: whether they exceed their median. A resampling filter replaces the mean
    filter of the reference.

    If most frequencies vanish, few bits are informative: images of a single colour or of stripes all have similar
    hashes, and of different images that are symmetric in both axes every second pair is within 8 bits.

    Parameters
    ----------
    image : PIL.Image.Image
        The image.

    Returns
    -------
    int
        From 0 to 2**64 - 1.

    References
    ----------
    Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions, 2010, section 3.2.1.
    """
    grey = image.convert("L").resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    low = dctn(np.asarray(grey, dtype=np.float64))[1 : _LOW + 1, 1 : _LOW + 1].round(6)  # a flat image gives noise
    return int.from_bytes(np.packbits(low > np.median(low)).tobytes(), "big")


def join_similar(hashes: npt.NDArray[np.uint64], limit: int) -> npt.NDArray[np.int64]:
    """Group hashes that are linked by a chain of hashes that differ in at most `limit` bits.

    All k (k - 1) / 2 pairs are compared, some millions at a time, so that memory stays bounded.

    Parameters
    ----------
    hashes : (k,) uint64
        The hashes.
    limit : int
        Largest number of differing bits.

    Returns
    -------
    (k,) int64
        Group of each hash.
    """
    distinct, place = np.unique(hashes, return_inverse=True)
    k = len(distinct)
    labels = np.arange(k)
    pairs: list[npt.NDArray[np.int64]] = []
    start = waiting = 0
    while start < k:
        stop = min(k, start + max(1, COMPARED_AT_ONCE // (k - start)))
        distance = np.bitwise_count(distinct[start:stop, None] ^ distinct[None, start:])
        found = np.argwhere(distance <= limit) + start
        pairs.append(found)
        waiting += len(found)
        start = stop
        if waiting > KEPT_AT_ONCE or start == k:
            links = np.concatenate([*pairs, np.column_stack([np.arange(k), labels])])
            graph = coo_array((np.ones(len(links), dtype=np.int8), links.T), shape=(k, k))
            group = connected_components(graph, directed=False)[1]
            labels = np.unique(group, return_index=True)[1][group]  # the first member names the group
            pairs, waiting = [], 0
    return labels[place]


def _hash_file(file: ImageFile, limits: ImageLimits | None) -> int | None:
    try:
        return perceptual_hash(Decoding("fast", limits or ImageLimits(), _SIDE).read(file))
    except ImageError:  # reported by the command that needs the image
        return None
