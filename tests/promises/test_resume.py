"""A killed run continues with `--resume RUN_DIR` alone, from any working directory, and ends in the same bytes."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CLI = [sys.executable, str(ROOT / "cli.py")]
COMPARED = ("predictions.csv", "metrics.json", "split.csv")
GRID = """
[[grid]]
hidden = [[], [16], [32]]
loss = ["cross-entropy", "emd", "corn"]
lr = [0.001, 0.003]
epochs = [12]
"""
RUNS = {
    "finetune": (
        ["finetune", "--max-steps", "4", "--checkpoint-steps", "1", "--threads", "1", "--seed", "5"],
        "checkpoint.json",
        ["finetune", "--resume"],
        ["model/model.safetensors", "head.safetensors"],
    ),
    "heads": (
        ["heads", "--grid", "--grid-file", "grid.toml", "--inner-folds", "2", "--ensemble", "2"],
        "grid_state.json",
        ["heads", "--grid", "--resume"],
        ["leaderboard.csv", "head-1/head.safetensors"],
    ),
    "paper": (
        ["paper", "--quick", "--skip", "finetune"],
        "*-similarity/run.json",  # the first of several runs is finished
        ["paper", "--resume"],
        ["*-heads-paper/head.safetensors"],
    ),
}


@pytest.mark.parametrize(
    "name", ["heads", *(pytest.param(name, marks=pytest.mark.slow) for name in ("finetune", "paper"))]
)
def test_resume_alone_continues_a_killed_run(name: str, small_demo: Path, tmp_path: Path) -> None:
    began, state, resume, weights = RUNS[name]
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    shutil.copytree(small_demo, home / "data")
    elsewhere.mkdir()
    (home / "grid.toml").write_text(GRID)
    cache = [] if name == "finetune" else ["--cache", "vectors"]
    command = [*CLI, *began, "--backbone", "tiny", "--images", "data/image", *cache, "--quiet"]
    subprocess.run([*command, "--out", "whole"], cwd=home, check=True, timeout=300)
    killed = subprocess.Popen([*command, "--out", "killed"], cwd=home)
    deadline = time.monotonic() + 120
    while not (found := list((home / "killed").rglob(state))) and time.monotonic() < deadline:
        assert killed.poll() is None, "the run ended before it could be killed"
        time.sleep(0.02)
    assert found, f"no {state} was written"
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not (home / "killed" / "run.json").exists()
    first = found[0].read_bytes()
    subprocess.run([*CLI, *resume, home / "killed", "--quiet"], cwd=elsewhere, check=True, timeout=300)
    for pattern in (*COMPARED, *weights):
        files = [file.relative_to(home / "whole") for file in (home / "whole").rglob(pattern)]
        assert files, pattern
        for file in files:
            assert (home / "killed" / file).read_bytes() == (home / "whole" / file).read_bytes(), file
    if name == "paper":  # what was finished is not repeated
        assert found[0].read_bytes() == first
    assert not list(elsewhere.iterdir())
