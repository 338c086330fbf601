"""Whole commands on the small demo set: every number recomputed by an outsider, every answer repeated by `score`."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from tests.builders.commands import Run
from tests.promises import recompute_metrics

COMMANDS = {
    "similarity": ["similarity"],
    "heads-paper": ["heads", "--preset", "paper"],
    "heads": ["heads", "--protocol", "grouped"],
    "heads-two-way": ["heads", "--intervals", "two-way"],
    "heads-hashtag-two-way": ["heads", "--intervals", "two-way", "--protocol", "hashtag"],
    "heads-grid": ["heads", "--grid", "--grid-file", "GRID", "--inner-folds", "3"],
    "finetune": ["finetune", "--epochs", "1"],
    "finetune-paper": ["finetune", "--preset", "paper", "--epochs", "1"],
}
GRID = """
[[grid]]
features = ["full", "concat"]
hidden = [[], [16]]
loss = ["cross-entropy", "corn"]
epochs = [5]
"""


LONG = ("heads-hashtag-two-way", "finetune-paper")


@pytest.fixture(scope="module")
def folder_of_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    (folder / "grid.toml").write_text(GRID)
    return folder


def options(small_demo: Path, folder_of_runs: Path, command: str) -> list[object]:
    cache = [] if command == "finetune" else ["--cache", folder_of_runs / "cache"]
    return ["--data", small_demo / "combined_data.csv", "--images", small_demo / "image", *cache]


def answers(path: Path, system: str | None = None, split: str = "test") -> dict[int, dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = [
            row for row in csv.DictReader(file) if system is None or (row["system"], row["split"]) == (system, split)
        ]
    return {int(row["row"]): row for row in rows}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name in LONG)) for name in COMMANDS],
)
def test_run_folder_scores_again(run: Run, small_demo: Path, folder_of_runs: Path, name: str) -> None:
    words = [str(folder_of_runs / "grid.toml") if word == "GRID" else word for word in COMMANDS[name]]
    common = options(small_demo, folder_of_runs, words[0])
    ran = run(*words, "--backbone", "tiny", *common, "--out", folder_of_runs / name, "--json")
    assert ran.code == 0, ran.stderr
    entries = ran.json()
    if name == "heads":
        assert "only 12 images are tested: intervals are wide" in ran.stderr
    assert {"majority", "text-only", "name-and-text"} <= {entry["system"] for entry in entries}
    system = {"similarity": "similarity-exact"}.get(name, name.removesuffix("-two-way").removesuffix("-hashtag"))
    assert system in {entry["system"] for entry in entries}
    assert recompute_metrics.check(folder_of_runs / name, {system}) <= recompute_metrics.TOLERANCE
    out = folder_of_runs / f"{system}.csv"
    cache = ["--cache", folder_of_runs / "cache"]
    scored = run("score", "--model", folder_of_runs / name, "--system", system, *common[:4], *cache, "-o", out)
    assert scored.code == 0, scored.stderr
    again, before = answers(out), answers(folder_of_runs / name / "predictions.csv", system)
    assert before
    for row, answer in before.items():
        assert again[row]["predicted"] == answer["predicted"]
        assert float(again[row]["value"]) == pytest.approx(float(answer["value"]), abs=1e-5)


def test_published_heads_are_evaluated_both_ways(small_demo: Path, folder_of_runs: Path) -> None:
    entries = json.loads((folder_of_runs / "heads-paper" / "metrics.json").read_text())
    sizes = {entry["split"]: entry["n"] for entry in entries if entry["system"] == "heads-paper"}
    with (small_demo / "combined_data.csv").open(encoding="utf-8", newline="") as file:
        rows = sum(1 for _ in csv.DictReader(file))
    assert sizes == {"test": int(np.ceil(0.2 * rows)), "cv": rows}
    with (folder_of_runs / "heads-paper" / "split.csv").open(encoding="utf-8", newline="") as file:
        folds = {row["fold"] for row in csv.DictReader(file)}
    assert folds == {"0", "1", "2", "3", "4"}


def test_report_and_compare(run: Run, folder_of_runs: Path) -> None:
    runs = [folder_of_runs / "heads", folder_of_runs / "heads-grid"]
    ran = run("report", *runs, "-o", folder_of_runs / "report.html")
    assert ran.code == 0, ran.stderr
    page = (folder_of_runs / "report.html").read_text(encoding="utf-8")
    assert "heads-grid" in page
    assert "data:image/" in page
    compared = run("compare", *runs, "--json")
    assert compared.code == 0, compared.stderr
    assert {difference["metric"] for difference in compared.json()} >= {"macro_f1", "qwk"}
    assert "from 10,000 resamples of the test images" in compared.stderr
    assert "do not cover another training" in compared.stderr
