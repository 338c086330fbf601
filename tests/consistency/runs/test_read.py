"""A run comes back as it was written; whatever else a folder holds is refused in one line."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from consistency.data.pairs import Skipped
from consistency.errors import InputError
from consistency.evaluation.results import Audited
from consistency.runs.folder import RunFolder
from consistency.runs.read import read_audit, read_bytes, read_info, read_run, read_sides
from koclip_consistency.workflows.report import read_runs
from tests.builders.results import make_result, write_run


def test_a_run_comes_back_as_it_was_written(tmp_path: Path) -> None:
    written = [make_result("majority", backbone="none"), make_result("similarity-exact", probabilities=False)]
    run = read_run(write_run(tmp_path / "run", written, config={"lr": 0.1, "images": Path("data/image")}))
    assert (run.command, run.config) == ("heads", {"lr": 0.1, "images": "data/image"})
    assert run.info["seeds"] == {"seed": 42, "bootstrap": 42}
    assert {"python", "numpy", "torch", "transformers"} <= run.info["versions"].keys()
    for before, after in zip(written, run.results, strict=True):
        assert (after.metrics, after.ci95) == (before.metrics, before.ci95)
        p, q = before.predictions, after.predictions
        for name in ("system", "backbone", "protocol", "split"):
            assert getattr(p, name) == getattr(q, name)
        for name in ("rows", "images", "hashtags", "scores", "predicted", "values", "clusters"):
            assert getattr(p, name).tolist() == getattr(q, name).tolist()
        assert (p.probabilities is None) == (q.probabilities is None)
        if p.probabilities is not None:
            assert np.array_equal(p.probabilities, q.probabilities)


def test_skipped_rows_come_back(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", [make_result()])
    assert read_run(folder).skipped == ()
    skipped = (Skipped(None, "d.png", "", "empty, 0 bytes"), Skipped(7, "e\n.png", "#z", "not found"))
    RunFolder.at(folder, command="heads", backbone="tiny", config={}).write_skipped(skipped)
    assert read_run(folder).skipped == skipped


def test_an_audit_comes_back(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", [make_result("heads-audit", split="cv")])
    assert read_audit(folder) is None
    rows = [Audited(1, 3, "그림 1.png", "#a,b", 4, 5, 0.9, (0.0, 0.0, 0.0, 0.1, 0.9), (70, 80))]
    RunFolder.at(folder, command="audit", backbone="tiny", config={}).write_audit(rows)
    assert read_audit(folder) == rows


def test_a_setting_is_found_at_its_keys_and_is_none_where_there_is_none(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "run", [make_result()], config={"source": {"images": "a"}, "folds": 5}))
    assert run.setting("source", "images") == "a"
    assert run.setting("folds") == 5
    assert [run.setting(*keys) for keys in (("x",), ("folds", "x"), ("source", "images", "x"))] == [None] * 3


def test_what_is_no_run_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run folder"):
        read_run(tmp_path)
    for name, damage, message in (
        (
            "predictions.csv",
            "system,row\nheads,1\n",
            "csv is damaged: its columns are system, row, expected system, row, ",
        ),
        ("predictions.csv", None, "predictions.csv cannot be read: No such file"),
        ("metrics.json", "[{]", "metrics.json is damaged: "),
        ("metrics.json", None, "metrics.json cannot be read: No such file"),
    ):
        folder = write_run(tmp_path / "run", [make_result()])
        (folder / name).unlink() if damage is None else (folder / name).write_text(damage)
        with pytest.raises(InputError, match=message) as caught:
            read_run(folder)
        assert "\n" not in str(caught.value)


def cell(name: str, value: str) -> Callable[[Path], None]:
    """Puts `value` into the first line of predictions.csv, in the column `name`."""

    def damage(folder: Path) -> None:
        head, line, *rest = (folder / "predictions.csv").read_text(encoding="utf-8").split("\n")
        cells = line.split(",")
        cells[head.split(",").index(name)] = value
        (folder / "predictions.csv").write_text("\n".join([head, ",".join(cells), *rest]), encoding="utf-8")

    return damage


def entry(name: str, value: object) -> Callable[[Path], None]:
    """Puts `value` into the first entry of metrics.json."""

    def damage(folder: Path) -> None:
        entries = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        entries[0][name] = value
        (folder / "metrics.json").write_text(json.dumps(entries))

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cell("score", "6"), "predictions.csv is damaged: 6 is not from 1 to 5"),
        (cell("predicted", "0"), "0 is not from 1 to 5"),
        (cell("value", "nan"), "nan is no finite number"),
        (cell("p3", "1.5"), "1.5 is no probability"),
        (cell("p3", ""), "could not convert string to float"),
        (cell("row", "9" * 30), "is not from 1 to"),
        (cell("cluster", "x"), "invalid literal"),
        (cell("cluster", "1,2"), "line 1 has not 14 cells"),
        (entry("metrics", {"accuracy": "high"}), "metrics.json is damaged: 'high' is no number"),
        (entry("metrics", {"accuracy": float("nan")}), "NaN is no finite number"),
        (entry("metrics", {"accuracy": True}), "True is no number"),
        (entry("metrics", None), "metrics.json is damaged"),
        (entry("ci95", {"accuracy": [0.1]}), "metrics.json is damaged"),
        (entry("split", "held out"), "the split 'held out' is none of test, cv, val, train"),
        (entry("system", "other"), "predictions.csv has no rows of other, test"),
        (entry("system", None), "should be text"),
        (entry("n", 59), "heads has 60 rows, not 59"),
    ],
)
def test_values_that_no_run_writes_are_refused(tmp_path: Path, damage: Callable[[Path], None], message: str) -> None:
    folder = write_run(tmp_path / "run", [make_result()])
    damage(folder)
    with pytest.raises(InputError, match="damaged") as caught:
        read_run(folder)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["[]", '{"command": 1}', '{"config": []}', "[" * 100_000, "\xff", ""])
def test_a_damaged_run_json_is_refused(tmp_path: Path, content: str) -> None:
    folder = write_run(tmp_path / "run", [make_result()])
    (folder / "run.json").write_text(content, encoding="latin-1")
    with pytest.raises(InputError, match="run.json is damaged") as caught:
        read_info(folder)
    assert "\n" not in str(caught.value)


def test_a_metric_that_an_older_run_lacks_is_undefined(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", [make_result()])
    entry("metrics", {"accuracy": 0.5})(folder)
    (result,) = read_run(folder).results
    assert result.metrics["accuracy"] == 0.5
    assert result.metrics["qwk"] is None


@pytest.mark.parametrize("name", ["run.json", "metrics.json", "predictions.csv", "skipped.csv", "audit.csv"])
def test_no_link_is_followed(tmp_path: Path, name: str) -> None:
    """A run folder that somebody sent must not lead to a file outside it."""
    folder = write_run(tmp_path / "run", [make_result()])
    content = (folder / name).read_bytes() if (folder / name).is_file() else b"private"
    (tmp_path / "private").write_bytes(content)
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(tmp_path / "private")
    with pytest.raises(InputError, match=f"{name} is a symbolic link, and a run folder holds files only"):
        read_audit(folder) if name == "audit.csv" else read_run(folder)


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"content")
    assert read_bytes(tmp_path, "file") == b"content"
    for name in ("pipe", "folder"):
        with pytest.raises(InputError, match="no regular file"):
            read_bytes(tmp_path, name)
    with pytest.raises(FileNotFoundError):
        read_bytes(tmp_path, "nothing")


def test_a_link_that_takes_the_place_of_a_checked_file_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is looked at, then replaced by a link, then opened."""
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "private").write_bytes(b"private")
    look = os.lstat

    def look_and_replace(path: Path) -> os.stat_result:
        status = look(path)
        path.unlink()
        path.symlink_to(tmp_path / "private")
        return status

    monkeypatch.setattr(os, "lstat", look_and_replace)
    with pytest.raises(OSError, match="symbolic link"):
        read_bytes(tmp_path, "file")


def test_runs_without_predictions_are_told_and_passed_over(tmp_path: Path) -> None:
    inside = write_run(tmp_path / "all" / "heads", [make_result()])
    extracted = write_run(tmp_path / "all" / "extract", [], command="extract")
    table = write_run(tmp_path / "all" / "paper", [], command="paper")
    with pytest.raises(InputError, match="is a run of extract, which holds no predictions of its own"):
        read_run(extracted)
    with pytest.raises(InputError, match="is a run of paper, .*: name one of the runs in it"):
        read_run(table)
    assert [run.path for run in read_runs([tmp_path / "all"])] == [inside]


def test_reading_runs_needs_no_heavy_module() -> None:
    heavy = {"torch", "transformers", "sklearn", "scipy", "matplotlib", "h5py"}
    code = f"import sys, consistency.runs.read; sys.exit(', '.join({heavy!r} & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[3])
    assert done.returncode == 0, done.stderr


def test_the_side_of_each_row(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [make_result()])
    assert read_sides(run) == {}
    (run / "split.csv").write_text("row,image,hashtag,split,fold\n1,a.png,x,train,\n7,b.png,y,test,2\n")
    assert read_sides(run) == {1: "train", 7: "test"}
    (run / "split.csv").write_text("row,image\n1,a.png\n")
    with pytest.raises(InputError, match=r"split\.csv is damaged"):
        read_sides(run)
