"""`agreement` from the command line: raters, a run beside them, and what is refused."""

import csv
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from tests.builders.commands import Run, rows_of


@pytest.fixture(scope="module")
def rated(small_demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The table of the demo with two people, who leave every tenth cell empty and are off by one at times."""
    path, rng = tmp_path_factory.mktemp("rated") / "rated.csv", np.random.default_rng(0)
    rows = rows_of(small_demo / "combined_data.csv")
    for number, row in enumerate(rows):
        for at, name in enumerate(("human_1", "human_2")):
            moved = int(np.clip(int(row["Score"]) + rng.integers(-1, 2), 1, 5))
            row[name] = "" if number % 10 == at else str(moved)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_raters_and_a_run_beside_them(run: Run, rated: Path, trained: Path) -> None:
    words = ["agreement", "--data", rated, "--columns", "Score,human_1,human_2", "--run", trained / "runs" / "heads"]
    ran = run(*words, "--json")
    assert ran.code == 0, ran.stderr
    said = ran.json()
    rows = rows_of(rated)
    assert said["rows"] == said["krippendorff_alpha_ordinal"]["n"] == len(rows)
    assert [(pair["first"], pair["second"]) for pair in said["pairs"]] == [
        ("Score", "human_1"),
        ("Score", "human_2"),
        ("human_1", "human_2"),
    ]
    both = [(int(row["human_1"]), int(row["human_2"])) for row in rows if row["human_1"] and row["human_2"]]
    assert said["pairs"][2]["n"] == len(both) == sum(map(sum, said["pairs"][2]["confusion"]))
    expected = cohen_kappa_score(*zip(*both, strict=True), weights="quadratic")
    assert said["pairs"][2]["figures"]["kappa_quadratic"] == pytest.approx(expected)
    low, high = said["pairs"][2]["ci95"]["kappa_quadratic"]
    assert low < expected < high

    predicted = {
        int(line["row"]): int(line["predicted"])
        for line in rows_of(trained / "runs" / "heads" / "predictions.csv")
        if line["system"] == "heads"
    }
    assert [(pair["first"], pair["second"]) for pair in said["models"]][:2] == [
        ("heads", "Score"),
        ("heads", "human_1"),
    ]
    assert said["models"][0]["n"] == len(predicted)
    labels = [int(rows[row - 1]["Score"]) for row in predicted]
    model = cohen_kappa_score(list(predicted.values()), labels, labels=[1, 2, 3, 4, 5], weights="quadratic")
    assert said["models"][0]["figures"]["kappa_quadratic"] == pytest.approx(model)
    (ceiling,) = said["ceilings"]
    assert ceiling["difference"] == pytest.approx(ceiling["model"] - ceiling["people"])
    assert ceiling["ci95"][1] < 0  # people who are off by at most one agree better than any model here
    widest = said["disagreements"][0]
    assert widest["spread"] == max(each["spread"] for each in said["disagreements"]) == 2
    assert widest["scores"]["Score"] == int(rows[widest["row"] - 1]["Score"])

    shown = run(*words)
    for text in ("Krippendorff's ordinal alpha", "quadratic kappa", "Systems and raters", "Widest disagreements"):
        assert text in shown.stdout
    assert "from resampled images" in shown.stderr


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"--columns": "Score"}, "expected two or more different columns"),
        ({"--columns": "Score,nobody"}, "has no column 'nobody'"),
        ({"--columns": "Score,Hashtag"}, "column Hashtag: score"),
        ({"--run": "."}, "is no run folder"),
        ({"--data": "gone.csv"}, "there is no file gone.csv"),
    ],
)
def test_what_cannot_be_compared_is_one_line(
    run: Run, rated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    given = {"--data": str(rated), "--columns": "Score,human_1", **changed}
    ran = run("agreement", *(word for pair in given.items() for word in pair))
    assert ran.code == 2
    assert ran.stderr.count("\n") == 1
    assert said in ran.stderr


def test_a_run_on_another_table_is_refused(run: Run, rated: Path, trained: Path, tmp_path: Path) -> None:
    lines = rated.read_text(encoding="utf-8").splitlines()
    (tmp_path / "other.csv").write_text("\n".join([lines[0], *lines[2:], lines[1]]) + "\n", encoding="utf-8")
    words = ["agreement", "--data", tmp_path / "other.csv", "--columns", "human_1,human_2"]
    ran = run(*words, "--run", trained / "runs" / "heads")
    assert ran.code == 2
    assert "name the table that the run was made on" in ran.stderr
