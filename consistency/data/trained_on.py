"""What a fine-tuned backbone was trained on: digests of its images and pairs, kept in its model folder.

Whoever evaluates on such a backbone counts the images and pairs that it has already seen, whatever their files are
called. The record holds digests only: no file name, no hashtag, no score.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consistency.data.hashtags import identities
from consistency.durable import write_file
from consistency.errors import BackboneError, os_errors_as
from consistency.format_version import check_format
from consistency.scale import Objects

RECORD = "trained_on.json"
FORMAT = 1


@dataclass(frozen=True)
class SeenByBackbone:
    """How many of the rows that were answered a fine-tuned backbone has seen before.

    Attributes
    ----------
    n : int
        Rows.
    pairs : int
        Rows whose pair of image and hashtag trained or validated the backbone.
    n_images : int
        Distinct images of the rows.
    images : int
        Those that trained or validated the backbone.
    only_validated : int
        Those of `images` that did not train it, but validated it: they chose its epoch and its temperature.
    """

    n: int
    pairs: int
    n_images: int
    images: int
    only_validated: int = 0

    def __bool__(self) -> bool:
        return bool(self.images or self.pairs)

    def describe(self, backbone: str, *, split: str = "test") -> str:
        """The counts in a line. split: "test" or, for answers out of fold, "cv"."""
        images, pairs = ("test images", "test pairs") if split == "test" else ("images", "pairs answered out of fold")
        only = f" ({self.only_validated:,} of these images only validated it)" if self.only_validated else ""
        return (
            f"{self.images:,} of {self.n_images:,} {images} trained the backbone {backbone}, "
            f"and {self.pairs:,} of {self.n:,} {pairs}{only}"
        )


@dataclass(frozen=True)
class Digests:
    """Images and pairs of one side of a training.

    Attributes
    ----------
    images : frozenset of str
        Digests of the images' contents.
    pairs : frozenset of str
        Digests of image and hashtag, see `pair_digest`.
    """

    images: frozenset[str] = frozenset()
    pairs: frozenset[str] = frozenset()

    @classmethod
    def of(cls, images: Objects, hashtags: Objects) -> "Digests":
        """Those of n rows. images: (n,) object, as `Inputs.identity`; hashtags: (n,) object, as in the table."""
        return cls(frozenset(images), frozenset(pair_digests(images, hashtags)))

    def __or__(self, other: "Digests") -> "Digests":
        return Digests(self.images | other.images, self.pairs | other.pairs)


@dataclass(frozen=True)
class TrainedOn:
    """Everything that a backbone was fine-tuned on, in one training or in several after one another.

    Attributes
    ----------
    train : Digests
        What its weights learned from, in a refit too.
    val : Digests
        What was validated on: it chose the epoch and the temperature.
    complete : bool
        False if it is unknown what else the backbone was trained on: it, or the backbone that it was tuned from, is a
        local model without a record.
    """

    train: Digests = Digests()
    val: Digests = Digests()
    complete: bool = True

    def __bool__(self) -> bool:
        return bool(self.train.images or self.val.images)

    def __or__(self, other: "TrainedOn") -> "TrainedOn":
        return TrainedOn(self.train | other.train, self.val | other.val, self.complete and other.complete)

    def seen(self, images: Objects, hashtags: Objects) -> SeenByBackbone:
        """Count n rows. images: (n,) object, as `Inputs.identity`; hashtags: (n,) object, as in the table."""
        known, asked = self.train | self.val, set(images)
        seen = asked & known.images
        return SeenByBackbone(
            n=len(images),
            pairs=sum(pair in known.pairs for pair in pair_digests(images, hashtags)),
            n_images=len(asked),
            images=len(seen),
            only_validated=len(seen - self.train.images),
        )

    def write(self, folder: Path) -> None:
        """Write the record into a model folder.

        Raises
        ------
        StorageError
            If it cannot be written.
        """
        content = _content(self)
        record = {"format": FORMAT, "sha256": _sha256(content), **content}
        write_file(folder / RECORD, (json.dumps(record, indent=1) + "\n").encode())

    @classmethod
    def read(cls, folder: Path) -> "TrainedOn | None":
        """The record of a model folder, None if it has none.

        Raises
        ------
        BackboneError
            If the record is damaged, or of another version.
        """
        path = folder / RECORD
        if not path.is_file():
            return None
        try:
            with os_errors_as(BackboneError, f"{path} cannot be read"):
                record = json.loads(path.read_bytes())
            check_format(path, record["format"], FORMAT, instead="fine-tune again", kind=BackboneError)
            train, val = (Digests(*(frozenset(record[side][kind]) for kind in KINDS)) for side in SIDES)
            read = cls(train, val, record["complete"] is True)
            damaged = record["sha256"] != _sha256(_content(read))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BackboneError(f"{path} is no record of a fine-tuning ({error!r}): fine-tune again") from error
        if damaged:
            raise BackboneError(f"{path} is damaged (its SHA-256 is not that of its content): fine-tune again")
        return read


SIDES, KINDS = ("train", "val"), ("images", "pairs")
UNKNOWN = TrainedOn(complete=False)
NOTHING = TrainedOn()


def pair_digests(images: Iterable[str], hashtags: Iterable[str]) -> list[str]:
    """SHA-256 in hex of each image's digest and its hashtag's identity: whatever the spelling, one pair is one."""
    found = zip(images, identities(hashtags), strict=True)
    return [hashlib.sha256(f"{image}\n{hashtag}".encode()).hexdigest() for image, hashtag in found]


def _content(record: TrainedOn) -> dict[str, Any]:
    sides = {side: {kind: sorted(getattr(getattr(record, side), kind)) for kind in KINDS} for side in SIDES}
    return {"complete": record.complete, **sides}


def _sha256(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
