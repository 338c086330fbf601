"""Doubtful labels: the ranking against plain loops, planted noise, and the command on data with and without truth."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

from consistency.backbone.embeddings import PairEmbeddings
from consistency.data.pairs import read_pairs
from consistency.errors import DataError
from consistency.runs.read import read_audit
from koclip_consistency.workflows.audit import out_of_fold, read_clean
from tests.builders.commands import Run


def test_no_judge_has_seen_the_picture() -> None:
    """An image's own labels never reach its judges: change them, and their probabilities for it stay."""
    rng = np.random.default_rng(0)
    n, pictures = 120, 12
    image, hashtag = rng.integers(0, pictures, n), rng.integers(0, 30, n)
    vectors = [rng.normal(size=(count, 8)).astype(np.float32) for count in (pictures, 30)]
    embeddings = PairEmbeddings(*(v / np.linalg.norm(v, axis=1, keepdims=True) for v in vectors), image, hashtag)
    names = np.array([f"{i}.png" for i in image], dtype=object)
    labels = np.tile(np.arange(5), n // 5)
    chances, fold = out_of_fold(embeddings, labels, names, folds=3, repeats=1, seed=1)
    assert all(len(set(fold[names == name])) == 1 for name in names)
    assert np.allclose(chances.sum(axis=1), 1)
    mine, other = fold == 0, labels.copy()
    for name in set(names[mine]):  # another order of the same scores on an image: the folds stay
        other[names == name] = np.roll(labels[names == name], 1)
    again, fold_again = out_of_fold(embeddings, other, names, folds=3, repeats=1, seed=1)
    assert np.array_equal(fold, fold_again)
    assert np.array_equal(again[mine], chances[mine])
    assert not np.array_equal(again[~mine], chances[~mine])


def options(folder: Path, tmp_path: Path) -> list[object]:
    places = ["--data", folder / "combined_data.csv", "--images", folder / "image", "--cache", tmp_path / "cache"]
    return ["audit", "--backbone", "tiny", "--folds", "3", "--repeats", "1", "--top", "5", *places]


def test_the_command_ranks_every_row_and_measures_itself(run: Run, small_demo: Path, tmp_path: Path) -> None:
    truth = ["--clean", small_demo / "clean_labels.csv"]
    ran = run(*options(small_demo, tmp_path), "--out", tmp_path / "run", "--json", *truth)
    assert ran.code == 0, ran.stderr
    told = ran.json()
    rows = read_audit(tmp_path / "run")
    assert rows is not None
    table = read_pairs(small_demo / "combined_data.csv")
    distinct = set(zip(table.images, table.hashtags, strict=True))
    assert len(rows) == told["n"] == len(distinct)
    everything = sorted(row for audited in rows for row in (audited.row, *audited.repeats))
    assert everything == table.rows.tolist()
    assert [row.rank for row in rows] == list(range(1, len(rows) + 1))
    assert [row.doubt for row in rows] == sorted((row.doubt for row in rows), reverse=True)
    assert [row["row"] for row in told["doubtful"]] == [row.row for row in rows[:5]]

    with (small_demo / "clean_labels.csv").open(encoding="utf-8", newline="") as file:
        clean = {int(line["row"]): int(line["clean_score"]) for line in csv.DictReader(file)}
    moved = [row.score != clean[row.row] for row in rows]
    found = told["precision"]
    assert (found["moved"], found["found"]) == (sum(moved), sum(moved[: sum(moved)]))
    assert found["precision"] > found["chance"]
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert page.count("data-row=") == 5
    assert "Here the true labels are known" in page
    assert f"of {len(rows):,} test rows 0 have their image in train, 0 their exact pair" in page
    assert (
        f"protocol grouped, 3 folds: of {len(rows)} test rows 0 have their image in train, 0 their exact pair"
        in ran.stderr
    )


def test_own_data_need_no_clean_labels(run: Run, small_demo: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    shutil.copytree(small_demo, folder)
    (folder / "clean_labels.csv").unlink()
    (folder / "image" / "demo_001.png").unlink()
    ran = run(*options(folder, tmp_path), "--out", tmp_path / "run", "--json")
    assert ran.code == 3  # an image is missing
    assert ran.json()["precision"] is None
    rows = read_audit(tmp_path / "run")
    assert rows
    assert "demo_001.png" not in {row.image for row in rows}
    assert "Here the true labels are known" not in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("row,clean_score\n1,5\n", "no clean score from 1 to 5 for row 2"),
        ("row,score\n1,5\n", "no table of clean labels"),
        ("row,clean_score\n1,high\n", "no table of clean labels"),
        (None, "cannot be read"),
    ],
)
def test_clean_labels_that_do_not_fit_are_one_line(
    small_demo: Path, tmp_path: Path, content: str | None, said: str
) -> None:
    path = tmp_path / "clean.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=said):
        read_clean(path, read_pairs(small_demo / "combined_data.csv"))
