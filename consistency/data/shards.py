"""Divides a pair table among several processes that know nothing of each other."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from consistency.data.pairs import PairTable
from consistency.errors import InputError

BLOCK = 1024  # texts; a multiple of the batch sizes of every device


@dataclass(frozen=True)
class Shard:
    """One of several equal parts of a table.

    An image belongs to a part by the digest of its name, since names are known before anything is read.

    Attributes
    ----------
    number
        Which part, from 1.
    count
        Number of parts.
    """

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Read "I/N". Raises InputError if it is something else."""
        match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text, re.ASCII)
        shard = cls(int(match[1]), int(match[2])) if match else cls(0, 0)
        if not 1 <= shard.number <= shard.count:
            raise InputError(f"--shard {text} is no part of a whole, expected I/N with I from 1 to N, such as 1/8")
        return shard

    def has(self, image: str) -> bool:
        """Whether an image of this name belongs to the part."""
        digest = hashlib.sha256(image.encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:8], "little") % self.count == self.number - 1

    def rows(self, table: PairTable) -> PairTable:
        """The rows of the part; those that were skipped belong to a part by the name of their image, too."""
        own = {image: self.has(image) for image in dict.fromkeys(table.images)}
        skipped = tuple(each for each in table.skipped if self.has(each.image))
        mine = np.array([own[image] for image in table.images], dtype=bool)
        return replace(table.take(mine), skipped=skipped)

    def texts(self, texts: Iterable[str]) -> list[str]:
        """The distinct texts that the part encodes, in whole blocks: their batches are those of a single run."""
        return [text for block in blocks(texts)[self.number - 1 :: self.count] for text in block]


def blocks(texts: Iterable[str]) -> list[list[str]]:
    """Texts of similar length in UTF-8 in blocks of BLOCK, the longest first.

    Batches of texts are cut within a block, since the texts that share a batch decide the last bits of a vector.
    """
    ordered = sorted(texts, key=lambda text: -len(text.encode("utf-8", "surrogatepass")))
    return [ordered[start : start + BLOCK] for start in range(0, len(ordered), BLOCK)]
