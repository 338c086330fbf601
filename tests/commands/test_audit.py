"""Doubtful labels: the ranking against plain loops, planted noise, and the command on data with and without truth."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from consistency.backbone.embeddings import PairEmbeddings
from consistency.data.pairs import read_pairs
from consistency.errors import DataError
from consistency.evaluation.doubt import doubts, precision_at_moved, ranking
from consistency.runs.read import read_audit
from koclip_consistency.workflows.audit import out_of_fold, read_clean
from tests.builders.commands import Run


@st.composite
def judged(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (n, 5), often with ties, and labels (n,)."""
    n = draw(st.integers(1, 12))
    counts = [draw(st.lists(st.integers(0, 4), min_size=5, max_size=5).filter(any)) for _ in range(n)]
    labels = draw(st.lists(st.integers(0, 4), min_size=n, max_size=n))
    return np.array([[c / sum(row) for c in row] for row in counts]), np.array(labels, dtype=np.int64)


@given(judged())
def test_doubts_are_those_of_a_plain_loop(case: tuple[np.ndarray, np.ndarray]) -> None:
    probabilities, labels = case
    doubt, suggested = doubts(probabilities, labels)
    for p, y, found, better in zip(probabilities, labels, doubt, suggested, strict=True):
        margins = {k: (p[k] - p[y]) / abs(k - y) for k in range(5) if k != y}
        assert found == max(margins.values())
        assert better == min(k for k, margin in margins.items() if margin == found)
        assert -1 <= found <= 1
        assert (found > 0) == bool(p.max() > p[y])


@given(judged())
def test_ranking_is_a_stable_sort(case: tuple[np.ndarray, np.ndarray]) -> None:
    doubt, _ = doubts(*case)
    assert ranking(doubt).tolist() == sorted(range(len(doubt)), key=lambda row: (-doubt[row], row))


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_planted_slips_come_first(seed: int) -> None:
    """Judges that mostly know the truth put moved labels before the others, far above chance."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 5, 400)
    probabilities = 0.7 * np.eye(5)[truth] + 0.3 * rng.dirichlet(np.ones(5), 400)
    labels = truth.copy()
    moved = rng.choice(400, 60, replace=False)
    labels[moved] = np.where(truth[moved] == 4, 3, truth[moved] + 1)
    doubt, suggested = doubts(probabilities, labels)
    assert set(ranking(doubt)[:60]) == set(moved)
    assert np.array_equal(suggested[moved], truth[moved])


def test_precision_is_counted_and_resampled_over_pictures() -> None:
    rng = np.random.default_rng(3)
    n = 60
    doubt, moved = rng.normal(size=n), rng.random(n) < 0.3
    images = np.array([f"{i}.png" for i in rng.integers(0, 9, n)], dtype=object)
    found = precision_at_moved(doubt, moved, images, resamples=40, seed=5)
    assert found is not None
    count = int(moved.sum())
    top = sorted(range(n), key=lambda row: -doubt[row])[:count]
    assert (found.n, found.moved, found.found) == (n, count, sum(moved[top]))
    assert found.precision == found.found / count
    assert found.chance == count / n

    draws = np.random.default_rng(5)
    names, precisions = list(dict.fromkeys(images)), []
    for _ in range(40):
        rows = [row for name in draws.integers(0, 9, 9) for row in np.flatnonzero(images == names[name])]
        cut = int(moved[rows].sum())
        rows = sorted(rows, key=lambda row: -doubt[row])[:cut]
        precisions.append(moved[rows].mean())
    z0 = stats.norm.ppf(np.mean([(p < found.precision) + (p == found.precision) / 2 for p in precisions]))
    m = n**2 / sum(np.sum(images == name) ** 2 for name in names)
    z = stats.t.ppf(0.975, m - 1) * (m / (m - 1)) ** 0.5
    expected = np.percentile(precisions, 100 * stats.norm.cdf([2 * z0 - z, 2 * z0 + z]))
    assert (found.low, found.high) == pytest.approx(tuple(expected))


def test_one_picture_tells_nothing_of_the_precision() -> None:
    with pytest.raises(ValueError, match="one image"):
        precision_at_moved(np.arange(4.0), np.arange(4) < 2, np.full(4, "a", dtype=object))


def test_without_moved_labels_there_is_no_precision() -> None:
    nothing = np.zeros(4, dtype=bool)
    assert precision_at_moved(np.arange(4.0), nothing, np.array(list("abcd"), dtype=object)) is None


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
