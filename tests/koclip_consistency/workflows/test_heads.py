"""`heads` as a whole: nothing of it sees a test label, an interrupted grid ends the same, files go to and fro."""

import csv
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from consistency.backbone.model import load_backbone
from consistency.backbone.resolve import resolve_backbone
from consistency.data.hashtags import hashtag_identity
from tests.builders.commands import Run

ROOT = Path(__file__).parents[3]
GRID = """
[[grid]]
features = ["full", "concat"]
hidden = [[8]]
loss = ["cross-entropy", "corn", "regression"]
epochs = 4

[[grid]]
hidden = []
optimizer = "ridge"
weight_decay = [0.1, 1.0]
epochs = 1
"""
FITTING = """
[[grid]]
features = "concat"
hidden = [[8], [16]]
loss = ["cross-entropy", "emd"]
epochs = 4
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for runs, with grid files and a cache that the first of them fills."""
    folder = tmp_path_factory.mktemp("heads")
    (folder / "grid.toml").write_text(GRID)
    (folder / "fitting.toml").write_text(FITTING)
    return folder


def source(data: Path, place: Path) -> list[str]:
    options = {"--data": data / "combined_data.csv", "--images": data / "image", "--cache": place / "cache"}
    return [str(word) for option in options.items() for word in option]


def grid(place: Path, name: str = "grid.toml") -> list[str]:
    return ["heads", "--grid", "--grid-file", str(place / name), "--inner-folds", "2", "--backbone", "tiny"]


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def written(folder: Path) -> dict[str, bytes]:
    """Everything that does not tell of times, machine or options."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "run.json"}


def probabilities(rows: list[dict[str, str]]) -> np.ndarray[Any, Any]:
    return np.array([[float(row[f"p{score}"]) for score in range(1, 6)] for row in rows])


# --- test labels ---------------------------------------------------------------------------------------------

LEARNED = {
    "similarity": (["similarity"], {"thresholds.json"}),
    "heads": (["heads"], {"head.safetensors", "head.json"}),
    "heads-grid": (["GRID"], {"leaderboard.csv", "grid_state.json", "head.safetensors", "head.json"}),
}


def relabelled(data: Path, split: Path, to: Path) -> int:
    """A copy of the data in which test pairs have changed their scores with one another and turned 1 into 5, 2 into 4;
    how many rows differ. Repeats of a pair keep one score."""
    rows = rows_of(data / "combined_data.csv")
    pairs = [(row["Image Filename"], hashtag_identity(row["Hashtag"])) for row in rows]
    sides = [row["split"] for row in rows_of(split)]
    test = {pair: row["Score"] for pair, row, side in zip(pairs, rows, sides, strict=True) if side == "test"}
    permuted = np.random.default_rng(0).permutation([6 - int(score) for score in test.values()]).tolist()
    scores = dict(zip(test, map(str, permuted), strict=True))
    to.mkdir()
    (to / "image").symlink_to(data / "image")
    with (to / "combined_data.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(row | {"Score": scores.get(pair, row["Score"])} for pair, row in zip(pairs, rows, strict=True))
    return sum(scores[pair] != score for pair, score in test.items())


@pytest.mark.parametrize("name", LEARNED)
def test_what_is_learned_knows_no_test_label(
    run: Run, small_demo: Path, place: Path, tmp_path: Path, name: str
) -> None:
    """The split depends on all labels (it balances them), so it is drawn once and then read from its file."""
    words, learned = LEARNED[name]
    command = grid(place) if words == ["GRID"] else [*words, "--backbone", "tiny"]
    split = place / "split" / "split.csv"
    if not split.exists():
        drawn = run("similarity", "--backbone", "tiny", *source(small_demo, place), "--out", split.parent)
        assert drawn.code == 0, drawn.stderr
    first = run(*command, *source(small_demo, place), "--split", split, "--out", tmp_path / "a")
    assert first.code == 0, first.stderr
    assert relabelled(small_demo, split, tmp_path / "data") > 60
    second = run(*command, *source(tmp_path / "data", place), "--split", split, "--out", tmp_path / "b")
    assert second.code == 0, second.stderr
    a, b = written(tmp_path / "a"), written(tmp_path / "b")
    assert learned < set(a)
    for file in (*learned, "split.csv"):
        assert a[file] == b[file], file
    assert a["metrics.json"] != b["metrics.json"]  # the test labels did change


# --- interruptions -------------------------------------------------------------------------------------------


def in_a_terminal(command: list[str], columns: int) -> tuple[int, str]:
    """Exit code, and what a process says on its stderr, a terminal of that width."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": str(columns), "LINES": "40"}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    said = b""
    try:
        while part := os.read(ours, 1 << 16):
            said += part
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    return process.wait(), said.decode()


@pytest.fixture(scope="module")
def whole(small_demo: Path, place: Path) -> tuple[Path, str]:
    """The folder of a grid that nothing interrupted, and what it showed in a terminal of 80 columns."""
    arguments = [*grid(place), *source(small_demo, place), "--threads", "1", "--out", str(place / "whole")]
    code, said = in_a_terminal([sys.executable, "cli.py", *arguments], 80)
    assert code == 0, said
    return place / "whole", said


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=lambda how: how.name)
def test_an_interrupted_grid_goes_on_to_the_same_bytes(
    run: Run, small_demo: Path, place: Path, tmp_path: Path, whole: tuple[Path, str], how: signal.Signals
) -> None:
    folder, state = tmp_path / "run", tmp_path / "run" / "grid_state.json"
    arguments = [*grid(place), *source(small_demo, place), "--threads", "1"]
    command = [sys.executable, "cli.py", *arguments, "--out", str(folder)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not (state.exists() and state.read_bytes().count(b"\n") > 3):
        time.sleep(0.002)
    process.send_signal(how)
    _, said = process.communicate(timeout=60)
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert said.strip().endswith(f"what is finished is kept: run it again with --resume {folder}")
        assert "\n" not in said.strip()
    else:
        assert process.returncode == -signal.SIGKILL
    kept = state.read_bytes()
    assert 0 < len(kept) < len((whole[0] / "grid_state.json").read_bytes())
    assert not (folder / "run.json").exists()
    resumed = run(*arguments, "--resume", folder)
    assert resumed.code == 0, resumed.stderr
    assert state.read_bytes().startswith(kept[: kept.rfind(b"\n") + 1])  # what was done was not done again
    assert written(folder) == written(whole[0])
    assert "rank" not in resumed.stderr  # the leaders are shown in a terminal only
    assert "Training heads" not in resumed.stderr


# --- what a person sees --------------------------------------------------------------------------------------


def test_the_leaders_stand_under_the_bar_in_a_terminal(whole: tuple[Path, str]) -> None:
    folder, said = whole
    frames = [
        re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", frame).splitlines()
        for frame in re.split(r"(?:\x1b\[1A|\x1b\[2K)+", said)
        if "rank" in frame
    ]
    assert frames
    assert all(len(line) <= 80 for frame in frames for line in frame)
    bar, header, *leaders = [line for line in frames[-1] if line.strip()]
    assert bar.startswith("Training heads")
    assert header.split() == ["rank", "features", "hidden", "loss", "lr", "dropout", "score", "epochs"]
    best = [row for row in rows_of(folder / "leaderboard.csv") if int(row["rank"]) <= 5]
    for line, row in zip(leaders, best, strict=True):
        words = [row["rank"], row["features"], row["hidden"], row["loss"]]
        assert line.split()[:4] == words
        mean, spread = (f"{float(row[name]):.3f}" for name in ("score_mean", "score_std"))
        assert f" {mean} ±{spread} " in line


# --- published files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["heads"], "1 of 1 heads do not fit the published .pth layout (full features, 128, cross-entropy)"),
        (["GRID"], "7 of 8 heads do not fit the published .pth layout (full features, 8, cross-entropy)"),
        (["FITTING", "--ensemble", "2"], "an ensemble does not fit the published .pth layout"),
    ],
)
def test_an_export_that_cannot_be_is_refused_at_once(
    run: Run, small_demo: Path, place: Path, tmp_path: Path, words: list[str], said: str
) -> None:
    files = {"GRID": grid(place), "FITTING": grid(place, "fitting.toml"), "heads": ["heads", "--backbone", "tiny"]}
    cache = ["--cache", tmp_path / "cache", "--out", tmp_path / "run"]
    ran = run(*files[words[0]], *words[1:], *source(small_demo, place)[:4], *cache, "--export-pth")
    assert ran.code == 2
    assert said in ran.stderr
    assert ran.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_an_exported_head_scores_as_its_run_did(run: Run, small_demo: Path, place: Path, tmp_path: Path) -> None:
    data = source(small_demo, place)
    ran = run(*grid(place, "fitting.toml"), *data, "--decode", "published", "--out", tmp_path / "run", "--export-pth")
    assert ran.code == 0, ran.stderr
    file = tmp_path / "run" / "classifier.pth"
    state = torch.load(file, weights_only=True)
    assert list(state) == ["0.weight", "0.bias", "3.weight", "3.bias"]
    assert state["0.weight"].shape[1] == 256
    scored = run("score", "--model", file, "--backbone", "tiny", *data, "-o", tmp_path / "scored.csv")
    assert scored.code == 0, scored.stderr
    again = {row["row"]: row for row in rows_of(tmp_path / "scored.csv")}
    before = [row for row in rows_of(tmp_path / "run" / "predictions.csv") if row["system"] == "heads-grid"]
    assert before
    head = json.loads((tmp_path / "run" / "head.json").read_text())
    powered = probabilities(before) ** head["temperature"]  # the file has no place for the temperature
    expected = powered / powered.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities([again[row["row"]] for row in before]), expected, atol=1e-6)


def test_a_published_fine_tuning_scores_as_its_run_did(run: Run, small_demo: Path, place: Path, tmp_path: Path) -> None:
    data = source(small_demo, place)
    words = ["finetune", "--preset", "paper", "--backbone", "tiny", "--max-steps", "2", "--epochs", "1"]
    assert run(*words, *data[:4], "--out", tmp_path / "run").code == 0
    file = tmp_path / "run" / "fine_tuned_tiny.pth"
    scored = run("score", "--model", file, "--backbone", "tiny", *data, "-o", tmp_path / "scored.csv")
    assert scored.code == 0, scored.stderr
    again = {row["row"]: row for row in rows_of(tmp_path / "scored.csv")}
    before = [row for row in rows_of(tmp_path / "run" / "predictions.csv") if row["system"] == "finetune-paper"]
    assert before
    theirs = probabilities([again[row["row"]] for row in before])
    np.testing.assert_allclose(theirs, probabilities(before), atol=1e-5)

    # The script for a frozen backbone saves its whole model under the same names, and does not squash images.
    state = torch.load(file, weights_only=True)
    backbone = load_backbone(resolve_backbone("tiny"), device="cpu")
    torch.save(state | {f"base_model.{k}": v for k, v in backbone.model.state_dict().items()}, tmp_path / "frozen.pth")
    frozen = run("score", "--model", tmp_path / "frozen.pth", "--backbone", "tiny", *data, "-o", tmp_path / "x.csv")
    assert frozen.code == 2
    assert "holds the encoders of tiny as they are, not fine-tuned" in frozen.stderr
