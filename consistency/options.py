"""What a user may choose, as frozen records: the command line fills them, every workflow takes them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_type_hints

from consistency.data.images import Decode, ImageLimits
from consistency.data.pairs import OnConflict
from consistency.data.splits import PAPER_TEST_FRACTION, Protocol
from consistency.errors import InputError

OnError = Literal["skip", "allow", "abort"]


@dataclass(frozen=True)
class Source:
    """The pair table and its images."""

    data: Path = Path("data/combined_data.csv")
    images: Path = Path("data/image")
    image_column: str = "Image Filename"
    hashtag_column: str = "Hashtag"
    score_column: str = "Score"
    encoding: str = "utf-8-sig"
    on_error: OnError = "skip"
    on_conflict: OnConflict = "abort"
    limits: ImageLimits = field(default_factory=ImageLimits)


@dataclass(frozen=True)
class Encoding:
    """The backbone, and how images and hashtags go through it into the cache."""

    backbone: str = "koclip"
    revision: str | None = None
    cache: Path = Path("cache")
    decode: Decode = "ours"
    device: str = "auto"
    precision: str = "auto"
    store: Literal["fp32", "fp16"] = "fp32"
    batch_size: int | Literal["auto"] = "auto"
    workers: int | None = None
    threads: int | None = None
    extract: bool = True  # False: refuse where an embedding is missing


@dataclass(frozen=True)
class CacheChoice:
    """The sets of embeddings under `root`: all, or those of a backbone and of a fingerprint's beginning."""

    root: Path = Path("cache")
    backbone: str | None = None
    fingerprint: str | None = None


@dataclass(frozen=True)
class Evaluation:
    """Who is in which split, and where results go.

    split: a split file, which says it all: protocol and test_fraction count for nothing then. near_duplicates: how
    many of 64 bits the hashes of two images may differ in for them to be one image to the split; None: not looked
    for.
    """

    protocol: Protocol = "grouped"
    seed: int = 42
    test_fraction: float = PAPER_TEST_FRACTION
    near_duplicates: int | None = None
    split: Path | None = None
    runs: Path = Path("runs")
    out: Path | None = None
    resume: Path | None = None  # an unfinished run folder to go on with


def as_config(**records: Any) -> dict[str, Any]:
    """The options as plain JSON values, one key per option, for `run.json`."""

    def plain(value: Any) -> Any:
        if is_dataclass(value) and not isinstance(value, type):
            value = asdict(value)
        if isinstance(value, Path):
            return str(value)
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        return value

    return {name: plain(record) for name, record in records.items()}


Record = TypeVar("Record")


def from_config(kind: type[Record], values: Mapping[str, Any]) -> Record:
    """The record that `as_config` wrote as `values`; an option that is missing keeps its default.

    Raises InputError where `values` has an option that this version does not know.
    """
    hints = get_type_hints(kind)
    unknown = sorted(values.keys() - hints.keys())
    if unknown:
        raise InputError(f"there is no option {', '.join(unknown)}: it was written by another version of this program")
    return kind(**{name: typed(hints[name], value) for name, value in values.items()})


def typed(hint: Any, value: Any) -> Any:
    """A JSON value as what the type hint of its option says: a path, a record, or itself."""
    for kind in get_args(hint) or (hint,):
        if kind is Path and isinstance(value, str):
            return Path(value)
        if isinstance(kind, type) and is_dataclass(kind) and isinstance(value, Mapping):
            return from_config(kind, value)
    return value
