"""Commands: what excludes what, presets, JSON errors, completion."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders.commands import Run, data_options

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["heads", "--split", "s.csv", "--protocol", "paper"], "--split and --protocol exclude each other"),
        (["heads", "--resume", "r", "--out", "o"], "--resume and --out exclude each other"),
        (["heads", "--ensemble", "3"], "--ensemble needs --grid"),
        (["heads", "--no-racing"], "--racing/--no-racing needs --grid"),
        (["finetune", "--freeze", "all"], "is neither image nor text nor a whole number from 0"),
        (["heads", "--score-map", "low"], "expected LABEL=SCORE pairs"),
    ],
)
def test_options_that_do_not_go_together(run: Run, arguments: list[str], said: str) -> None:
    ran = run(*arguments)
    assert (ran.code, said in ran.stderr) == (2, True), ran.stderr


def test_preset_paper_changes_defaults_and_an_option_overrides_it(run: Run, small_demo: Path, tmp_path: Path) -> None:
    def config(*arguments: object) -> dict[str, dict[str, object]]:
        data = data_options(small_demo, tmp_path)
        ran = run("similarity", "--backbone", "tiny", *data, "--out", tmp_path / "run", *arguments)
        assert ran.code == 0, ran.stderr
        found: dict[str, dict[str, object]] = json.loads((tmp_path / "run" / "run.json").read_text())["config"]
        return found

    published = config("--preset", "paper")
    assert published["evaluation"]["protocol"] == "paper"
    assert published["encoding"]["decode"] == "published"
    assert published["methods"] == ["simple", "search"]  # type: ignore[comparison-overlap]
    assert config("--preset", "paper", "--protocol", "grouped")["evaluation"]["protocol"] == "grouped"


def test_errors_under_json_are_json(run: Run) -> None:
    for arguments, code in ((["heads", "--data", "none.csv"], 2), (["heads", "--colour"], 2)):
        ran = run(*arguments, "--json")
        error = json.loads(ran.stdout)
        assert (ran.code, error["exit_code"]) == (code, code)
        assert ran.stderr == f"Error: {error['error']}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_for_shells(shell: str) -> None:
    """As docs/command-line.md says: the installed command prints the shell's own script."""
    code = "from cli import app; app.main(prog_name='koclip-consistency')"
    environment = {**os.environ, "_KOCLIP_CONSISTENCY_COMPLETE": f"{shell}_source", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=ROOT)
    if shell == "bash" and "Bash version" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert "koclip-consistency" in done.stdout, done.stderr
    environment |= {"_KOCLIP_CONSISTENCY_COMPLETE": "bash_complete", "COMP_WORDS": "koclip-consistency fin",
                    "COMP_CWORD": "1"}  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "plain,finetune\n"
