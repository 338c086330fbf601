"""A run folder holds everything, in full, and says when it is not complete."""

import csv
import io
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import classification_report, cohen_kappa_score, f1_score, mean_absolute_error

from consistency.data.pairs import PairTable, Skipped
from consistency.data.splits import make_split
from consistency.errors import InputError
from consistency.evaluation.results import Predictions, Result, evaluate_predictions
from consistency.runs.folder import RunFolder
from consistency.runs.read import read_run
from consistency.text import slug, to_csv
from koclip_consistency.workflows.report import read_runs
from tests.promises import recompute_metrics

NASTY = [
    "#맛집",
    "줄\n바꿈",
    "carriage\rreturn",
    'a "quoted", tag',
    " spaced ",
    "☕️👩‍👩‍👧",
    "<script>alert(1)</script>",
    "NA",
    "=1+1",
    "#바\u1103\u1161",
    "\u2028line",
    "ソウル,旅行",
]


def make_result(
    system: str = "heads",
    *,
    n: int = 60,
    seed: int = 0,
    backbone: str = "tiny",
    protocol: str = "grouped",
    split: str = "test",
    probabilities: bool = True,
) -> Result:
    """Random answers for the same n pairs of 12 images, whatever the seed."""
    pairs, answers = np.random.default_rng(99), np.random.default_rng(seed)
    scores = pairs.integers(1, 6, n)
    pictures = pairs.integers(0, 12, n)
    images = np.array([f"그림 {picture}.png" for picture in pictures], dtype=object)
    chances = answers.dirichlet(np.ones(5), n) + 0.4 * np.eye(5)[scores - 1]
    chances /= chances.sum(axis=1, keepdims=True)
    return evaluate_predictions(
        Predictions(
            system=system,
            backbone=backbone,
            protocol=protocol,
            split=split,
            rows=np.arange(1, n + 1) * 3,
            images=images,
            hashtags=np.array([NASTY[i % len(NASTY)] for i in range(n)], dtype=object),
            scores=scores,
            predicted=chances.argmax(axis=1) + 1,
            values=chances @ np.arange(1, 6),
            probabilities=chances if probabilities else None,
            clusters=pictures,
        )
    )


def write_run(
    path: Path, results: Sequence[Result], *, config: dict[str, object] | None = None, command: str = "heads"
) -> Path:
    folder = RunFolder.create(path, runs=path.parent, command=command, backbone="tiny")
    if results:
        folder.write_results(list(results))
    folder.finish(
        config or {}, seeds={"seed": 42, "bootstrap": 42}, data_digest="ab", fingerprint=None, timings={"fit": 1.5}
    )
    return folder.path


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


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


@given(st.lists(st.tuples(st.text(st.characters(exclude_categories=["Cs"])), st.floats(allow_nan=False))))
def test_any_text_and_any_float_survive_the_csv(rows: list[tuple[str, float]]) -> None:
    data = to_csv(("name", "value"), rows).decode()
    back = list(csv.reader(io.StringIO(data, newline="")))[1:]
    finite = [value if np.isfinite(value) else None for _, value in rows]
    assert [name for name, _ in back] == [name for name, _ in rows]
    assert [float(value) if value else None for _, value in back] == finite


def test_confusion_matrices_one_per_system(tmp_path: Path) -> None:
    one = write_run(tmp_path / "one", [make_result("similarity-exact", probabilities=False), make_result("majority")])
    whole = picture_size(one / "confusion_matrix-majority.png")
    assert not (one / "reliability.png").exists()  # of no probabilities, and of controls
    several = write_run(tmp_path / "several", [make_result("heads"), make_result("heads", split="cv")])
    pictures = {path.name: picture_size(path) for path in several.glob("*.png")}
    ones = dict.fromkeys(("confusion_matrix-heads.png", "confusion_matrix-heads-cv.png"), whole)
    twos = dict.fromkeys(("confusion_matrix.png", "reliability.png"), (2 * whole[0], whole[1]))
    assert pictures == ones | twos


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


def picture_size(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


def test_two_results_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="share a system and a split"):
        write_run(tmp_path / "run", [make_result(), make_result(seed=1)])


def test_default_names_tell_time_command_and_backbone_and_never_meet(tmp_path: Path) -> None:
    names = [
        RunFolder.create(None, runs=tmp_path / "runs", command="heads", backbone="models/My CLIP/").path.name
        for _ in range(3)
    ]
    assert len(set(names)) == 3
    assert all(name[8] == "-" and name[15:].startswith("-heads-My-CLIP") for name in names)
    assert slug("Bingsu/clip-vit") == "Bingsu-clip-vit"


def test_an_earlier_run_is_moved_aside_finished_or_not(tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = write_run(out, [make_result()])
    interrupted = RunFolder.create(out, runs=tmp_path, command="heads", backbone="tiny")  # never finished
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
        RunFolder.create(tmp_path / "notes", runs=tmp_path, command="heads", backbone="tiny")
    with pytest.raises(InputError, match="is a file"):
        RunFolder.create(tmp_path / "notes" / "diary.txt", runs=tmp_path, command="heads", backbone="tiny")
    (tmp_path / "empty").mkdir()
    assert RunFolder.create(tmp_path / "empty", runs=tmp_path, command="x", backbone="y").path.is_dir()
    with pytest.raises(InputError, match="diary.txt is a file, expected a folder"):
        RunFolder.create(tmp_path / "notes" / "diary.txt" / "run", runs=tmp_path, command="x", backbone="y")


def test_what_is_no_run_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run folder"):
        read_run(tmp_path)
    folder = write_run(tmp_path / "run", [make_result()])
    for name, damage, message in (
        ("predictions.csv", "system,row\nheads,1\n", "damaged run"),
        ("predictions.csv", None, "lacks a file"),
        ("metrics.json", "[{]", "damaged run"),
    ):
        (folder / name).unlink() if damage is None else (folder / name).write_text(damage)
        with pytest.raises(InputError, match=message) as caught:
            read_run(folder)
        assert "\n" not in str(caught.value)


def test_runs_without_predictions_are_told_and_passed_over(tmp_path: Path) -> None:
    inside = write_run(tmp_path / "all" / "heads", [make_result()])
    extracted = write_run(tmp_path / "all" / "extract", [], command="extract")
    table = write_run(tmp_path / "all" / "paper", [], command="paper")
    with pytest.raises(InputError, match="is a run of extract, which holds no predictions of its own"):
        read_run(extracted)
    with pytest.raises(InputError, match="is a run of paper, .*: name one of the runs in it"):
        read_run(table)
    assert [run.path for run in read_runs([tmp_path / "all"])] == [inside]


def test_split_csv_has_every_row_and_skipped_csv_only_what_was_skipped(tmp_path: Path) -> None:
    table = pair_table(["a.png", "b.png", "c.png", "a.png", "a.png"], ["x", "줄\n바꿈", '"', "y", "x"], [1, 2, 3, 4, 1])
    split = make_split(table, table.images)
    folder = RunFolder.create(tmp_path / "run", runs=tmp_path, command="heads", backbone="tiny")
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


def test_json_takes_what_training_yields(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", runs=tmp_path, command="heads", backbone="tiny")
    value = {"loss": np.float32(0.5), "bad": [float("nan"), np.inf], "counts": np.arange(2), 3: Path("a/b"), "ok": True}
    folder.write_json("history.json", value)
    read = json.loads((folder.path / "history.json").read_text())
    assert read == {"loss": 0.5, "bad": [None, None], "counts": [0, 1], "3": "a/b", "ok": True}


def test_reading_runs_needs_no_heavy_module() -> None:
    heavy = {"torch", "transformers", "sklearn", "scipy", "matplotlib", "h5py"}
    code = f"import sys, consistency.runs.folder; sys.exit(', '.join({heavy!r} & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[3])
    assert done.returncode == 0, done.stderr


def pair_table(images: list[str], hashtags: list[str], scores: list[int]) -> PairTable:
    def column(values: list[str]) -> npt.NDArray[np.object_]:
        return np.array(values, dtype=object)

    rows = np.arange(1, len(scores) + 1)
    return PairTable(rows, column(images), column(hashtags), np.array(scores), Path("pairs.csv"), "", ())
