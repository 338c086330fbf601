"""A run can be repeated from its run.json: the same bytes, or a word on what differs."""

import json
import shutil
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from consistency.errors import InputError
from consistency.options import Encoding, Evaluation, Source, as_config, from_config
from koclip_consistency.workflows.rerun import changes, compare_files
from tests.builders.commands import Run

GRID = """
[[grid]]
features = ["full", "concat"]
hidden = [[], [8]]
epochs = [3]
"""
COMMANDS = {
    "similarity": ["similarity", "--method", "exact", "--objective", "mae"],
    "heads": ["heads", "--seed", "5"],
    "heads-grid": ["heads", "--grid", "--grid-file", "GRID", "--inner-folds", "2", "--ensemble", "2"],
    "finetune": ["finetune", "--max-steps", "3", "--head-lr", "0.0003", "--freeze", "1", "--threads", "1"],
    "audit": ["audit", "--folds", "2", "--repeats", "1", "--top", "3"],
}

paths = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1).map(Path)
numbers = st.integers(1, 10**9)
sources = st.builds(
    Source,
    data=paths,
    images=paths,
    image_column=st.text(),
    encoding=st.sampled_from(["utf-8-sig", "cp949"]),
    on_error=st.sampled_from(["skip", "allow", "abort"]),
    on_conflict=st.sampled_from(["abort", "mean", "first", "drop"]),
    max_megapixels=st.floats(0, 1e4),
    max_aspect=st.floats(1, 1e5),
    score_map=st.none() | st.dictionaries(st.text(), st.integers(1, 5)),
)
encodings = st.builds(
    Encoding,
    backbone=st.text(),
    revision=st.none() | st.text(),
    cache=paths,
    batch_size=st.just("auto") | numbers,
    workers=st.none() | numbers,
    threads=st.none() | numbers,
    extract=st.booleans(),
)
evaluations = st.builds(
    Evaluation, protocol=st.sampled_from(["grouped", "paper"]), seed=numbers, split=st.none() | paths
)


@given(sources | encodings | evaluations)
@settings(max_examples=200)
def test_options_come_back_from_run_json(record: Source | Encoding | Evaluation) -> None:
    back = from_config(type(record), json.loads(json.dumps(as_config(record))))
    assert back == record
    for field in fields(record):
        assert type(getattr(back, field.name)) is type(getattr(record, field.name))


def test_an_option_of_another_version_is_named() -> None:
    with pytest.raises(InputError, match="no option colour"):
        from_config(Encoding, {"backbone": "tiny", "colour": 1})


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data/ (24 images), a grid, and room for runs."""
    from demo.dataset import write_demo

    folder = tmp_path_factory.mktemp("rerun")
    write_demo(folder / "data", seed=3, images=24)
    (folder / "grid.toml").write_text(GRID)
    return folder


def first_run(run: Run, place: Path, name: str) -> Path:
    """The run folder of a command, run once for all tests."""
    if not (place / name).is_dir():
        words = [str(place / "grid.toml") if word == "GRID" else word for word in COMMANDS[name]]
        data = ["--data", place / "data" / "combined_data.csv", "--images", place / "data" / "image"]
        cache = [] if name == "finetune" else ["--cache", place / "cache"]
        ran = run(*words, "--backbone", "tiny", *data, *cache, "--out", place / name)
        assert ran.code == 0, ran.stderr
    return place / name


@pytest.mark.parametrize("name", COMMANDS)
def test_the_same_comes_out(run: Run, place: Path, tmp_path: Path, name: str) -> None:
    before = first_run(run, place, name)
    if name == "heads-grid":
        (place / "grid.toml").unlink()  # what it said is in the run folder
    ran = run("rerun", before, "--out", tmp_path / "again", "--json")
    assert ran.code == 0, ran.stderr
    told = ran.json()
    assert told["identical"]
    assert [change for change in told["changes"] if change["what"] != "code digest"] == []  # sources may be edited
    names = {file["file"] for file in told["files"]}
    assert {"predictions.csv", "metrics.json", "split.csv"} <= names
    weights = {"heads": "head.safetensors", "finetune": "model/model.safetensors", "audit": "audit.csv"}
    assert weights.get(name, "metrics.json") in names
    for name in names:
        assert (tmp_path / "again" / name).read_bytes() == (before / name).read_bytes()
    then, now = (json.loads((folder / "run.json").read_text()) for folder in (before, tmp_path / "again"))
    for key in ("seeds", "versions", "data_digest", "pictures_digest", "fingerprint", "platform"):
        assert then[key] == now[key]
        assert then[key]


def test_options_that_an_earlier_version_did_not_know_keep_their_defaults(
    run: Run, place: Path, tmp_path: Path
) -> None:
    before = tmp_path / "before"
    shutil.copytree(first_run(run, place, "heads"), before)
    info = json.loads((before / "run.json").read_text())
    del info["config"]["soft_labels"], info["config"]["source"]["aggregate"]
    (before / "run.json").write_text(json.dumps(info))
    ran = run("rerun", before, "--out", tmp_path / "again", "--json")
    assert ran.code == 0, ran.stderr
    assert ran.json()["identical"]
    assert "an earlier version recorded this run" in ran.stderr
    info["config"]["colour"] = 1
    (before / "run.json").write_text(json.dumps(info))
    assert "no option colour" in run("rerun", before).stderr


def test_a_difference_is_found_and_measured(run: Run, place: Path, tmp_path: Path) -> None:
    before = tmp_path / "before"
    shutil.copytree(first_run(run, place, "audit"), before)
    rows = (before / "predictions.csv").read_text(encoding="utf-8").split("\n")
    cells = rows[1].split(",")
    cells[6] = repr(float(cells[6]) + 0.25)  # value
    (before / "predictions.csv").write_text("\n".join([rows[0], ",".join(cells), *rows[2:]]), encoding="utf-8")
    info = json.loads((before / "run.json").read_text())
    info["versions"]["torch"] = "1.0"
    info["platform"]["cpus"] = 999
    (before / "run.json").write_text(json.dumps(info))
    ran = run("rerun", before, "--out", tmp_path / "again", "--json")
    assert ran.code == 1
    told = ran.json()
    assert [(change["what"], change["then"]) for change in told["changes"]][-2:] == [("torch", "1.0"), ("cpus", "999")]
    differing = [file for file in told["files"] if not file["identical"]]
    assert [file["file"] for file in differing] == ["predictions.csv"]
    assert differing[0]["difference"] == pytest.approx(0.25, abs=1e-6)


def change_csv(folder: Path) -> None:
    with (folder / "combined_data.csv").open("a", encoding="utf-8") as file:
        file.write("demo_001.png,바다,3\n")


def change_picture(folder: Path) -> None:
    shutil.copy(folder / "image" / "demo_002.png", folder / "image" / "demo_001.png")


def remove_csv(folder: Path) -> None:
    (folder / "combined_data.csv").unlink()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (change_csv, "has changed since the run"),
        (change_picture, "are not those of the run"),
        (remove_csv, "there is no file"),
    ],
)
def test_changed_data_cannot_be_repeated(
    run: Run, place: Path, tmp_path: Path, change: Callable[[Path], None], said: str
) -> None:
    before = first_run(run, place, "similarity")
    folder = tmp_path / "data"
    shutil.copytree(place / "data", folder)
    change(folder)
    moved = ["--data", folder / "combined_data.csv", "--images", folder / "image"]
    ran = run("rerun", before, *moved, "--out", tmp_path / "again")
    assert ran.code == 2
    assert said in ran.stderr
    assert ran.stderr.count("\n") == 1
    assert not (tmp_path / "again").exists()


def test_the_run_of_a_stranger_writes_and_downloads_on_request_alone(run: Run, place: Path, tmp_path: Path) -> None:
    received = tmp_path / "received"
    shutil.copytree(first_run(run, place, "similarity"), received)
    info = json.loads((received / "run.json").read_text())
    encoding = info["config"]["encoding"]
    for changed, said in (
        ({"cache": str(tmp_path / "theirs")}, "where the run kept its embeddings, is not here: name a folder"),
        (
            {"backbone": "somebody/clip"},
            "backbone somebody/clip is not on this machine: give --download if you trust it",
        ),
    ):
        info["config"]["encoding"] = encoding | changed
        (received / "run.json").write_text(json.dumps(info))
        ran = run("rerun", received, "--out", tmp_path / "again")
        assert (ran.code, ran.stderr.count("\n")) == (2, 1)
        assert said in ran.stderr
        assert {path.name for path in tmp_path.iterdir()} == {"received"}
    # A run of ours would come of it, whose report shows the images of any folder that the stranger names.
    (received / "run.json").write_text(json.dumps(info | {"pictures_digest": None}))
    ran = run("rerun", received, "--out", tmp_path / "again")
    assert (ran.code, ran.stderr.count("\n")) == (2, 1)
    assert "the run does not say which images it read in " in ran.stderr


def test_moved_data_can_be_named(run: Run, place: Path, tmp_path: Path) -> None:
    before = first_run(run, place, "similarity")
    shutil.copytree(place / "data", tmp_path / "moved")
    moved = ["--data", tmp_path / "moved" / "combined_data.csv", "--images", tmp_path / "moved" / "image"]
    assert run("rerun", before, *moved, "--out", tmp_path / "again").code == 0
    assert run("rerun", before, "--out", before).code == 2  # never over the run itself
    assert run("rerun", tmp_path).code == 2  # no run


@pytest.mark.parametrize(
    ("name", "old", "new", "difference", "about"),
    [
        ("a.csv", "x,y\n1,a\n2,b\n", "x,y\n1.5,a\n2,b\n", 0.5, "largest difference 0.5"),
        ("a.csv", "x,y\n1,a\n", "x,y\n1,b\n", None, "differs: row 1, y: a then, b now"),
        ("a.csv", "x,y\n1,a\n", "x,y\n1,a\n2,a\n", None, "differs: 2 entries are in only one of them"),
        ("a.csv", "x\n1\n", "x\n1.0\n", 0.0, "same numbers, other bytes"),
        ("a.json", '[{"m": 1, "n": null}]', '[{"m": 1.25, "n": null}]', 0.25, "largest difference 0.25"),
        ("a.json", '{"m": NaN, "n": 1}', '{"m": NaN, "n": 3}', 2.0, "largest difference 2"),
        ("a.json", '{"m": Infinity, "n": 1}', '{"m": Infinity, "n": 3}', 2.0, "largest difference 2"),
        ("a.json", '{"m": 1}', '{"m": NaN}', None, "differs: entry m: NaN in only one of them"),
        ("a.csv", "x,y\n1,nan\n", "x,y\n1,2\n", None, "differs: row 1, y: NaN in only one of them"),
        ("a.json", '{"m": null}', '{"m": 1}', None, "differs: entry m: None then, 1.0 now"),
    ],
)
def test_files_are_compared_by_their_numbers(
    tmp_path: Path, name: str, old: str, new: str, difference: float | None, about: str
) -> None:
    for folder, text in (("old", old), ("new", new)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text(text)
    found = compare_files(name, tmp_path / "old" / name, tmp_path / "new" / name)
    assert (found.identical, found.difference, found.about) == (False, difference, about)
    assert compare_files(name, tmp_path / "old" / name, tmp_path / "old" / name).identical
    assert compare_files(name, tmp_path / "old" / name, tmp_path / "none").about == "missing now"


def test_weights_are_compared_too(tmp_path: Path) -> None:
    weights = {"a": np.arange(4, dtype=np.float32), "b": np.ones((2, 3), dtype=np.float32)}
    old, new, other, spoilt = (tmp_path / f"{name}.safetensors" for name in ("old", "new", "other", "spoilt"))
    save_file(weights, old)
    save_file({**weights, "b": weights["b"] - np.float32(0.25)}, new)
    save_file({**weights, "b": weights["b"][:1]}, other)
    save_file({**weights, "a": np.array([0, 1, np.nan, 3], dtype=np.float32)}, spoilt)
    assert compare_files("w", old, new).difference == 0.25
    assert compare_files("w", old, spoilt).about == "differs: a: NaN in only one of them"
    assert compare_files("w", old, other).about == "differs: b: shape (2, 3) then, (1, 3) now"


def test_changes_come_in_the_order_of_their_weight() -> None:
    then: dict[str, Any] = {"data_digest": "a", "versions": {"torch": "1", "numpy": "2"}, "platform": {"threads": 1}}
    now = {"data_digest": "b", "versions": {"torch": "2", "numpy": "2"}, "platform": {"threads": 2}, "fingerprint": "f"}
    found = [(change.what, change.then, change.now) for change in changes(then, now)]
    assert found == [("data digest", "a", "b"), ("torch", "1", "2"), ("threads", "1", "2"), ("fingerprint", "–", "f")]
