"""Recognises the runs that this user made: only those may say where images are found, and where a repetition writes.

`run.json` names the folder of the images, and a report embeds what it finds there. In a run of somebody else that could
be any folder of the reader. So each run is sealed with a key that never leaves the user's own folders.
"""

import hashlib
import hmac
import json
import os
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from consistency.text import to_json

SEAL = "seal"  # key of run.json
NAMING_IMAGES = ("predictions.csv", "audit.csv")  # files of a run whose images a report shows
_LENGTH = 32  # bytes of the key


def seal(folder: Path, info: Mapping[str, Any]) -> str | None:
    """HMAC-SHA-256 in hexadecimal of a run's `run.json` and of its files that name images.

    The user's first run creates the key, which nobody else can read.

    Parameters
    ----------
    folder : Path
        The run folder, complete but for `run.json`.
    info : mapping
        What `run.json` will hold beside the seal.

    Returns
    -------
    str or None
        None if the key cannot be read or written: the run is then treated as somebody else's.
    """
    key = _read_key() or _make_key()
    with suppress(OSError):  # a file of the run cannot be read
        return None if key is None else _digest(key, folder, json.loads(to_json(info)))
    return None


def made_here(folder: Path, info: Mapping[str, Any]) -> bool:
    """Whether this user made the run in `folder` and nobody has edited it since; `info` is its `run.json`."""
    found, key = info.get(SEAL), _read_key()
    if key is None or not isinstance(found, str):
        return False
    unsealed = {name: value for name, value in info.items() if name != SEAL}
    try:
        return hmac.compare_digest(found.encode(errors="replace"), _digest(key, folder, unsealed).encode())
    except (OSError, ValueError, RecursionError):  # damaged, which whoever reads the run reports
        return False


def _digest(key: bytes, folder: Path, info: Mapping[str, Any]) -> str:
    files = {}
    for name in NAMING_IMAGES:
        with suppress(FileNotFoundError), (folder / name).open("rb") as file:
            files[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return hmac.new(key, json.dumps([info, files], sort_keys=True).encode(), "sha256").hexdigest()


def _key_file() -> Path:
    """The key of this user. Raises RuntimeError if the user has no home."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "koclip-consistency" / "key"


def _read_key() -> bytes | None:
    """The key, None if there is none that this user alone can read."""
    with suppress(OSError, RuntimeError):
        with open(os.open(_key_file(), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            status, key = os.fstat(file.fileno()), file.read(_LENGTH + 1)
        private = stat.S_ISREG(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077
        return key if private and len(key) == _LENGTH else None
    return None


def _make_key() -> bytes | None:
    """Create the key unless another process does at the same time, and read it; None if it cannot be written."""
    with suppress(OSError, RuntimeError):
        path = _key_file()
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, unfinished = tempfile.mkstemp(dir=path.parent)  # with mode 0600
        try:
            with open(descriptor, "wb") as file:
                file.write(os.urandom(_LENGTH))
                file.flush()
                os.fsync(descriptor)
            with suppress(FileExistsError):
                os.link(unfinished, path)
        finally:
            os.unlink(unfinished)
    return _read_key()
