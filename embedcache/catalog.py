"""format.json: whose embeddings a cache folder holds, in plain text."""

import json
from collections.abc import Mapping
from pathlib import Path

from consistency.durable import write_file
from embedcache.fingerprint import SCHEMA_VERSION, difference, fingerprint, shorten


def write_fields(path: Path, fields: Mapping[str, str]) -> None:
    content = {"format": "embedding cache", "schema": SCHEMA_VERSION, "fields": dict(fields)}
    text = json.dumps(content, ensure_ascii=False, indent=2) + "\n"
    write_file(path / "format.json", text.encode(), temp=path / "tmp")


def read_fields(path: Path) -> dict[str, str] | None:
    """The fields of the cache folder `path`, None where format.json is missing, damaged or of another schema."""
    try:
        fields = json.loads((path / "format.json").read_text(encoding="utf-8"))["fields"]
        fields = {str(name): str(value) for name, value in fields.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return fields if fingerprint(fields) == path.name else None


def list_fields(root: Path) -> list[tuple[Path, dict[str, str]]]:
    """Folder and fields of every cache under `root` that this version can read, in the order of the fingerprints."""
    paths = sorted(root.iterdir()) if root.is_dir() else []
    return [(path, fields) for path in paths if (fields := read_fields(path)) is not None]


def no_cache(root: Path, fields: Mapping[str, str]) -> str:
    """Why there is no cache for `fields`: what the one that comes nearest differs in."""
    caches = [there for _, there in list_fields(root)]
    if not caches:
        return f"there are no embeddings in {root}; run extract"
    nearest = min(caches, key=lambda there: len(difference(there, fields)))
    differing = "; ".join(
        f"{name}: {shorten(nearest.get(name, 'none'))!r} there, {shorten(fields.get(name, 'none'))!r} asked for"
        for name in difference(nearest, fields)
    )
    asked, there = fields.get("model", "this model"), nearest.get("model", "another model")
    return f"{root} holds no embeddings of {asked}; the nearest are of {there} and differ in {differing}; run extract"
