"""A run folder holds everything in full, and says when it is not complete."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import classification_report, cohen_kappa_score, f1_score, mean_absolute_error

from consistency.data.pairs import Skipped
from consistency.data.splits import make_split
from consistency.durable import TEMP_PREFIX, machine
from consistency.errors import InputError
from consistency.options import Output
from consistency.runs.folder import RunFolder
from consistency.runs.read import read_run
from tests.builders.results import make_result, open_run, write_run
from tests.builders.tables import make_table
from tests.promises import recompute_metrics


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_metrics_are_recomputed_from_predictions_csv_alone(tmp_path: Path) -> None:
    """As an outsider would: the csv module, scikit-learn and the recipe that the documentation states."""
    results = [make_result("heads"), make_result("finetune", seed=1), make_result("heads", seed=2, split="cv")]
    folder = write_run(tmp_path / "run", results)
    rows = read_rows(folder / "predictions.csv")
    expected_columns = "system,row,image,hashtag,score,predicted,value,p1,p2,p3,p4,p5,split,cluster"
    assert ",".join(rows[0]) == expected_columns
    for entry in json.loads((folder / "metrics.json").read_text(encoding="utf-8")):
        mine = [row for row in rows if (row["system"], row["split"]) == (entry["system"], entry["split"])]
        scores, predicted = (np.array([int(row[name]) for row in mine]) for name in ("score", "predicted"))
        assert entry["n"] == len(mine)
        assert entry["metrics"]["macro_f1"] == f1_score(scores, predicted, average="macro")
        assert entry["metrics"]["qwk"] == cohen_kappa_score(scores, predicted, weights="quadratic")
        assert entry["metrics"]["mae"] == mean_absolute_error(scores, predicted)
    assert recompute_metrics.check(folder) <= recompute_metrics.TOLERANCE


def test_undefined_figures_are_null_and_empty(tmp_path: Path) -> None:
    result = make_result("similarity-exact", probabilities=False)
    folder = write_run(tmp_path / "run", [result])
    text = (folder / "metrics.json").read_text(encoding="utf-8")
    assert "NaN" not in text
    (entry,) = json.loads(text)
    assert entry["metrics"]["ece"] is None
    assert entry["ci95"]["ece"] is None
    assert {row["p3"] for row in read_rows(folder / "predictions.csv")} == {""}


def test_every_score_has_its_line(tmp_path: Path) -> None:
    """A score that nobody has and nobody says is there, with zeros, as in scikit-learn's report of five labels."""
    result = make_result("heads")
    p = result.predictions
    p.scores[:], p.predicted[:] = np.minimum(p.scores, 4), np.minimum(p.predicted, 4)
    folder = write_run(tmp_path / "run", [result])
    with (folder / "per_score.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    told = classification_report(p.scores, p.predicted, labels=range(1, 6), output_dict=True, zero_division=0)
    for line in lines:
        expected = told[line["score"]]
        found = [float(line[name]) for name in ("precision", "recall", "f1", "rows")]
        assert found == pytest.approx([expected[name] for name in ("precision", "recall", "f1-score", "support")])
    assert [line["score"] for line in lines] == ["1", "2", "3", "4", "5"]


def test_two_results_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="share a system and a split"):
        write_run(tmp_path / "run", [make_result(), make_result(seed=1)])


def test_default_names_tell_time_command_and_backbone_and_never_meet(tmp_path: Path) -> None:
    names = [
        RunFolder.open(Output(runs=tmp_path / "runs"), command="heads", backbone="models/My CLIP/", config={}).path.name
        for _ in range(3)
    ]
    assert len(set(names)) == 3
    assert all(name[8] == "-" and name[15:].startswith("-heads-My-CLIP") for name in names)


def test_an_earlier_run_is_moved_aside_finished_or_not(tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = write_run(out, [make_result()])
    interrupted = open_run(Output(out=out, runs=tmp_path))  # never finished
    assert interrupted.notes == (f"the run that was in {out} is now {out}.1",)
    write_run(out, [make_result(seed=3)])
    assert first == out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "out.1", "out.2"]
    assert read_run(tmp_path / "out.1").results[0].metrics == make_result().metrics
    assert read_run(out).results[0].metrics == make_result(seed=3).metrics
    with pytest.raises(InputError, match="unfinished run"):
        read_run(tmp_path / "out.2")


def test_folders_that_hold_something_else_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "diary.txt").write_text("dear diary")
    with pytest.raises(InputError, match="holds no run"):
        open_run(Output(out=tmp_path / "notes", runs=tmp_path))
    with pytest.raises(InputError, match="is a file"):
        open_run(Output(out=tmp_path / "notes" / "diary.txt", runs=tmp_path))
    (tmp_path / "empty").mkdir()
    # Left by a process of this machine that was killed while it wrote the first file of a run.
    (tmp_path / "empty" / f"{TEMP_PREFIX}{machine()}-1-{1:016x}").write_bytes(b"{")
    assert open_run(Output(out=tmp_path / "empty", runs=tmp_path)).path.is_dir()
    with pytest.raises(InputError, match="diary.txt is a file, expected a folder"):
        open_run(Output(out=tmp_path / "notes" / "diary.txt" / "run", runs=tmp_path))


def test_split_csv_has_every_row_and_skipped_csv_only_what_was_skipped(tmp_path: Path) -> None:
    table = make_table(["a.png", "b.png", "c.png", "a.png", "a.png"], ["x", "줄\n바꿈", '"', "y", "x"], [1, 2, 3, 4, 1])
    split = make_split(table, table.images)
    folder = open_run(Output(out=tmp_path / "run", runs=tmp_path))
    folder.write_split(table, split)
    folder.write_skipped([])
    assert not (folder.path / "skipped.csv").exists()
    folder.write_skipped([Skipped(None, "d.png", "", "empty, 0 bytes"), Skipped(7, "e.png", "#z", "not found")])
    rows = read_rows(folder.path / "split.csv")
    assert list(rows[0]) == ["row", "image", "hashtag", "split", "fold"]
    assert [row["row"] for row in rows] == ["1", "2", "3", "4", "5"]
    assert [row["hashtag"] for row in rows] == table.hashtags.tolist()
    assert [row["split"] for row in rows] == split.side.tolist()
    assert {row["fold"] for row in rows} == {""}
    assert [row["row"] for row in read_rows(folder.path / "skipped.csv")] == ["", "7"]


def test_run_json_records_what_the_run_was_given_and_where_it_ran(tmp_path: Path) -> None:
    folder = open_run(Output(out=tmp_path / "run", runs=tmp_path), config={"lr": 0.1})
    assert RunFolder.is_unfinished(folder.path)
    folder.finish(
        {"epochs": 3},
        seeds={"seed": 7},
        data_digest="ab",
        pictures_digest="cd",
        fingerprint="ef",
        fields={"model": "tiny"},
        timings={"fit": 1.5},
    )
    assert not RunFolder.is_unfinished(folder.path)
    info = json.loads((folder.path / "run.json").read_text())
    expected = {
        "command": "heads",
        "backbone": "tiny",
        "config": {"lr": 0.1},
        "details": {"epochs": 3},
        "directory": os.getcwd(),
        "seeds": {"seed": 7},
        "data_digest": "ab",
        "pictures_digest": "cd",
        "fingerprint": "ef",
        "fingerprint_fields": {"model": "tiny"},
        "timings": {"fit": 1.5},
    }
    assert info | expected == info
    assert {"versions", "code_digest", "platform"} <= info.keys()
    assert info["started"] <= info["finished"]
