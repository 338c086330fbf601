"""`data relabel`: labels from annotators, where each is from, and figures on the rows that were left alone."""

import json
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from consistency.data.answer_files import AnswersFile
from consistency.errors import DataError
from consistency.evaluation.results import evaluate_predictions
from consistency.runs.folder import SPLIT_COLUMNS
from consistency.text import to_csv
from koclip_consistency.workflows.relabel import COLUMNS, new_label, read_relabelled
from tests.builders.annotations import answer
from tests.builders.commands import Run, rows_of
from tests.builders.results import make_result, write_run

TABLE = """Image Filename,Hashtag,Score,who
a.png,바다,{},"x, y"
a.png,산,1.0,
a.png,#바다,{},
b.png,바다,{},=1
b.png,산,3,
"""


@pytest.mark.parametrize(
    ("rule", "scores", "expected"),
    [
        ("median", [2], 2),
        ("median", [1, 5, 4], 4),
        ("median", [2, 3], 3),  # halves up
        ("mean", [1, 2], 2),
        ("mean", [1, 1, 2], 1),
        ("majority", [1, 1, 5], 1),
        ("majority", [1, 5], None),
    ],
)
def test_several_scores_become_a_label(rule: str, scores: list[int], expected: int | None) -> None:
    assert new_label(rule, scores) == expected  # type: ignore[arg-type]


@pytest.fixture
def data(tmp_path: Path) -> list[object]:
    """Row 3 repeats row 1; row 4 has no label; a column of its own and an odd cell stay as they are."""
    (tmp_path / "image").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "image" / name).write_bytes(name.encode())
    (tmp_path / "pairs.csv").write_text(TABLE.format(5, 5, ""), encoding="utf-8")
    return [
        *("--data", tmp_path / "pairs.csv", "--images", tmp_path / "image"),
        *("--answers", tmp_path / "answers", "-o", tmp_path / "new.csv"),
    ]


def answers(folder: Path, name: str, given: Sequence[tuple[int, str, str, int]]) -> None:
    with AnswersFile(folder / "answers", name) as file:
        digests = {image: sha256(image.encode()).hexdigest() for image in ("a.png", "b.png")}
        file.append(
            [answer(row, score, annotator=name, hashtag=tag, digest=digests[image]) for row, image, tag, score in given]
        )


def test_a_new_table_with_its_provenance(run: Run, data: list[object], tmp_path: Path) -> None:
    answers(tmp_path, "kim", [(1, "a.png", "바다", 2), (4, "b.png", "바다", 4), (5, "b.png", "산", 0)])
    answers(tmp_path, "lee", [(1, "a.png", "바다", 3), (2, "a.png", "산", 1), (5, "b.png", "다른", 1)])
    before = (tmp_path / "pairs.csv").read_bytes()
    ran = run("data", "relabel", *data, "--json")
    assert ran.code == 0, ran.stderr
    told = ran.json()
    assert (told["rows"], told["changed"], told["undecided"], told["foreign"]) == (4, 3, 0, 1)
    assert (tmp_path / "pairs.csv").read_bytes() == before
    assert (tmp_path / "new.csv").read_text(encoding="utf-8") == TABLE.format(3, 3, 4)
    lines = rows_of(tmp_path / "new.relabelled.csv")
    assert [(line["row"], line["old_score"], line["new_score"]) for line in lines] == [
        ("1", "5", "3"),
        ("2", "1", "1"),
        ("3", "5", "3"),
        ("4", "", "4"),
    ]
    assert (lines[0]["annotators"], lines[0]["scores"], lines[0]["rule"]) == ("kim; lee", "2; 3", "median")
    assert len(lines[0]["times"].split("; ")) == len(lines[0]["answers"].split("; ")) == 2
    summary = json.loads((tmp_path / "new.relabelled.json").read_text(encoding="utf-8"))
    assert summary["source_sha256"] == sha256(before).hexdigest()
    assert summary["table_sha256"] == sha256((tmp_path / "new.csv").read_bytes()).hexdigest()
    assert (summary["rows"], summary["changed"], summary["chosen_by"]) == (4, 3, {"random": 4})
    assert summary["annotators"]["kim"]["answers"] == 3

    again = run("data", "relabel", *data)
    assert (again.code, again.stderr.count("\n")) == (2, 1)
    assert "exists, and relabelled tables overwrite nothing" in again.stderr
    two = run("data", "relabel", *data[:-1], tmp_path / "two.csv", "--least", 2, "--rule", "majority")
    assert (two.code, two.stderr.count("\n")) == (2, 1)
    assert "give no pair of" in two.stderr
    assert sorted(path.name for path in tmp_path.glob("two*")) == []


def test_test_rows_of_a_run_keep_their_labels(run: Run, data: list[object], tmp_path: Path) -> None:
    """Row 3 repeats row 1 and is tested, so that neither gets a new label."""
    answers(tmp_path, "kim", [(1, "a.png", "바다", 2), (4, "b.png", "바다", 4)])
    (tmp_path / "run").mkdir()
    sides = ["train", "train", "test", "train", "train"]
    lines = [(row, "x", "y", side, "") for row, side in enumerate(sides, start=1)]
    (tmp_path / "run" / "split.csv").write_bytes(to_csv(SPLIT_COLUMNS, lines))
    ran = run("data", "relabel", *data, "--keep-test", tmp_path / "run", "--json")
    assert ran.code == 0, ran.stderr
    assert (ran.json()["rows"], ran.json()["tested"]) == (1, 1)
    assert (tmp_path / "new.csv").read_text(encoding="utf-8") == TABLE.format(5, 5, 4)
    assert "1 pairs keep their label, because" in ran.stderr
    none = run("data", "relabel", *data[:-1], tmp_path / "two.csv", "--keep-test", tmp_path)
    assert (none.code, "has no split.csv with test rows" in none.stderr) == (2, True)


def test_a_list_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a\n1\n")
    with pytest.raises(DataError, match="lists no relabelled rows"):
        read_relabelled(tmp_path / "x.csv")


def test_figures_move_on_rows_that_were_left_alone(run: Run, tmp_path: Path) -> None:
    """The labels of two rows differ: without the list, the runs are not compared; with it, on the others alone."""
    touched, runs = [3, 30, 9999], {}
    for name, seed in (("before", 0), ("after", 1)):
        p = make_result(seed=seed).predictions
        scores = p.scores.copy()
        if name == "after":
            scores[np.isin(p.rows, touched)] = 6 - scores[np.isin(p.rows, touched)]
        runs[name] = evaluate_predictions(replace(p, scores=scores))
        write_run(tmp_path / name, [runs[name]])
    (tmp_path / "new.relabelled.csv").write_bytes(to_csv(COLUMNS, [(row, *[""] * 11) for row in touched]))
    words = ["compare", tmp_path / "before", tmp_path / "after"]
    refused = run(*words)
    assert (refused.code, "name with --relabelled the list" in refused.stderr) == (2, True)
    said = run(*words, "--relabelled", tmp_path / "new.relabelled.csv", "--json")
    assert said.code == 0, said.stderr
    assert "compared on the 58 rows that were not relabelled; 2 others were left out" in said.stderr
    kept = ~np.isin(runs["before"].predictions.rows, touched)
    errors = [np.abs(each.predictions.scores - each.predictions.predicted)[kept].mean() for each in runs.values()]
    (mae,) = [found for found in said.json() if found["metric"] == "mae"]
    assert (mae["n"], mae["value"]) == (58, pytest.approx(errors[1]))
    assert mae["difference"] == pytest.approx(errors[1] - errors[0])
    assert mae["low"] <= mae["difference"] <= mae["high"]
    (tmp_path / "all.csv").write_bytes(to_csv(["row"], [[3 * row] for row in range(1, 61)]))
    nothing = run(*words, "--relabelled", tmp_path / "all.csv")
    assert (nothing.code, "nothing is left to compare" in nothing.stderr) == (2, True)
