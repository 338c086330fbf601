"""`runs` from the command line: the list, its filters and order, and `runs gc`."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli import app
from consistency.options import Output
from tests.builders.commands import Run
from tests.builders.results import make_result, open_run, write_run


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    write_run(folder / "a", [make_result(seed=1)])
    write_run(folder / "b", [make_result("finetune", seed=2, protocol="paper")], command="finetune")
    write_run(folder / "c", [], command="extract")
    open_run(Output(out=folder / "d", runs=folder), command="finetune")
    (folder / "broken").mkdir()
    (folder / "broken" / "run.json").write_text("{")
    return folder


def names(run: Run, runs: Path, *words: object) -> list[str]:
    return [entry["run"] for entry in run("runs", "--runs", runs, *words, "--json").json()]


def test_runs_are_listed_with_their_figures(run: Run, runs: Path) -> None:
    ran = run("runs", "--runs", runs)
    assert ran.code == 0
    title, header, *lines = ran.stdout.splitlines()
    assert header.split("\t") == [
        *("run", "command", "backbone", "protocol", "system", "rows", "QWK", "macro-F1", "age", "size")
    ]
    (entry,) = json.loads((runs / "a" / "metrics.json").read_bytes())
    low, high = entry["ci95"]["qwk"]
    cells = {line.split("\t")[0]: line.split("\t") for line in lines if line}
    assert cells["a"][1:7] == [
        *("heads", "tiny", "grouped", "heads", "60"),
        f"{entry['metrics']['qwk']:.3f} {low:.2f}–{high:.2f}",
    ]
    assert cells["d"][6] == "unfinished"
    assert cells["broken"][6] == "broken"
    assert cells["c"][4:8] == ["–"] * 4
    assert "broken cannot be read: " in ran.stderr
    assert ran.stdout == run("runs", "list", "--runs", runs).stdout


def test_filters_and_order(run: Run, runs: Path) -> None:
    assert names(run, runs) == ["a", "b", "broken", "c", "d"]
    assert names(run, runs, "--where", "command=finetune") == ["b", "d"]
    assert names(run, runs, "--where", "command=finetune", "--where", "state=finished") == ["b"]
    assert names(run, runs, "--where", "protocol=paper") == ["b"]
    assert names(run, runs, "--where", "system=heads") == ["a"]
    qwk = {n: json.loads((runs / n / "metrics.json").read_bytes())[0]["metrics"]["qwk"] for n in "ab"}
    assert names(run, runs, "--sort", "qwk")[:2] == sorted(qwk, key=lambda name: -qwk[name])
    sizes = [entry["bytes"] for entry in run("runs", "--runs", runs, "--sort", "size", "--json").json()]
    assert sizes == sorted(sizes, reverse=True)
    none = run("runs", "--runs", runs, "--where", "backbone=clip")
    assert (none.code, none.stdout) == (0, "")
    assert "has no such runs" in none.stderr
    wrong = run("runs", "--runs", runs, "--where", "color=red")
    assert wrong.code == 2
    assert "--where color=red is no filter: expected one of command=..., backbone=" in wrong.stderr


def test_gc_shows_asks_and_deletes(run: Run, runs: Path) -> None:
    shown = run("runs", "gc", "--runs", runs, runs / "a", "--unfinished", "--json")
    assert shown.json()["named"] == [str(runs / "a"), str(runs / "d")]
    assert shown.json()["deleted"] == []
    assert "Nothing was deleted; 2 runs" in shown.stderr
    gc = ["runs", "gc", "--runs", str(runs), str(runs / "a"), "--unfinished", "--delete"]
    refused = CliRunner().invoke(app, gc, input="n\n")
    assert refused.exit_code == 0
    assert "MB)? [y/N]" in refused.stderr
    nobody = CliRunner().invoke(app, gc, input="")
    assert (nobody.exit_code, "nobody to ask" in nobody.stderr) == (2, True)
    assert len(list(runs.iterdir())) == 5
    assert run(*gc, "--yes", "--json").json()["deleted"] == [str(runs / "a"), str(runs / "d")]
    assert sorted(path.name for path in runs.iterdir()) == ["b", "broken", "c"]


def test_gc_refuses(run: Run, runs: Path) -> None:
    nothing = run("runs", "gc", "--runs", runs, "--delete")
    assert (nothing.code, "nothing is named" in nothing.stderr) == (2, True)
    mixed = run("runs", "gc", "--runs", runs, runs / "a", runs.parent, "--delete", "--yes")
    assert (mixed.code, "is no run folder" in mixed.stderr) == (2, True)
    assert (runs / "a").is_dir()
    alone = run("runs", "gc", "--runs", runs, runs / "a", "--yes")
    assert (alone.code, "--yes needs --delete" in alone.stderr) == (2, True)
