"""The fingerprint of embeddings: settings that could give different vectors have different fingerprints."""

import hashlib
from collections.abc import Mapping

SCHEMA_VERSION = 1


def fingerprint(fields: Mapping[str, str]) -> str:
    """Hash the schema version and all fields, length-delimited and sorted by name: SHA-256 in hexadecimal."""
    digest = hashlib.sha256()
    for name, value in [("schema", str(SCHEMA_VERSION)), *sorted(fields.items())]:
        for text in (name, value):
            data = text.encode()
            digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def difference(a: Mapping[str, str], b: Mapping[str, str]) -> tuple[str, ...]:
    """Names of fields that differ or that only one of the two has, sorted."""
    return tuple(sorted(name for name in a.keys() | b.keys() if a.get(name) != b.get(name)))


def explain(fields: Mapping[str, str]) -> str:
    """List all fields in one line, with long values shortened."""
    return ", ".join(f"{name.replace('_', ' ')} {shorten(value)}" for name, value in fields.items())


def shorten(value: str, width: int = 48) -> str:
    return value if len(value) <= width else f"{value[: width - 3]}..."
