"""format.json: says in plain text which embeddings a cache folder holds, and finds caches by it."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from consistency.errors import CacheError, InputError
from consistency.text import to_json
from embedcache.fingerprint import SCHEMA_VERSION, difference, fingerprint, shorten
from embedcache.storage import folders, storage_of

FORMAT = "format.json"


def write_fields(path: Path, fields: Mapping[str, str]) -> None:
    content = {"format": "embedding cache", "schema": SCHEMA_VERSION, "fields": dict(fields)}
    storage_of(path).write(FORMAT, to_json(content).encode())


def read_fields(path: Path) -> dict[str, str] | None:
    """Read the fields of a cache folder; None if format.json is missing, damaged or of another schema."""
    try:
        content = json.loads(storage_of(path).read(FORMAT))
        fields = {str(name): str(value) for name, value in content["fields"].items()}
        right = content["schema"] == SCHEMA_VERSION and fingerprint(fields) == path.name
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return fields if right else None


def newer_schema(path: Path) -> int | None:
    """The schema of a cache folder that a newer version of this program wrote; None if this version knows it."""
    try:
        schema = json.loads(storage_of(path).read(FORMAT))["schema"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return schema if type(schema) is int and schema > SCHEMA_VERSION else None


def refuse_newer(path: Path) -> None:
    """Raise CacheError if a newer version of this program wrote a cache folder."""
    if schema := newer_schema(path):
        raise CacheError(
            f"{path} was written by a newer version of this program (schema {schema}, expected {SCHEMA_VERSION}): "
            "upgrade the program, or name another folder with --cache"
        )


def about_newer(root: Path) -> str:
    """What to add to a message about `root` if newer versions of this program wrote caches there, else nothing."""
    count = sum(newer_schema(path) is not None for path in folders(root))
    what = f"{count} folders there were" if count > 1 else "a folder there was"
    return f"; {what} written by a newer version of this program: upgrade it to use them" if count else ""


def check_root(root: Path) -> None:
    """Raise InputError if `root` exists but is not a folder."""
    if root.exists() and not root.is_dir():
        raise InputError(f"{root} is a file, expected the folder of the embeddings: name it with --cache")


def list_fields(root: Path) -> list[tuple[Path, dict[str, str]]]:
    """Folder and fields of every cache under `root` that this version can read, sorted by fingerprint."""
    check_root(root)
    return [(path, fields) for path in folders(root) if (fields := read_fields(path)) is not None]


def no_cache(root: Path, fields: Mapping[str, str]) -> str:
    """Explain why there is no cache for `fields`: in what the most similar one differs."""
    caches = [there for _, there in list_fields(root)]
    if not caches:
        return f"there are no embeddings in {root}; run extract{about_newer(root)}"
    nearest = min(caches, key=lambda there: len(difference(there, fields)))
    differing = ", ".join(
        "{} (found {!r}, expected {!r})".format(name, *_excerpts(nearest.get(name, "none"), fields.get(name, "none")))
        for name in difference(nearest, fields)
    )
    asked, there = fields.get("model", "this model"), nearest.get("model", "another model")
    nearest_are = f"the closest are of {there} and differ in {differing}"
    return f"{root} has no embeddings of {asked}; {nearest_are}; run extract{about_newer(root)}"


def _excerpts(one: str, other: str) -> list[str]:
    """Shorten two texts; long ones start where they begin to differ."""
    if shorten(one) == one and shorten(other) == other:
        return [one, other]
    start = max(0, len(os.path.commonprefix([one, other])) - 16)
    return [shorten("..." * bool(start) + text[start:]) for text in (one, other)]
