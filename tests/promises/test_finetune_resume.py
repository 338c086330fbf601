"""A killed training goes on to the bits it would have had. Kills are real: SIGKILL to a process of its own."""

import hashlib
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from consistency.data.files import find_images
from consistency.errors import InputError, StorageError
from finetune.checkpoint import Cadence, discard
from finetune.config import FinetuneConfig
from heads.model import HeadConfig
from tests.builders.finetuning import Case, make_case, quick
from tests.builders.killed_training import trainings

# Everything that has a state: averaging, dropout, accumulation in several parts, augmentation, warm-up.
CONFIG = quick(
    head=HeadConfig(hidden=(16,), epochs=2, dropout=0.3),
    batch_size=2,
    accumulation=2,
    micro_batch=1,
    epochs=2,
    ema_decay=0.9,
    crop=0.8,
)
PAPER = replace(FinetuneConfig.paper(), epochs=3)
REFIT = replace(CONFIG, average="interpolate", refit=True)


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return make_case(tmp_path_factory.mktemp("resume"))


Train = Callable[..., bool]


@pytest.fixture(scope="module")
def train(case: Case) -> Iterator[Train]:
    """Train in a process of its own; whether it came to the end."""
    with trainings() as run:

        def train(config: FinetuneConfig, out: Path, *, resume: bool = False, kill_at: int | None = None) -> bool:
            code = run(case, config, out, resume, kill_at)
            assert code in (0, -signal.SIGKILL)
            return code == 0

        yield train


def digest(out: Path) -> dict[str, str]:
    names = ("model/model.safetensors", "head.safetensors", "history.json")
    return {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in names}


QUICK = {"paper": PAPER, "refit": REFIT}


def kill_and_resume(train: Train, config: FinetuneConfig, out: Path, *, events: int, seed: int) -> int:
    """Kill a training, and twice what resumes it, at random events; then let it end. How often it was killed."""
    rng = np.random.default_rng(seed)
    for kills in range(3):
        if train(config, out, resume=kills > 0, kill_at=int(rng.integers(events * 2 // 3))):
            return kills
    assert train(config, out, resume=True)
    return 3


@pytest.mark.parametrize(
    "config",
    [pytest.param(CONFIG, id="ema", marks=pytest.mark.slow), *(pytest.param(c, id=name) for name, c in QUICK.items())],
)
@pytest.mark.parametrize(
    "seeds", [range(1), pytest.param(range(100, 110), marks=pytest.mark.slow)], ids=["once", "ten"]
)
def test_killed_trainings_end_with_the_same_bits(
    train: Train, tmp_path: Path, config: FinetuneConfig, seeds: range
) -> None:
    assert train(config, tmp_path / "whole")
    events = int((tmp_path / "whole" / "events").read_text())
    kills = 0
    for seed in seeds:
        kills += kill_and_resume(train, config, tmp_path / str(seed), events=events, seed=seed)
        assert digest(tmp_path / str(seed)) == digest(tmp_path / "whole")
    assert kills >= len(seeds)


def test_a_kill_at_every_call_of_a_checkpoints_writing(train: Train, tmp_path: Path) -> None:
    """The second checkpoint, from its first part to the removal of the first one's parts."""
    config = quick(epochs=1, batch_size=3, average="none")  # 4 steps: two checkpoints
    assert train(config, tmp_path / "whole")
    events = int((tmp_path / "whole" / "events").read_text())
    for number, kill_at in enumerate(range(events - 28, events, 9)):
        out = tmp_path / str(number)
        if not train(config, out, kill_at=kill_at):
            assert train(config, out, resume=True)
        assert digest(out) == digest(tmp_path / "whole")


@pytest.fixture
def stopped(case: Case, tmp_path: Path) -> Path:
    """A folder with checkpoints of a training that was interrupted in its second epoch."""

    def interrupt(record: dict[str, Any]) -> None:
        if record["epoch"] == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        case.run(CONFIG, tmp_path, cadence=Cadence(steps=1), on_epoch=interrupt)
    return tmp_path


def test_another_training_is_not_resumed(case: Case, stopped: Path) -> None:
    with pytest.raises(InputError, match="to a training with another config.lr, seed: resume it with the same"):
        case.run(replace(CONFIG, lr=3e-3), stopped, resume=True, seed=99)
    changed = replace(case, train=case.train[1:])
    with pytest.raises(InputError, match="to a training with another split"):
        changed.run(CONFIG, stopped, resume=True)


def test_other_pictures_under_the_same_names_are_not_resumed(case: Case, stopped: Path, tmp_path: Path) -> None:
    folder = tmp_path / "image"
    shutil.copytree(case.folder / "image", folder)
    shutil.copy(folder / "0.png", folder / "1.png")
    changed = replace(case, files=find_images(case.table.images, folder))
    with pytest.raises(InputError, match="to a training with another images"):
        changed.run(CONFIG, stopped, resume=True)


def test_what_only_changes_memory_may_be_another_when_resumed(
    case: Case, stopped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of the three steps of the second epoch (16 rows of up to 4) goes through the model in fewer parts."""
    parts = []
    backward = torch.Tensor.backward
    monkeypatch.setattr(torch.Tensor, "backward", lambda loss: (parts.append(1), backward(loss))[1])
    frugal = replace(CONFIG, micro_batch=2, gradient_checkpointing=True, picture_memory=1)
    result = case.run(frugal, stopped, resume=True)
    assert [record["epoch"] for record in result.history] == [0, 1, 2]
    assert len(parts) == 6


def test_a_damaged_checkpoint_is_told(case: Case, stopped: Path) -> None:
    part = next((stopped / "checkpoint").glob("weights-*"))
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(data)
    with pytest.raises(StorageError, match="is damaged .its SHA-256 is not its name's.: train again"):
        case.run(CONFIG, stopped, resume=True)
    part.unlink()
    with pytest.raises(StorageError, match="holds a damaged checkpoint"):
        case.run(CONFIG, stopped, resume=True)


def test_only_the_last_checkpoint_stays(stopped: Path) -> None:
    names = sorted(path.name.partition("-")[0] for path in (stopped / "checkpoint").iterdir())
    assert names == ["average", "checkpoint.json", "kept", "optimizer", "weights"]
    discard(stopped)
    assert not (stopped / "checkpoint").exists()


def test_resume_without_a_checkpoint_begins(case: Case, tmp_path: Path) -> None:
    result = case.run(quick(epochs=1), tmp_path, resume=True)
    assert [record["epoch"] for record in result.history] == [0, 1]
    assert not (tmp_path / "checkpoint").exists()  # ten minutes have not passed
