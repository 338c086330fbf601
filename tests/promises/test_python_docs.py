"""The Python face as documented: the blocks of docs/python.md and the examples of every public name run."""

import doctest
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import koclip_consistency as kc
from tests.promises.house import ROOT

PAGE = ROOT / "docs" / "python.md"
BLOCK = re.compile(r"```python\n(.*?)```", re.S)


@pytest.fixture(scope="module")
def place(small_demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like the page's: pairs.csv, image/, and a run of heads in runs/heads."""
    from cli import main

    folder = tmp_path_factory.mktemp("notebook")
    (folder / "pairs.csv").write_bytes((small_demo / "combined_data.csv").read_bytes())
    (folder / "image").symlink_to(small_demo / "image")
    words = ["heads", "--data", folder / "pairs.csv", "--images", folder / "image", "--backbone", "tiny", "--quiet"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("sys.argv", ["cli.py", *map(str, words), "--out", "runs/heads"])
        main()
    return folder


def test_the_blocks_of_the_page_run_in_order(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    blocks = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    assert len(blocks) >= 8
    names: dict[str, Any] = {}
    for number, block in enumerate(blocks):
        exec(compile(block, f"{PAGE.name}, block {number + 1}", "exec"), names)
    shown = capsys.readouterr().out
    assert "qwk" in shown
    assert "there is no file nowhere.csv" in shown
    assert "not found in" in shown


@pytest.mark.parametrize("name", sorted(kc.__all__))
def test_every_public_name_has_an_example_that_runs(place: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(place)
    thing = getattr(kc, name)
    if isinstance(thing, type) and issubclass(thing, Exception):
        assert thing.__doc__
        return
    found = [test for test in doctest.DocTestFinder().find(thing, name, globs={}) if test.examples]
    assert any(test.name == name for test in found), f"{name} has no example"
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    said: list[str] = []
    for test in found:
        runner.run(test, out=said.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(said)


def test_the_page_names_everything_public() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for name in ("read_pairs", "make_split", "embed", "Head", "evaluate", "controls", "load", "ConsistencyError"):
        assert name in text


def test_the_ten_lines_give_the_command_lines_numbers(place: Path, tmp_path: Path) -> None:
    """From another working directory, in a process of its own, with the command line's cache."""
    program = f"""
import json
import koclip_consistency as kc
pairs = kc.read_pairs({str(place / "pairs.csv")!r}, images={str(place / "image")!r})
split = kc.make_split(pairs, protocol="grouped", seed=42)
emb = kc.embed(pairs, backbone="tiny", cache={str(place / "cache")!r}, extract=False)
head = kc.Head().fit(emb[split.train], pairs.scores[split.train])
result = kc.evaluate(head, emb, pairs, split)
print(json.dumps([result.metrics, result.ci95]))
"""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("KOCLIP")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []
    metrics, intervals = json.loads(done.stdout)
    entries = json.loads((place / "runs" / "heads" / "metrics.json").read_text(encoding="utf-8"))
    (entry,) = (entry for entry in entries if entry["system"] == "heads")
    assert metrics == entry["metrics"]
    assert intervals == entry["ci95"]
    assert metrics["qwk"] != 0
