"""A pipe in a folder that somebody sent ends a command in one line, instead of keeping it waiting."""

import os
import shutil
from pathlib import Path

import pytest

from consistency.errors import InputError
from consistency.folders import refuse_pipes
from tests.builders.commands import Run, data_options


@pytest.mark.parametrize("name", ["pipe", "model/pipe"])
def test_pipes_and_devices_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    refuse_pipes(tmp_path, InputError)
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match=f"{name} is a pipe, a socket or a device"):
        refuse_pipes(tmp_path, InputError)
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to("/dev/zero")
    with pytest.raises(InputError, match="device"):
        refuse_pipes(tmp_path, InputError)


@pytest.mark.parametrize("name", ["head.json", "head.safetensors", "thresholds.json"])
def test_a_run_with_a_pipe_cannot_score(run: Run, trained: Path, small_demo: Path, tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(trained / "runs" / "heads", tmp_path / "run")
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    image = sorted((small_demo / "image").iterdir())[0]
    ran = run("score", "--model", folder, "--image", image, "--hashtag", "바다")
    assert (ran.code, ran.stderr.count("\n")) == (2, 1)
    assert f"{name} is a pipe" in ran.stderr


def test_a_model_folder_with_a_pipe(run: Run, trained: Path, small_demo: Path, tmp_path: Path) -> None:
    from demo import tiny

    folder = shutil.copytree(Path(str(tiny.__path__[0])), tmp_path / "model")
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")
    ran = run("extract", "--backbone", folder, *data_options(small_demo, trained))
    assert (ran.code, ran.stderr.count("\n")) == (2, 1)
    assert "config.json is a pipe" in ran.stderr
