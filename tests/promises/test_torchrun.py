"""`torchrun cli.py finetune`: several real processes give what one gives, and survive the loss of one."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from heads.model import Head, HeadConfig, TrainedHead

ROOT = Path(__file__).parents[2]
SEEDS = ["--seeds", "2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run whose head has no dropout: masks of one process are drawn in another way."""
    folder = tmp_path_factory.mktemp("torchrun")
    config = HeadConfig(hidden=(8,), dropout=0.0, epochs=3)
    (folder / "head").mkdir()
    TrainedHead(config, Head(config, 64), 64, 0).save(folder / "head")
    return folder


@pytest.fixture(scope="module")
def words(small_demo: Path, folder: Path) -> list[str]:
    data = ["--data", small_demo / "combined_data.csv", "--images", small_demo / "image"]
    # Two images to a process in most steps, as to a part of one process.
    batches = ["--batch-size", 4, "--micro-batch", 2, "--epochs", 2, "--max-steps", 6, "--crop", 0.8]
    words = ["finetune", "--backbone", "tiny", *data, "--head", folder / "head", *batches, "--checkpoint-steps", 1]
    return [*map(str, words), "--threads", "1"]


def start(processes: int, *words: object) -> "subprocess.Popen[str]":
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = run if processes > 1 else [sys.executable]
    return subprocess.Popen(
        [*command, "cli.py", *map(str, words)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.fixture(scope="module")
def one(folder: Path, words: list[str]) -> Path:
    process = start(1, *words, *SEEDS, "--out", folder / "one")
    _, stderr = process.communicate()
    assert process.returncode == 0, stderr
    return folder / "one"


def test_two_processes_give_what_one_gives(folder: Path, words: list[str], one: Path) -> None:
    process = start(2, *words, *SEEDS, "--out", folder / "two", "--json")
    stdout, stderr = process.communicate()
    assert process.returncode == 0, stderr
    assert json.loads(stdout)[-1]["system"] == "finetune"  # one value: the other process is silent
    assert {path.name for path in (folder / "two").iterdir()} == {path.name for path in one.iterdir()}
    for name in (
        "model/model.safetensors",
        "head.safetensors",
        "head.json",
        "predictions.csv",
        "metrics.json",
        "seeds.csv",
    ):
        assert (folder / "two" / name).read_bytes() == (one / name).read_bytes(), name
    assert losses(folder / "two") == losses(one)
    assert json.loads((folder / "two" / "run.json").read_text())["details"]["processes"] == 2


def losses(run: Path) -> list[tuple[str, str]]:
    with (run / "history.csv").open() as file:
        return [(line["train_loss"], line["val_loss"]) for line in csv.DictReader(file)]


@pytest.mark.slow
def test_a_killed_process_ends_the_training_which_resumes_with_three(folder: Path, words: list[str], one: Path) -> None:
    out = folder / "killed"  # of one seed, which is the first of two
    process = start(2, *words, "--out", out)
    checkpoint = out / "checkpoint" / "checkpoint.json"
    while not (checkpoint.is_file() and json.loads(checkpoint.read_bytes())["step"] >= 3):
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(second_of(process), signal.SIGKILL)
    _, stderr = process.communicate()
    assert process.returncode != 0
    lines = [line for line in stderr.splitlines() if line.startswith("Error: ")]
    assert lines == [
        "Error: another process of this training has ended, see its message: continue with --resume and the run folder"
    ]

    resumed = start(3, "finetune", "--resume", out)
    _, stderr = resumed.communicate()
    assert resumed.returncode == 0, stderr
    ours, whole = (load_file(run / "model" / "model.safetensors") for run in (out, one))
    for name, weight in whole.items():  # sums of three parts are rounded otherwise than those of two
        torch.testing.assert_close(ours[name], weight, atol=2e-4, rtol=1e-3)
    assert json.loads((out / "run.json").read_text())["details"]["processes"] == 3


def second_of(process: "subprocess.Popen[str]") -> int:
    """The process of rank 1."""
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            environment = path.read_bytes()
            parent = int((path.parent / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended
            continue
        if parent == process.pid and b"\0RANK=1\0" in b"\0" + environment:
            return int(path.parent.name)
    raise AssertionError("there is no second process")


def test_an_error_of_all_processes_is_one_line(folder: Path, words: list[str]) -> None:
    process = start(2, *words, "--out", folder / "wrong", "--data", folder / "nothing.csv")
    _, stderr = process.communicate()
    assert process.returncode != 0
    missing = f"Error: there is no file {folder / 'nothing.csv'}: name the pair table with --data"
    assert [line.partition(",")[0] for line in stderr.splitlines() if "nothing.csv" in line] == [missing]
