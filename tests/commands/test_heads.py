"""`heads`: one head, a grid and the published recipe; what they leave in the run folder."""

import json
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from tests.builders.commands import Run, data_options, rows_of

GRID = """
[[grid]]
features = ["concat"]
hidden = [[]]
optimizer = ["ridge"]
weight_decay = [1.0, 10.0]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("heads")


def test_one_head(run: Run, small_demo: Path, folder: Path) -> None:
    ran = run("heads", "--backbone", "tiny", *data_options(small_demo, folder), "--out", folder / "one", "--json")
    assert ran.code == 0, ran.stderr
    entries = {(entry["system"], entry["split"]): entry for entry in ran.json()}
    assert {("heads", "test"), ("majority", "test"), ("text-only", "test")} <= entries.keys()
    assert ran.json() == json.loads((folder / "one" / "metrics.json").read_text())
    answers = [row for row in rows_of(folder / "one" / "predictions.csv") if row["system"] == "heads"]
    tested = [row for row in answers if row["split"] == "test"]
    assert len(tested) == entries["heads", "test"]["n"]
    right = sum(row["score"] == row["predicted"] for row in tested) / len(tested)
    assert entries["heads", "test"]["metrics"]["accuracy"] == pytest.approx(right)
    for row in answers:
        assert sum(float(row[f"p{score}"]) for score in range(1, 6)) == pytest.approx(1)
    assert all(tensor.size for tensor in load_file(folder / "one" / "head.safetensors").values())


def test_a_grid_lists_its_leaders(run: Run, small_demo: Path, folder: Path) -> None:
    (folder / "grid.toml").write_text(GRID)
    options = ["--backbone", "tiny", *data_options(small_demo, folder), "--inner-folds", 3]
    ran = run("heads", "--grid", "--grid-file", folder / "grid.toml", *options, "--out", folder / "grid", "--json")
    assert ran.code == 0, ran.stderr
    assert "heads-grid" in {entry["system"] for entry in ran.json()}
    leaders = rows_of(folder / "grid" / "leaderboard.csv")
    assert len(leaders) == 2
    assert sorted(float(row["weight_decay"]) for row in leaders) == [1.0, 10.0]
    (chosen,) = [row for row in leaders if row["chosen"] == "True"]
    head = json.loads((folder / "grid" / "head.json").read_text())
    assert head["config"]["weight_decay"] == float(chosen["weight_decay"])


def test_the_published_recipe_tests_on_its_split_and_out_of_fold(run: Run, small_demo: Path, folder: Path) -> None:
    options = ["--backbone", "tiny", *data_options(small_demo, folder), "--preset", "paper"]
    ran = run("heads", *options, "--out", folder / "paper", "--json")
    assert ran.code == 0, ran.stderr
    found = {(entry["protocol"], entry["split"]) for entry in ran.json() if entry["system"] == "heads-paper"}
    assert found == {("paper", "test"), ("paper", "cv")}


def test_a_grid_file_that_cannot_be_read_is_one_line(run: Run, small_demo: Path, folder: Path) -> None:
    (folder / "broken.toml").write_text("[[grid]]\nhidden = [[]\n")
    options = ["--backbone", "tiny", *data_options(small_demo, folder)]
    ran = run("heads", "--grid", "--grid-file", folder / "broken.toml", *options, "--out", folder / "broken")
    assert (ran.code, ran.stderr.count("\n")) == (2, 1)
    assert "broken.toml" in ran.stderr
    assert not (folder / "broken").exists()
