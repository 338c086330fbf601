"""`compare`: paired differences between runs on the same test rows."""

from pathlib import Path

import numpy as np
import pytest

from tests.builders.commands import Run, data_options, rows_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compare")


def similarity(run: Run, small_demo: Path, out: Path, *options: object) -> Path:
    if not out.exists():
        common = ["--backbone", "tiny", *data_options(small_demo, out.parent)]
        ran = run("similarity", *common, "--method", "exact", *options, "--out", out)
        assert ran.code == 0, ran.stderr
    return out


def answers(folder: Path) -> dict[str, tuple[int, int]]:
    rows = rows_of(folder / "predictions.csv")
    ours = [row for row in rows if (row["system"], row["split"]) == ("similarity-exact", "test")]
    return {row["row"]: (int(row["score"]), int(row["predicted"])) for row in ours}


def test_the_difference_is_the_one_of_the_answers(run: Run, small_demo: Path, folder: Path) -> None:
    one = similarity(run, small_demo, folder / "one")
    other = similarity(run, small_demo, folder / "other", "--objective", "mae")
    ran = run("compare", one, other, "--json")
    assert ran.code == 0, ran.stderr
    scores, first = np.array(list(answers(one).values())).T
    again, second = np.array(list(answers(other).values())).T
    assert (scores == again).all()
    expected = abs(np.abs(scores - first).mean() - np.abs(scores - second).mean())
    (mae,) = [found for found in ran.json() if found["metric"] == "mae"]
    assert abs(mae["difference"]) == pytest.approx(expected)
    assert mae["low"] <= mae["difference"] <= mae["high"]


def test_runs_on_other_rows_are_not_compared(run: Run, small_demo: Path, folder: Path) -> None:
    one = similarity(run, small_demo, folder / "one")
    moved = similarity(run, small_demo, folder / "moved", "--seed", 3)
    ran = run("compare", one, moved)
    assert (ran.code, ran.stderr.count("\n")) == (2, 1)


def test_a_folder_without_a_run_is_one_line(run: Run, small_demo: Path, folder: Path, tmp_path: Path) -> None:
    ran = run("compare", similarity(run, small_demo, folder / "one"), tmp_path)
    assert (ran.code, ran.stderr.count("\n")) == (2, 1)
    assert str(tmp_path) in ran.stderr
