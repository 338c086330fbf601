"""A split goes to a file and comes back the same; a file that is no split of the table is one clear line."""

import csv
import json
import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consistency.data.folds import with_folds
from consistency.data.split_file import import_split
from consistency.data.splits import PROTOCOLS, Split, hold_out_validation, make_split
from consistency.errors import DataError, InputError
from consistency.options import Protocol
from consistency.runs.folder import split_csv
from tests.builders.commands import Run
from tests.builders.tables import make_table, realistic_table


def same(one: Split, other: Split) -> bool:
    columns = ("side", "fold", "kept", "labels")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in columns)


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 50),
    protocol=st.sampled_from(PROTOCOLS),
    validation=st.booleans(),
    folds=st.sampled_from([None, 2, 4]),
)
def test_out_and_back_is_the_same(seed: int, protocol: Protocol, validation: bool, folds: int | None) -> None:
    drawn = realistic_table(images=60, rows=600, seed=seed)
    again = np.random.default_rng(seed).integers(0, 600, 60)
    table = drawn.take(np.r_[np.arange(600), again])  # with repeats
    table = make_table(table.images.tolist(), [f'{tag} 한, "x"\r' for tag in table.hashtags], table.scores.tolist())
    split = make_split(table, table.images, protocol=protocol, seed=seed)
    if validation:
        split = hold_out_validation(split, seed=seed)
    if folds:
        split = with_folds(split, folds)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "split.csv"
        path.write_bytes(split_csv(table, split))
        read = import_split(path, table, table.images, seed=seed)
    assert same(split, read)
    assert (read.protocol, read.seed) == ("file", split.seed)
    assert (read.groups is None) == (split.groups is None)
    held, rest = hold_out_validation(read, seed=3), hold_out_validation(split, seed=3)
    assert same(held, rest)  # what stays together inside train, too
    assert same(with_folds(read, folds or 3), with_folds(split, folds or 3))


def test_the_order_of_the_lines_and_a_missing_fold_column_do_not_matter(tmp_path: Path) -> None:
    table = realistic_table(images=20, rows=100)
    split = make_split(table, table.images)
    header, *lines = split_csv(table, split).decode().splitlines()
    text = "\n".join(line.removesuffix(",") for line in [header.removesuffix(",fold"), *reversed(lines)])
    (tmp_path / "s.csv").write_text(text, encoding="utf-8-sig")
    assert same(import_split(tmp_path / "s.csv", table, table.images, seed=42), split)


GOOD = "row,image,hashtag,split,fold\n1,a,x,train,\n2,b,y,test,\n3,c,z,val,\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "0 columns 'row', expected one"),
        (GOOD.replace("split", "side"), "0 columns 'split'"),
        (GOOD.replace("row,image", "row,row"), "2 columns 'row'"),
        (GOOD.replace("2,b,y,test", "2,b,q,test"), "row 2 is 'b' with 'q', but in pairs.csv it is 'b' with 'y'"),
        (GOOD.replace("2,b,y,test", "2,c,y,test"), "row 2 is 'c' with 'y'"),
        (GOOD.replace("3,c", "2,b").replace("z", "y"), "row 2 twice"),
        (GOOD.replace("3,c,z,val,\n", ""), "lacks row 3 of pairs.csv (1 rows in all)"),
        (GOOD + "9,a,x,train,\n", "row 9, but pairs.csv has no usable row 9"),
        (GOOD.replace("val", "dev"), "row 3 has split 'dev', expected train, val, test"),
        (GOOD.replace("2,b", "two,b"), "line 3: row 'two' is not a whole number"),
        (GOOD.replace("2,b,y,test,", "2,b,y,test"), "line 3: expected 5 cells"),
        (GOOD.replace("2,b,y,test,", "2,b,y,test,,"), "line 3: expected 5 cells"),
        (GOOD.replace("test", "train"), "no test row"),
        (GOOD.replace("train", "test"), "no train row"),
        (GOOD.replace("train,", "train,0"), "row 2 has no fold"),
        (GOOD.replace(",\n", ",1\n"), "folds 1, expected two or more"),
        (GOOD.replace("train,", "train,-1"), "row 1 has fold '-1'"),
        (GOOD.replace("x", '"x'), "is not a table"),
    ],
)
def test_what_is_no_split_of_the_table_is_one_clear_line(tmp_path: Path, text: str, said: str) -> None:
    table = make_table(["a", "b", "c"], ["x", "y", "z"], [1, 2, 3])
    path = tmp_path / "split.csv"
    path.write_text(GOOD)
    assert import_split(path, table, table.images, seed=0).side.tolist() == ["train", "test", "val"]
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        import_split(path, table, table.images, seed=0)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_and_undecodable_files(tmp_path: Path) -> None:
    table = make_table(["a", "b"], ["x", "y"], [1, 2])
    missing = tmp_path / "none.csv"
    for path, said in ((tmp_path, "is not a file"), (missing, "is not a file"), (tmp_path / "b", "not UTF-8")):
        (tmp_path / "b").write_bytes(b"row,image,hashtag,split\n1,a,\xff,train\n")
        with pytest.raises(InputError, match=said):
            import_split(path, table, table.images, seed=0)


def test_conflicting_repeats_stop_a_file_that_keeps_images_whole(tmp_path: Path) -> None:
    table = make_table(["a", "a", "b"], ["x", "x", "x"], [1, 2, 3])
    path = tmp_path / "split.csv"
    path.write_text("row,image,hashtag,split\n1,a,x,train\n2,a,x,train\n3,b,x,test\n")
    with pytest.raises(DataError, match="scores 1, 2"):
        import_split(path, table, table.images, seed=0)
    assert import_split(path, table, table.images, seed=0, on_conflict="mean").labels.tolist() == [1, 1, 2]


def test_folds_of_a_file_are_used_and_must_be_as_many_as_asked_for(tmp_path: Path) -> None:
    table = make_table(["a", "b", "c"], ["x", "y", "z"], [1, 2, 3])
    path = tmp_path / "split.csv"
    path.write_text("row,image,hashtag,split,fold\n1,a,x,train,1\n2,b,y,test,0\n3,c,z,train,0\n")
    split = import_split(path, table, table.images, seed=0)
    assert with_folds(split, 2).fold.tolist() == [1, 0, 0]
    with pytest.raises(InputError, match="2 folds, expected 3: give --folds 2"):
        with_folds(split, 3)


def common(small_demo: Path, cache: Path) -> list[object]:
    data = ["--data", small_demo / "combined_data.csv", "--images", small_demo / "image"]
    return [*data, "--cache", cache, "--backbone", "tiny"]


def answers(path: Path) -> list[list[str]]:
    with (path / "predictions.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


@pytest.mark.parametrize(
    ("command", "protocol"),
    [
        pytest.param("similarity", "paper", marks=pytest.mark.slow),
        ("heads", "hashtag"),
        pytest.param("heads", "grouped", marks=pytest.mark.slow),
    ],
)
def test_the_split_of_a_run_gives_its_predictions(
    run: Run, small_demo: Path, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, command: str, protocol: str
) -> None:
    options = [*common(small_demo, tmp_path_factory.getbasetemp() / "split-cache"), "--folds", "2"]
    first, second = tmp_path / "first", tmp_path / "second"
    ran = run(command, *options, "--protocol", protocol, "--seed", "7", "--out", first)
    assert ran.code == 0, ran.stderr
    drawn = tmp_path / "drawn.csv"
    assert run("data", "split", *options[:4], "--protocol", protocol, "--seed", 7, "--folds", 2, "-o", drawn).code == 0
    assert drawn.read_bytes() == (first / "split.csv").read_bytes()
    ran = run(command, *options, "--split", drawn, "--seed", "7", "--out", second)
    assert ran.code == 0, ran.stderr
    assert answers(second) == answers(first)
    assert (second / "split.csv").read_bytes() == drawn.read_bytes()
    assert {entry["protocol"] for entry in json.loads((second / "metrics.json").read_text())} == {"file"}
    assert len(json.loads((second / "run.json").read_text())["details"]["split_digest"]) == 64
    assert re.search(r"protocol file( \(images may be on both sides; .*\))?: of ", ran.stderr)
    assert ("this split leaks" in ran.stderr) == (protocol == "paper")


def test_validation_rows_of_a_file_are_train_rows_where_none_are_needed(
    run: Run, small_demo: Path, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    options = common(small_demo, tmp_path_factory.getbasetemp() / "split-cache")
    tuned, again, threshold = tmp_path / "tuned", tmp_path / "again", tmp_path / "threshold"
    finetuning = [*options[:4], "--backbone", "tiny", "--epochs", "1", "--max-steps", "2"]
    assert run("finetune", *finetuning, "--out", tuned).code == 0
    assert run("finetune", *finetuning, "--split", tuned / "split.csv", "--out", again).code == 0
    assert answers(again) == answers(tuned)
    assert (again / "split.csv").read_bytes() == (tuned / "split.csv").read_bytes()
    assert b",val," in (tuned / "split.csv").read_bytes()
    assert run("similarity", *options, "--split", tuned / "split.csv", "--out", threshold).code == 0
    joined = (tuned / "split.csv").read_bytes().replace(b",val,", b",train,")
    assert (threshold / "split.csv").read_bytes() == joined


def test_near_duplicates_are_joined_told_and_recorded(run: Run, small_demo: Path, tmp_path: Path) -> None:
    from PIL import Image

    folder = tmp_path / "data"
    (folder / "image").mkdir(parents=True)
    with (small_demo / "combined_data.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    for number, name in enumerate(sorted({row[0] for row in rows[1:]})):
        (folder / "image" / name).write_bytes((small_demo / "image" / name).read_bytes())
        if number < 6:
            copied = Image.open(small_demo / "image" / name).convert("RGB")
            copied.resize((150, 150)).save(folder / "image" / f"copy of {name}.jpg")
            rows += [[f"copy of {name}.jpg", *row[1:]] for row in rows[1:] if row[0] == name]
    with (folder / "combined_data.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    ran = run("similarity", *common(folder, tmp_path / "cache"), "--near-duplicates", "--out", tmp_path / "run")
    assert ran.code == 0, ran.stderr
    assert "at most 8 of 64 bits apart: 12 images in 6 groups" in ran.stderr
    assert "0 their image or a near-duplicate of it" in ran.stderr
    recorded = json.loads((tmp_path / "run" / "run.json").read_text())
    assert recorded["config"]["evaluation"]["near_duplicates"] == 8
    assert recorded["details"]["near_duplicates"]["joined"] == 12
    side: dict[str, set[str]] = {}
    with (tmp_path / "run" / "split.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            side.setdefault(row["image"].removeprefix("copy of ").removesuffix(".jpg"), set()).add(row["split"])
    pairs = [row[0].removeprefix("copy of ").removesuffix(".jpg") for row in rows if row[0].startswith("copy of ")]
    assert all(len(side[name]) == 1 for name in pairs)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--split", "s.csv", "--protocol", "paper"], "--split and --protocol exclude each other"),
        (["--split", "s.csv", "--test-fraction", "0.3"], "--split and --test-fraction exclude each other"),
        (["--test-fraction", "1"], "not in the range 0<x<1"),
        (["--protocol", "paper", "--test-fraction", "0.3"], "the paper protocol tests on 0.2 of the rows, not 0.3"),
        (["--split", "nowhere.csv"], "--split nowhere.csv is not a file"),
    ],
)
def test_options_that_contradict_each_other(
    run: Run, small_demo: Path, tmp_path: Path, options: list[str], said: str
) -> None:
    ran = run("similarity", *common(small_demo, tmp_path), *options, "--out", tmp_path / "run")
    assert ran.code == 2
    assert said in ran.stderr
    assert not (tmp_path / "run").exists()


def test_data_split_needs_no_images_and_never_writes_over_the_table(run: Run, small_demo: Path, tmp_path: Path) -> None:
    table = tmp_path / "pairs.csv"
    table.write_bytes((small_demo / "combined_data.csv").read_bytes())
    split = ["data", "split", "--data", table, "--images", tmp_path / "none"]
    ran = run(*split, "--test-fraction", "0.4", "-o", tmp_path / "split.csv", "--json")
    assert ran.code == 0, ran.stderr
    rows = ran.json()["rows"]
    assert rows["test"] == pytest.approx(0.4 * sum(rows.values()), abs=2)
    assert "no image was found" in ran.stderr
    assert run(*split, "-o", table).code == 2
    assert table.read_bytes() == (small_demo / "combined_data.csv").read_bytes()
    assert run(*split, "--near-duplicates", "-o", tmp_path / "near.csv").code == 2
