"""Stores the state of a training, so that a process killed at any moment leaves its last complete checkpoint.

checkpoint/checkpoint.json names one file for each part of the state (weights, optimizer, ...); a file is named by the
SHA-256 of its content. Parts are written first and the JSON last, each atomically. Then parts that the JSON no longer
names are removed.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from consistency.durable import make_folder, sweep_temp, write_file
from consistency.errors import InputError, StorageError
from consistency.format_version import check_format

FORMAT = 1
FOLDER, MANIFEST = "checkpoint", "checkpoint.json"

Parts = dict[str, dict[str, Tensor]]


def discard(out: Path) -> None:
    """Remove the checkpoints of the training in `out`, once its results are written."""
    shutil.rmtree(out / FOLDER, ignore_errors=True)


@dataclass(frozen=True)
class Cadence:
    """A checkpoint is due `steps` steps or `minutes` minutes after the last one, whichever comes first."""

    steps: int | None = None
    minutes: float | None = 10.0


@dataclass(eq=False)
class Checkpoints:
    """The checkpoints of the training in `out`.

    Attributes
    ----------
    out : Path
        Run folder.
    identity : mapping
        Plain JSON values that must be equal for a training to continue.
    cadence : Cadence
        How often a checkpoint is due.
    """

    out: Path
    identity: Mapping[str, Any]
    cadence: Cadence
    _last_step: int = 0
    _last_time: float = field(default_factory=time.monotonic)

    @property
    def folder(self) -> Path:
        return self.out / FOLDER

    def due(self, step: int) -> bool:
        steps, minutes = self.cadence.steps, self.cadence.minutes
        return (steps is not None and step - self._last_step >= steps) or (
            minutes is not None and time.monotonic() - self._last_time >= 60 * minutes
        )

    def write(self, step: int, state: Mapping[str, Any], parts: Parts) -> None:
        make_folder(self.folder)
        names = {}
        for part, tensors in parts.items():  # one at a time: memory for one part's bytes is enough
            data = save_tensors({name: value.detach().contiguous() for name, value in tensors.items()})
            names[part] = f"{part}-{hashlib.sha256(data).hexdigest()}.safetensors"
            if not (self.folder / names[part]).exists():
                write_file(self.folder / names[part], data)
        manifest = {"format": FORMAT, "identity": self.identity, "step": step, "state": state, "parts": names}
        write_file(self.folder / MANIFEST, json.dumps(manifest).encode())
        for path in self.folder.glob("*.safetensors"):
            if path.name not in names.values():
                path.unlink(missing_ok=True)
        self._last_step, self._last_time = step, time.monotonic()

    def read(self) -> tuple[dict[str, Any], Parts] | None:
        """State and parts of the last checkpoint, None if there is none.

        Raises
        ------
        InputError
            If it belongs to another training.
        StorageError
            If it is damaged.
        """
        if not (self.folder / MANIFEST).is_file():
            return None
        sweep_temp(self.folder)
        try:
            manifest = json.loads((self.folder / MANIFEST).read_bytes())
            check_format(self.folder / MANIFEST, manifest["format"], FORMAT, instead="train again")
            self._compare(manifest["identity"])
            parts = {}
            for part, name in manifest["parts"].items():
                data = (self.folder / Path(name).name).read_bytes()
                if hashlib.sha256(data).hexdigest() not in name:
                    raise StorageError(f"{self.folder / name} is damaged (its SHA-256 is not its name's): train again")
                parts[part] = load_tensors(data)
            self._last_step, state = manifest["step"], manifest["state"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise StorageError(f"{self.folder} holds a damaged checkpoint ({error}): train again") from error
        return state, parts

    def _compare(self, stored: Mapping[str, Any]) -> None:
        now = json.loads(json.dumps(self.identity))
        different = sorted(name for name in {*stored, *now} if stored.get(name) != now.get(name))
        if different:
            raise InputError(
                f"{self.folder} belongs to a training with another {', '.join(different)}: "
                "resume it with the same, or train again"
            )
