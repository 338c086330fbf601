"""A reader of the embedding cache written from docs/cache-format.md alone, which imports nothing of this program.

`python tests/builders/outside_reader.py CACHE` prints what it finds as JSON: by fingerprint, the number of rows of each
kind, of segments and of texts.
"""

import hashlib
import json
import re
import struct
import sys
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np


class Refused(Exception):
    """Raised when a file is not what the page describes."""


@dataclass
class Found:
    """One folder of a cache: its fields, and the vector of each key by kind."""

    fields: dict[str, str]
    segments: int = 0
    rows: dict[str, dict[bytes, np.ndarray]] = field(default_factory=lambda: {"image": {}, "hashtag": {}})
    texts: set[str] = field(default_factory=set)


def expect(true: object, path: Path, otherwise: str) -> None:
    if not true:
        raise Refused(f"{path}: {otherwise}")


def read_cache(root: Path) -> dict[str, Found]:
    """Every folder under `root`, by its name."""
    return {folder.name: read_folder(folder) for folder in sorted(root.iterdir()) if (folder / "format.json").is_file()}


def read_folder(folder: Path) -> Found:
    """Fields, texts and vectors of one folder; the first segment in the sorted order of names counts."""
    about = json.loads((folder / "format.json").read_bytes())
    expect((about["format"], about["schema"]) == ("embedding cache", 1), folder, "another format")
    found = Found(about["fields"])
    expect(all(type(text) is str for pair in found.fields.items() for text in pair), folder, "a field is no string")
    expect(fingerprint(found.fields) == folder.name, folder, "its name is not its fingerprint")
    for path in sorted(folder.glob("seg-*.h5")):
        kind, keys, vectors = read_segment(path, folder.name, found.fields.get("store", "fp32"))
        found.segments += 1
        for key, vector in zip(keys, vectors, strict=True):
            found.rows[kind].setdefault(key.tobytes(), vector)
    for path in folder.glob("texts-*.json"):
        data = named_by_content(path, r"texts-(\d+)-([0-9a-f]{32})\.json")
        found.texts.update(json.loads(data))
    return found


def fingerprint(fields: dict[str, str]) -> str:
    message = b""
    for name, value in [("schema", "1")] + [(name, fields[name]) for name in sorted(fields)]:
        for text in (name.encode("utf-8"), value.encode("utf-8")):
            message += struct.pack("<Q", len(text)) + text
    return hashlib.sha256(message).hexdigest()


def named_by_content(path: Path, pattern: str) -> bytes:
    """The content of a file whose name must give its size and the start of its digest."""
    data, name = path.read_bytes(), re.fullmatch(pattern, path.name)
    expect(name, path, "another name")
    assert name is not None
    expect(int(name[1]) == len(data), path, "its size is not the one in its name")
    expect(hashlib.sha256(data).hexdigest()[:32] == name[2], path, "its SHA-256 is not the one in its name")
    return data


def read_segment(path: Path, identity: str, store: str) -> tuple[str, np.ndarray, np.ndarray]:
    """Kind, keys and vectors of a segment, read a second time at their offsets without libhdf5."""
    data = named_by_content(path, r"seg-(\d+)-([0-9a-f]{32})\.h5")
    with h5py.File(path, "r", locking=False) as file:
        kind = file.attrs["kind"].decode()
        expect(kind in ("image", "hashtag"), path, f"kind {kind}")
        expect(file.attrs["fingerprint"].decode() == identity, path, "another fingerprint")
        expect(file.attrs["schema"] == 1, path, "another schema")
        keys, vectors = file["keys"][()], file["vectors"][()]
        for name, array in (("keys", keys), ("vectors", vectors)):
            start = file[name].id.get_offset()
            expect(file[name].chunks is None and start % 64 == 0, path, f"{name} are not contiguous and aligned")
            expect(data[start : start + array.nbytes] == array.tobytes(), path, f"{name} differ at their offset")
            digest = file[name].attrs["sha256"].decode()
            expect(hashlib.sha256(array.tobytes()).hexdigest() == digest, path, f"the digest of {name} differs")
    expect(keys.dtype == np.uint8 and keys.ndim == 2 and keys.shape[1] == 32 and len(keys), path, "no keys")
    in_order = [key.tobytes() for key in keys]
    expect(in_order == sorted(set(in_order)), path, "the keys are not sorted and distinct")
    expect(vectors.dtype == {"fp32": "<f4", "fp16": "<f2"}[store] and vectors.ndim == 2, path, "another type")
    expect(len(vectors) == len(keys) and np.isfinite(vectors).all(), path, "not one finite vector for each key")
    expect((vectors != 0).any(axis=1).all(), path, "a vector is zero")
    return kind, keys, vectors


if __name__ == "__main__":
    print(
        json.dumps(
            {
                name: {
                    "segments": found.segments,
                    "texts": len(found.texts),
                    **{kind: len(rows) for kind, rows in found.rows.items()},
                }
                for name, found in read_cache(Path(sys.argv[1])).items()
            }
        )
    )
