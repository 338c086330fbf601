"""A checkpoint comes back as it was written, to the training that it belongs to."""

import json
from pathlib import Path

import pytest
import torch

from consistency.errors import InputError, StorageError
from finetune.checkpoint import Cadence, Checkpoints, discard


def write(out: Path, step: int = 3, identity: str = "a") -> Checkpoints:
    checkpoints = Checkpoints(out, {"data": identity}, Cadence(steps=5, minutes=None))
    parts = {"weights": {"w": torch.arange(6.0) + step}, "kept": {}}
    checkpoints.write(step, {"epoch": 1, "loss": 0.25}, parts)
    return checkpoints


def test_state_and_parts_come_back(tmp_path: Path) -> None:
    write(tmp_path, step=3)
    write(tmp_path, step=4)
    found = Checkpoints(tmp_path, {"data": "a"}, Cadence()).read()
    assert found is not None
    state, parts = found
    assert state == {"epoch": 1, "loss": 0.25}
    assert parts["weights"]["w"].tolist() == [4, 5, 6, 7, 8, 9]
    assert parts["kept"] == {}
    assert len(list((tmp_path / "checkpoint").glob("weights-*"))) == 1


def test_one_is_due_after_so_many_steps(tmp_path: Path) -> None:
    checkpoints = write(tmp_path, step=3)
    assert [checkpoints.due(step) for step in (7, 8)] == [False, True]


def test_another_training_and_a_damaged_part_are_refused(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(InputError, match="another data"):
        Checkpoints(tmp_path, {"data": "b"}, Cadence()).read()
    (part,) = (tmp_path / "checkpoint").glob("weights-*")
    part.write_bytes(part.read_bytes()[:-1] + b"x")
    with pytest.raises(StorageError, match="is damaged"):
        Checkpoints(tmp_path, {"data": "a"}, Cadence()).read()
    discard(tmp_path)
    assert Checkpoints(tmp_path, {"data": "a"}, Cadence()).read() is None


def test_a_part_is_read_from_the_folder_alone(tmp_path: Path) -> None:
    """A manifest that names a file elsewhere, which has the digest of its name."""
    write(tmp_path / "other")
    (part,) = (tmp_path / "other" / "checkpoint").glob("weights-*")
    write(tmp_path / "own", step=9)
    manifest = tmp_path / "own" / "checkpoint" / "checkpoint.json"
    named = json.loads(manifest.read_text())
    named["parts"]["weights"] = f"../../other/checkpoint/{part.name}"
    manifest.write_text(json.dumps(named))
    with pytest.raises(StorageError, match="damaged checkpoint"):
        Checkpoints(tmp_path / "own", {"data": "a"}, Cadence()).read()
