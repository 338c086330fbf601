"""Runs of this user are recognised; edited ones and those of others are not."""

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from consistency.evaluation.results import Audited
from consistency.options import Output
from consistency.runs.origin import made_here, seal
from consistency.runs.read import read_info
from tests.builders.results import edit_info, make_result, open_run, write_run

KEY = Path("koclip-consistency", "key")
SOURCE = {"source": {"data": "pairs.csv", "images": "image"}}


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the user's state, empty."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


def is_ours(run: Path) -> bool:
    return made_here(run, read_info(run))


def test_a_run_of_this_user_is_recognised_wherever_it_moves(state: Path, tmp_path: Path) -> None:
    run = write_run(
        tmp_path / "run", [make_result()], config=dict(SOURCE), details={"b": 0.1, "a": float("nan"), "x": 1}
    )
    assert is_ours(run)
    shutil.copytree(run, tmp_path / "copy")
    assert is_ours(tmp_path / "copy")
    assert is_ours(write_run(tmp_path / "bare", [], config=dict(SOURCE)))
    key = (state / KEY).read_bytes()
    assert len(key) == 32
    assert stat.S_IMODE((state / KEY).stat().st_mode) == 0o600
    assert [path.name for path in (state / KEY).parent.iterdir()] == ["key"]  # nothing temporary stays
    assert key.hex() not in (run / "run.json").read_text()


@pytest.mark.parametrize(
    "change",
    [
        lambda info: info["config"]["source"].update(images="/home/me/private"),
        lambda info: info.update(directory="/home/me"),
        lambda info: info.update(data_digest="cd"),
        lambda info: info.update(seal=None),
        lambda info: info.update(seal=7),
        lambda info: info.update(seal="é" * 64),
        lambda info: info.pop("seal"),
    ],
)
def test_an_edited_run_is_not_ours(state: Path, tmp_path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    run = write_run(tmp_path / "run", [make_result()], config=dict(SOURCE))
    edit_info(run, lambda info: None)  # other white space, the same content
    assert is_ours(run)
    edit_info(run, change)
    assert not is_ours(run)


@pytest.mark.parametrize("name", ["predictions.csv", "audit.csv"])
def test_other_names_of_images_make_it_another_run(state: Path, tmp_path: Path, name: str) -> None:
    """Whoever has a run of this user could otherwise ask for other images of its folder."""
    folder = open_run(Output(out=tmp_path / "run"), command="audit", config=dict(SOURCE))
    folder.write_results([make_result()])
    folder.write_audit([Audited(1, 3, "그림 1.png", "#a", 4, 5, 0.9, (0.0, 0.0, 0.0, 0.1, 0.9), (70,))])
    folder.finish({}, seeds={}, data_digest="ab", fingerprint=None, timings={})
    assert is_ours(folder.path)
    path = folder.path / name
    lines = path.read_text(encoding="utf-8")
    path.write_text(lines.replace("그림 1.png", "private.png"), encoding="utf-8")
    assert not is_ours(folder.path)
    path.unlink()
    assert not is_ours(folder.path)


def test_another_user_is_not_recognised(state: Path, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [make_result()], config=dict(SOURCE))
    (state / KEY).unlink()
    assert not is_ours(run)
    assert not (state / KEY).exists()  # reading makes no key
    theirs = write_run(tmp_path / "theirs", [make_result()], config=dict(SOURCE))
    assert (is_ours(theirs), is_ours(run)) == (True, False)


def test_a_key_that_others_can_read_or_choose_does_not_count(state: Path, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [make_result()], config=dict(SOURCE))
    key = state / KEY
    key.chmod(0o640)
    assert not is_ours(run)
    key.chmod(0o600)
    assert is_ours(run)
    whole = key.read_bytes()
    for content in (b"", whole[:31], whole + b"x"):
        key.write_bytes(content)
        assert not is_ours(run)
        assert seal(run, {}) is None
    key.unlink()
    (tmp_path / "elsewhere").write_bytes(whole)
    (tmp_path / "elsewhere").chmod(0o600)
    key.symlink_to(tmp_path / "elsewhere")
    assert not is_ours(run)
    key.unlink()
    os.mkfifo(key, 0o600)
    assert not is_ours(run)


@pytest.mark.parametrize("place", ["file", "no home"])
def test_a_run_works_where_no_key_can_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file") if place == "file" else "")
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    run = write_run(tmp_path / "run", [make_result()], config=dict(SOURCE))
    assert read_info(run)["seal"] is None
    assert not is_ours(run)
