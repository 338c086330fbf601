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
from koclip_consistency.workflows.rerun import changes, compare_files, compare_runs_files
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
    if name == "similarity":
        shutil.rmtree(place / "cache")  # that of one's own run is made again
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


def named(place: Path) -> list[object]:
    """The options that the run of somebody else needs."""
    return ["--data", place / "data" / "combined_data.csv", "--images", place / "data" / "image", "--cache",
            place / "cache"]  # fmt: skip


def test_options_that_an_earlier_version_did_not_know_keep_their_defaults(
    run: Run, place: Path, tmp_path: Path
) -> None:
    before = tmp_path / "before"
    shutil.copytree(first_run(run, place, "heads"), before)
    info = json.loads((before / "run.json").read_text())
    del info["config"]["soft_labels"], info["config"]["source"]["aggregate"]
    (before / "run.json").write_text(json.dumps(info))
    ran = run("rerun", before, *named(place), "--out", tmp_path / "again", "--json")
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
    ran = run("rerun", before, *named(place), "--out", tmp_path / "again", "--json")
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


def change_run(folder: Path, **changed: object) -> None:
    """Change options of a recorded run, of any group: it is then somebody else's."""
    info = json.loads((folder / "run.json").read_text())
    config = info["config"]
    for name, value in changed.items():
        next(group for group in (config, config["source"], config["encoding"]) if name in group)[name] = value
    (folder / "run.json").write_text(json.dumps(info))


def test_the_run_of_a_stranger_reads_writes_and_downloads_what_is_named_alone(
    run: Run, place: Path, tmp_path: Path
) -> None:
    """Also where all that it names is here: somebody else has chosen it."""
    received = tmp_path / "received"
    shutil.copytree(first_run(run, place, "similarity"), received)
    change_run(received, workers=1)
    places = {"--data": place / "data" / "combined_data.csv", "--images": place / "data" / "image"}
    places["--cache"] = tmp_path / "cache"
    for some in ([], ["--data"], ["--data", "--images"], ["--images", "--cache"]):
        ran = run("rerun", received, "--out", tmp_path / "again", *(w for name in some for w in (name, places[name])))
        lacking = ", ".join(name for name in places if name not in some)
        assert (ran.code, ran.stderr.count("\n")) == (2, 1)
        assert "received was made by somebody else or by an earlier version, or edited: name" in ran.stderr
        assert ran.stderr.endswith(f", also with {lacking}\n")
    everything = [word for option in places.items() for word in option]
    change_run(received, backbone="somebody/clip")
    ran = run("rerun", received, "--out", tmp_path / "again", *everything)
    assert (ran.code, ran.stderr.count("\n")) == (2, 1)
    assert "backbone somebody/clip is not on this machine: give --download if you trust it" in ran.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"received"}
    change_run(received, backbone="tiny", cache=str(tmp_path / "theirs"))
    ran = run("rerun", received, "--out", tmp_path / "again", *everything, "--json")
    assert (ran.code, ran.json()["identical"]) == (0, True)
    assert {path.name for path in tmp_path.iterdir()} == {"received", "again", "cache"}


@pytest.mark.parametrize(("name", "option"), [("audit", "clean"), ("finetune", "like")])
def test_further_files_that_a_stranger_names_are_not_read(
    run: Run, place: Path, tmp_path: Path, name: str, option: str
) -> None:
    received = tmp_path / "received"
    shutil.copytree(first_run(run, place, name), received)
    change_run(received, **{option: "/etc/passwd"})
    ran = run("rerun", received, *named(place), "--out", tmp_path / "again")
    assert (ran.code, ran.stderr.count("\n")) == (2, 1)
    assert f"or edited, and it read --{option} /etc/passwd: run its command by hand" in ran.stderr


def test_links_in_a_received_run_are_not_compared(tmp_path: Path) -> None:
    for name in ("then", "now"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").write_text("{}")
    (tmp_path / "private.csv").write_text("a\nsecret\n")
    (tmp_path / "then" / "predictions.csv").symlink_to(tmp_path / "private.csv")
    (tmp_path / "now" / "predictions.csv").write_text("a\nb\n")
    found = {each.file: each.about for each in compare_runs_files(tmp_path / "then", tmp_path / "now")}
    assert found == {"metrics.json": "identical", "predictions.csv": "missing then"}


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
