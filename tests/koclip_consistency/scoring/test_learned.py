"""The labelled rows of a run: those of train, without repeats, as its controls read them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from consistency.data.hashtags import hashtag_identity
from consistency.errors import DataError, InputError
from consistency.runs.read import read_run
from koclip_consistency.scoring.learned import read_learned
from tests.builders.commands import rows_of


def test_they_are_the_train_rows_without_repeats(trained: Path, small_demo: Path) -> None:
    learned = read_learned(trained / "runs" / "heads")
    scores = {
        row["Image Filename"] + row["Hashtag"]: int(row["Score"]) for row in rows_of(small_demo / "combined_data.csv")
    }
    expected = {
        (line["image"], hashtag_identity(line["hashtag"]), scores[line["image"] + line["hashtag"]])
        for line in rows_of(trained / "runs" / "heads" / "split.csv")
        if line["split"] == "train"
    }
    found = list(zip(learned.images, learned.identities, learned.scores.tolist(), strict=True))
    assert len(found) == len(expected) > 300
    assert set(found) == expected
    assert all(learned.digests)


def test_the_control_answers_as_in_the_run(trained: Path) -> None:
    learned = read_learned(trained / "runs" / "heads")
    (said,) = (
        r.predictions
        for r in read_run(trained / "runs" / "heads").results
        if r.predictions.system == "text-only" and r.predictions.split == "test"
    )
    np.testing.assert_allclose(learned.text_only(said.hashtags), said.probabilities, atol=1e-12)


def test_rows_that_the_run_left_out_are_left_out(trained: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(trained / "runs" / "heads", tmp_path / "run"))
    whole = read_learned(run)
    image, row = whole.images[0], next(line for line in rows_of(run / "split.csv") if line["image"] == whole.images[-1])
    (run / "skipped.csv").write_text(
        f"row,image,hashtag,reason\n,{image},,broken\n{row['row']},{row['image']},{row['hashtag']},broken\n"
    )
    fewer = read_learned(run)
    assert image not in fewer.images
    assert len(fewer.scores) == len(whole.scores) - (whole.images == image).sum() - 1


def test_images_that_are_gone_have_no_digest(trained: Path, tmp_path: Path) -> None:
    found = read_learned(trained / "runs" / "heads", images=tmp_path / "nowhere")
    assert len(found.scores) == len(read_learned(trained / "runs" / "heads").scores)
    assert not any(found.digests)


def test_another_table_is_refused(trained: Path, small_demo: Path, tmp_path: Path) -> None:
    text = (small_demo / "combined_data.csv").read_text(encoding="utf-8")
    (tmp_path / "other.csv").write_text(text + text.splitlines()[-1] + "\n", encoding="utf-8")
    with pytest.raises(DataError, match="other.csv has changed since .* learned from it"):
        read_learned(trained / "runs" / "heads", data=tmp_path / "other.csv", images=small_demo / "image")
    with pytest.raises(DataError, match="gone.csv"):
        read_learned(trained / "runs" / "heads", data=tmp_path / "gone.csv")


def test_a_run_that_names_no_table_is_refused(trained: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(trained / "runs" / "heads", tmp_path / "run"))
    info = json.loads((run / "run.json").read_text())
    del info["config"]["source"]
    (run / "run.json").write_text(json.dumps(info))
    with pytest.raises(InputError, match="does not say which table the run learned from"):
        read_learned(run)
