"""Pairs and splits for notebooks: a DataFrame obeys the rules of the CSV, a split is the command line's."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import koclip_consistency as kc
from consistency.errors import DataError, InputError
from tests.builders.commands import Run, data_options, rows_of


@pytest.fixture(scope="module")
def frame(small_demo: Path) -> pd.DataFrame:
    return pd.read_csv(small_demo / "combined_data.csv")


def test_a_frame_reads_as_its_file(small_demo: Path, frame: pd.DataFrame) -> None:
    of_file = kc.read_pairs(small_demo / "combined_data.csv", small_demo / "image")
    of_frame = kc.read_pairs(frame, images=str(small_demo / "image"))
    assert len(of_frame) == len(of_file) == len(frame)
    pd.testing.assert_frame_equal(of_frame.to_frame(), of_file.to_frame())
    assert of_frame.hashtags.tolist() == frame["Hashtag"].tolist()
    assert of_frame.scores.dtype == np.int64
    assert len(of_frame.skipped) == 0
    for split in ("grouped", "hashtag", "paper"):
        a, b = (kc.make_split(pairs, protocol=split) for pairs in (of_file, of_frame))
        np.testing.assert_array_equal(a.test, b.test)
    assert repr(of_frame) == repr(of_file)
    assert repr(of_file).startswith(f"<Pairs: {len(frame)} rows, 60 images, ")


def test_rows_that_cannot_be_used_are_told(small_demo: Path, frame: pd.DataFrame) -> None:
    broken = frame.astype(object).copy()
    broken.loc[0, "Hashtag"] = None
    broken.loc[2, "Score"] = 9
    pairs = kc.read_pairs(broken, images=small_demo / "image")
    assert pairs.skipped["row"].tolist() == [1, 3]
    assert pairs.skipped["reason"][0] == "the hashtag is empty"
    assert "9" in pairs.skipped["reason"][1]
    assert pairs.to_frame()["row"].tolist()[:2] == [2, 4]


def test_other_columns_and_no_scores(small_demo: Path, frame: pd.DataFrame) -> None:
    other = frame.rename(columns={"Hashtag": "tag", "Image Filename": "file"}).drop(columns="Score")
    columns = {"hashtag_column": "tag", "image_column": "file"}
    pairs = kc.read_pairs(other, images=small_demo / "image", require_scores=False, **columns)
    assert set(pairs.scores.tolist()) == {0}
    with pytest.raises(DataError, match="the DataFrame has no column 'Score'") as raised:
        kc.read_pairs(other, images=small_demo / "image", **columns)
    assert "file" in str(raised.value)
    with pytest.raises(DataError, match="the DataFrame has no usable row"):
        kc.read_pairs(frame[:0], images=small_demo / "image")
    with pytest.raises(InputError, match="there is no option colour"):
        kc.read_pairs(frame, images=small_demo / "image", colour="red")
    with pytest.raises(DataError, match="none of the 60 images named in the DataFrame is in"):
        kc.read_pairs(frame, images=small_demo)


def test_a_split_is_the_command_lines(run: Run, small_demo: Path, tmp_path: Path) -> None:
    data = data_options(small_demo, tmp_path)[:4]
    written = run("data", "split", *data, "--seed", "5", "--folds", "3", "-o", tmp_path / "split.csv")
    assert written.code == 0, written.stderr
    pairs = kc.read_pairs(small_demo / "combined_data.csv", small_demo / "image")
    split = kc.make_split(pairs, seed=5, folds=3)
    lines = rows_of(tmp_path / "split.csv")
    assert split.side.tolist() == [line["split"] for line in lines]
    assert split.fold.tolist() == [int(line["fold"]) for line in lines]
    again = kc.make_split(pairs, split=tmp_path / "split.csv")
    np.testing.assert_array_equal(again.test, split.test)
    np.testing.assert_array_equal(split.scores[split.train], pairs.scores[split.train])
    assert len(split.val) == 0
    with_val = kc.make_split(pairs, seed=5, validation=True)
    np.testing.assert_array_equal(with_val.test, split.test)
    assert set(with_val.val) | set(with_val.train) == set(split.train)
    assert len(with_val.val)


def test_conflicts_follow_the_rule_that_was_read(small_demo: Path, frame: pd.DataFrame, tmp_path: Path) -> None:
    first = frame.iloc[[0]]
    again = pd.concat([frame, first.assign(Score=(first["Score"] % 5) + 1)], ignore_index=True)
    with pytest.raises(DataError, match="conflicting scores"):
        kc.make_split(kc.read_pairs(again, images=small_demo / "image"))
    pairs = kc.read_pairs(again, images=small_demo / "image", on_conflict="first")
    split = kc.make_split(pairs)
    alone = kc.make_split(kc.read_pairs(frame, images=small_demo / "image"))
    assert split.kept.tolist() == [*alone.kept.tolist(), False]
    assert split.scores[0] == frame["Score"][0]


def test_near_duplicates_stay_together(small_demo: Path, frame: pd.DataFrame, tmp_path: Path) -> None:
    shutil.copytree(small_demo / "image", tmp_path / "image")
    pairs = kc.read_pairs(frame, images=tmp_path / "image", near_duplicates=64)
    assert len(set(pairs.inputs.alike)) == 1  # 64 of 64 bits may differ: all images are alike
