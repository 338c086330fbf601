"""`annotate` from the command line: pages and their answers come in, tables for `agreement` come out."""

import csv
import shutil
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from consistency.data.annotations import annotations_csv
from koclip_consistency.workflows.annotate import rate
from tests.builders.annotations import answer, lines_about, undoing
from tests.builders.commands import Run, rows_of


@pytest.fixture
def data(small_demo: Path, tmp_path: Path) -> list[object]:
    return [
        "--data",
        small_demo / "combined_data.csv",
        "--images",
        small_demo / "image",
        "--answers",
        tmp_path / "answers",
    ]


def test_from_saved_answers_to_agreement(run: Run, small_demo: Path, data: list[object], tmp_path: Path) -> None:
    kim = lines_about(small_demo, [1, 2, 3, 4, 5], [5, 4, 3, 0, 1], annotator="김 철수")
    lee = lines_about(small_demo, [1, 2, 3, 5], [5, 3, 3, 2], annotator="lee", queue="doubtful")
    (tmp_path / "answers-김 철수.csv").write_bytes(annotations_csv([*kim, undoing(kim[1])]))
    (tmp_path / "answers-lee (1).csv").write_bytes(annotations_csv(lee))
    words = ["annotate", "import", tmp_path / "answers-김 철수.csv", tmp_path / "answers-lee (1).csv", *data]
    ran = run(*words, "--json")
    assert ran.code == 0, ran.stderr
    assert [(each["annotator"], each["new"], each["known"]) for each in ran.json()] == [
        ("김 철수", 6, 0),
        ("lee", 4, 0),
    ]
    again = run(*words)
    assert again.code == 0
    assert "0 new lines of 김 철수, 6 were there already" in again.stderr

    found = run("annotate", "status", *data, "--json").json()
    pairs = found[0]["done"] + found[0]["left"]
    assert [(each["annotator"], each["done"], each["cannot_say"], each["undone"]) for each in found] == [
        ("lee", 4, 0, 0),
        ("김 철수", 4, 1, 1),
    ]
    assert 400 < pairs <= len(rows_of(small_demo / "combined_data.csv"))
    assert found[0]["per_hour"] == pytest.approx(360)  # an answer every ten seconds
    (tmp_path / "rows.csv").write_text("row\n1\n7\n")
    listed = run("annotate", "status", *data, "--rows", tmp_path / "rows.csv").stdout
    assert "lee\t1\t1\t0\t0\t3\t360" in listed

    ran = run("annotate", "export", *data[:4], *data[4:], "-o", tmp_path / "rated.csv")
    assert ran.code == 0, ran.stderr
    assert "agreement --data" in ran.stderr
    assert "3 of them were chosen by doubt" not in ran.stderr
    rated, table = rows_of(tmp_path / "rated.csv"), rows_of(small_demo / "combined_data.csv")
    assert [{name: row[name] for name in table[0]} for row in rated] == table
    assert [row["lee"] for row in rated[:6]] == ["5", "3", "3", "", "2", ""]
    assert [row["김 철수"] for row in rated[:6]] == ["5", "", "3", "", "1", ""]
    assert [row["chosen_by"] for row in rated[:6]] == ["random", "doubtful", "random", "", "random", ""]
    agreed = run("agreement", "--data", tmp_path / "rated.csv", "--columns", "lee,김 철수,Score")
    assert agreed.code == 0
    assert "Warning: 1 rows were chosen by doubt" in agreed.stderr
    assert (
        run("agreement", "--data", tmp_path / "rated.csv", "--columns", "lee,김 철수", "--json").json()["by_doubt"] == 0
    )


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"row": 99_999}, "line 3: {data} has no row 99999: name the annotated table with --data"),
        ({"hashtag": "#다른"}, "line 3: the hashtag of row 2 is"),
        ({"image_sha256": "0" * 64}, "but one with 000000000000... was annotated"),
        ({"score": 7}, "line 3: score is '7', expected 1 to 5"),
        ({"id": "same"}, "line 3: the id {first} is that of line 2"),
        ({"annotator": "lee"}, "line 3: the annotator is 'lee', but above 'kim'"),
        ({"annotator": "../kim"}, "the annotator's name is '../kim'"),
    ],
)
def test_answers_that_do_not_fit_are_one_line_and_nothing_is_taken_over(
    run: Run, small_demo: Path, data: list[object], tmp_path: Path, wrong: dict[str, object], said: str
) -> None:
    first, second = lines_about(small_demo, [1, 2], [5, 4])
    wrong = {"id": first.id} if wrong == {"id": "same"} else wrong
    (tmp_path / "a.csv").write_bytes(annotations_csv([first, replace(second, **wrong)]))  # type: ignore[arg-type]
    ran = run("annotate", "import", tmp_path / "a.csv", *data)
    assert (ran.code, ran.stderr.count("\n")) == (2, 1)
    assert said.format(data=data[1], first=first.id) in ran.stderr
    assert not (tmp_path / "answers").exists()


def test_a_file_that_a_spreadsheet_has_saved(run: Run, small_demo: Path, data: list[object], tmp_path: Path) -> None:
    lines = lines_about(small_demo, [1, 2], [5, 4])
    cells = list(csv.reader(annotations_csv(lines).decode().splitlines()))
    with (tmp_path / "a.csv").open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file, delimiter=";").writerows(cells)
    assert run("annotate", "import", tmp_path / "a.csv", *data).code == 0
    assert (tmp_path / "answers" / "answers-kim.csv").read_bytes() == annotations_csv(lines)
    (tmp_path / "b.csv").write_text("row,score\n1,5\n")
    ran = run("annotate", "import", tmp_path / "b.csv", *data)
    assert (ran.code, "it has no column annotator" in ran.stderr) == (2, True)


def test_a_line_with_too_few_cells(run: Run, small_demo: Path, data: list[object], tmp_path: Path) -> None:
    saved = annotations_csv(lines_about(small_demo, [1, 2], [5, 4])).decode().rstrip("\n")
    (tmp_path / "a.csv").write_text(saved.rpartition(",")[0] + "\n", encoding="utf-8")
    ran = run("annotate", "import", tmp_path / "a.csv", *data)
    assert (ran.code, ran.stderr.count("\n")) == (2, 1)
    assert "a.csv, line 3: 10 cells, the header has 11" in ran.stderr


def test_images_that_are_not_there_cannot_be_compared(
    run: Run, small_demo: Path, data: list[object], tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_bytes(annotations_csv(lines_about(small_demo, [1], [5])))
    ran = run("annotate", "import", tmp_path / "a.csv", *data[:2], "--images", tmp_path, *data[4:])
    assert (ran.code, "is not found: name its folder with --images" in ran.stderr) == (2, True)


def test_without_answers(run: Run, data: list[object], tmp_path: Path) -> None:
    ran = run("annotate", "status", *data, "--json")
    assert (ran.code, ran.json()) == (0, [])
    assert "There are no answers yet" in ran.stderr
    ran = run("annotate", "export", *data, "-o", tmp_path / "rated.csv")
    assert (ran.code, ran.stderr.count("\n")) == (2, 1)
    assert "there are no answers in" in ran.stderr
    assert not (tmp_path / "rated.csv").exists()


def test_split_cells_are_exported_as_pairs(run: Run, small_demo: Path, tmp_path: Path) -> None:
    shutil.copytree(small_demo / "image", tmp_path / "image")
    name = sorted(path.name for path in (tmp_path / "image").iterdir())[0]
    (tmp_path / "t.csv").write_text(f"Image Filename,Hashtag,Score,kim\n{name},#바다 #밤,4,x\n", encoding="utf-8")
    digest = sha256((tmp_path / "image" / name).read_bytes()).hexdigest()
    (tmp_path / "a.csv").write_bytes(annotations_csv([answer(2, 1, hashtag="#밤", digest=digest)]))
    data = ["--data", tmp_path / "t.csv", "--images", tmp_path / "image", "--answers", tmp_path / "answers"]
    assert run("annotate", "import", tmp_path / "a.csv", *data, "--split-hashtags").code == 0
    assert run("annotate", "export", *data, "--split-hashtags", "-o", tmp_path / "pairs.csv").code == 0
    assert [row["kim"] for row in rows_of(tmp_path / "pairs.csv")] == ["", "1"]
    ran = run("annotate", "export", *data, "-o", tmp_path / "whole.csv", "--json")  # the row has another hashtag
    assert ran.json()["foreign"] == 1
    assert list(rows_of(tmp_path / "whole.csv")[0])[3:] == ["kim", "kim (annotator)", "chosen_by"]


def test_pauses_do_not_count_as_work() -> None:
    times = ["2026-11-27T10:00:00Z", "2026-11-27T10:00:20Z", "2026-11-27T12:00:00.000Z", "2026-11-27T12:00:10.000Z"]
    assert rate(times) == pytest.approx(2 * 3600 / 30)
    assert rate(times[:1]) is None
    assert rate(times[:1] * 2) is None
