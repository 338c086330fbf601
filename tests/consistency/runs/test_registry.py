"""Runs below a folder: what each is, what is broken about it, and what may be deleted."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from consistency.errors import InputError
from consistency.options import Output
from consistency.runs.registry import check_deletable, delete_run, list_runs
from tests.builders.results import make_result, open_run, write_run


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    control = make_result("majority", seed=3, backbone="none")
    write_run(folder / "heads", [make_result(), make_result("heads-grid", seed=1), control])
    write_run(folder / "all", [make_result(seed=2)], command="demo")
    write_run(folder / "all" / "similarity", [make_result("similarity-exact", seed=4, split="cv")])
    open_run(Output(out=folder / "begun", runs=folder), command="finetune")
    (folder / "notes").mkdir()
    (folder / "notes" / "a.txt").write_text("mine")
    return folder


def test_every_run_is_described(runs: Path) -> None:
    found = {entry.name: entry for entry in list_runs(runs)}
    assert list(found) == ["all", "all/similarity", "begun", "heads"]
    heads = found["heads"]
    assert (heads.state, heads.command, heads.backbone, heads.protocol) == ("finished", "heads", "tiny", "grouped")
    entries = {e["system"]: e for e in json.loads((runs / "heads" / "metrics.json").read_bytes())}
    best = max(("heads", "heads-grid"), key=lambda s: entries[s]["metrics"]["qwk"] + entries[s]["metrics"]["macro_f1"])
    assert heads.best == entries[best]
    assert heads.systems == 2
    assert heads.bytes == sum(path.stat().st_size for path in (runs / "heads").iterdir())
    assert found["all"].bytes > found["all/similarity"].bytes
    assert found["all/similarity"].best is not None
    assert found["all/similarity"].best["split"] == "cv"
    begun = found["begun"]
    assert (begun.state, begun.command, begun.best, begun.problem) == ("unfinished", "finetune", None, None)
    told = heads.as_dict()
    assert (told["run"], told["system"], told["metrics"]) == ("heads", best, entries[best]["metrics"])
    assert begun.as_dict()["metrics"] is None


def as_is(text: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(text)


def as_link(path: Path) -> None:
    path.rename(path.with_name("moved"))
    path.symlink_to(path.with_name("moved"))


@pytest.mark.parametrize(
    ("name", "damage", "says"),
    [
        ("run.json", as_is("{"), "run.json is damaged"),
        ("run.json", as_is('{"command": 1}'), "command is no text"),
        ("run.json", as_is('{"command": "heads"}'), "KeyError: 'finished'"),
        ("run.json", as_link, "is a symbolic link"),
        ("metrics.json", as_is("[1]"), "TypeError"),
        ("metrics.json", as_is('[{"system": "heads", "metrics": {}, "ci95": {}}]'), "KeyError: 'qwk'"),
        ("metrics.json", as_link, "is a symbolic link"),
    ],
)
def test_a_broken_run_is_listed_with_its_reason(
    runs: Path, name: str, damage: Callable[[Path], object], says: str
) -> None:
    damage(runs / "heads" / name)
    found = {entry.name: entry for entry in list_runs(runs)}
    assert found["heads"].state == "broken"
    assert says in str(found["heads"].problem)
    assert found["all"].state == "finished"


def test_a_folder_that_is_missing_or_empty_has_no_runs(tmp_path: Path) -> None:
    assert list_runs(tmp_path) == list_runs(tmp_path / "missing") == []
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file"):
        list_runs(tmp_path / "file")


def test_runs_are_deleted_and_nothing_else(runs: Path) -> None:
    (runs / "heads" / "model").mkdir()
    (runs / "heads" / "model" / "config.json").write_text("{}")
    for name in ("heads", "begun", "all"):
        delete_run(runs / name)
    assert os.listdir(runs) == ["notes"]


def test_what_is_no_run_is_not_deleted(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="is no run folder"):
        delete_run(runs / "notes")
    with pytest.raises(InputError, match="is no folder"):
        delete_run(runs / "missing")
    (runs / "link").symlink_to(runs / "heads")
    with pytest.raises(InputError, match="is no folder"):
        delete_run(runs / "link")
    (runs / "heads" / "thesis.docx").touch()
    with pytest.raises(InputError, match="heads holds thesis.docx, which no run writes"):
        delete_run(runs / "heads")
    (runs / "all" / "similarity" / "photos").mkdir()
    with pytest.raises(InputError, match="similarity holds photos"):
        delete_run(runs / "all")
    monkeypatch.chdir(runs / "begun")
    with pytest.raises(InputError, match="holds the working directory"):
        delete_run(runs / "begun")
    (runs / "mine").mkdir()
    (runs / "mine" / "run.json").write_text('{"name": "of another program"}')
    with pytest.raises(InputError, match="cannot be told to be a run"):
        delete_run(runs / "mine")
    assert sorted(os.listdir(runs)) == ["all", "begun", "heads", "link", "mine", "notes"]


def test_a_broken_run_may_be_deleted_if_it_says_what_it_was(runs: Path) -> None:
    (runs / "heads" / "metrics.json").write_text("[")
    check_deletable(runs / "heads")
