"""The texts of the hashtags in a cache, whose segments hold only digests of them: what `score --suggest` ranks."""

import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path

from consistency.errors import CacheError, os_errors_as
from embedcache.storage import storage_of

NAME = re.compile(r"texts-(\d+)-([0-9a-f]{32})\.json")


def write_texts(folder: Path, texts: Iterable[str]) -> None:
    """Record hashtags in a cache folder; the file is named by its content, as a segment is.

    Raises
    ------
    StorageError
        If writing fails.
    """
    data = json.dumps(sorted(set(texts)), ensure_ascii=False, indent=0).encode("utf-8", "surrogatepass")
    name = f"texts-{len(data)}-{hashlib.sha256(data).hexdigest()[:32]}.json"
    storage_of(folder).write(name, data)


def has_texts(folder: Path) -> bool:
    """Whether hashtags are recorded in a cache folder."""
    return any(NAME.fullmatch(name) for name in _names(folder))


def read_texts(folder: Path) -> list[str]:
    """All hashtags that are recorded in a cache folder, sorted and distinct. A damaged file is ignored.

    Raises
    ------
    CacheError
        If a file cannot be read.
    """
    found: set[str] = set()
    storage = storage_of(folder)
    for name in _names(folder):
        if match := NAME.fullmatch(name):
            with os_errors_as(CacheError, f"{folder / name} cannot be read"):
                data = storage.read(name)
            if hashlib.sha256(data).hexdigest().startswith(match[2]):
                found.update(_texts_in(data))
    return sorted(found)


def _texts_in(data: bytes) -> list[str]:
    """The texts of an intact file; none if another program gave it the name of one."""
    try:
        texts = json.loads(data.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError):
        return []
    return texts if isinstance(texts, list) and all(isinstance(text, str) for text in texts) else []


def _names(folder: Path) -> list[str]:
    return storage_of(folder).names() if folder.is_dir() else []
