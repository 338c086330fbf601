"""Prediction sets of runs: calibrated on held-out answers for new images, and given by `score --sets`."""

import json
from pathlib import Path

import numpy as np
import pytest

import koclip_consistency as kc
from consistency.evaluation.conformal import PredictionSets
from tests.builders.commands import Run, data_options, rows_of


def calibrated(folder: Path, split: str) -> PredictionSets:
    """The sets of a run from its predictions.csv."""
    rows = [r for r in rows_of(folder / "predictions.csv") if (r["system"], r["split"]) == ("heads", split)]
    probabilities = np.array([[float(row[f"p{score}"]) for score in range(1, 6)] for row in rows])
    labels = np.array([int(row["score"]) - 1 for row in rows])
    return PredictionSets.fit(probabilities, labels, np.array([row["image"] for row in rows]), calibrated_on=split)


@pytest.mark.parametrize("split", ["test", "cv"])
def test_held_out_answers_calibrate_the_sets(run: Run, small_demo: Path, tmp_path: Path, split: str) -> None:
    folds = ["--folds", 3] if split == "cv" else []
    command = ["heads", "--backbone", "tiny", *data_options(small_demo, tmp_path), *folds, "--out", tmp_path / "run"]
    assert run(*command).code == 0
    saved = json.loads((tmp_path / "run" / "sets.json").read_text())
    expected = calibrated(tmp_path / "run", split)
    assert saved == expected.as_dict()
    assert saved["images"] == (60 if split == "cv" else 12)

    out = tmp_path / "scored.csv"
    data = data_options(small_demo, tmp_path)
    ran = run("score", "--model", tmp_path / "run", *data, "-o", out, "--sets", 0.8, "--json")
    assert ran.code == 0, ran.stderr
    rows = rows_of(out)
    probabilities = np.array([[float(row[f"p{score}"]) for score in range(1, 6)] for row in rows])
    ranges = [[int(row["set_low"]), int(row["set_high"])] for row in rows]
    assert ranges == expected.ranges(probabilities, 0.8).tolist()
    assert [[record["set_low"], record["set_high"]] for record in ran.json()] == ranges
    image = small_demo / "image" / rows[0]["Image Filename"]
    hashtags = ["바다", "카페"]
    scored = kc.load(tmp_path / "run", sets=0.8, cache=tmp_path / "cache").score(image, hashtags)
    shown = run("score", "--model", tmp_path / "run", "--image", image, "--cache", tmp_path / "cache", "--sets", 0.8,
                "--hashtag", "바다", "--hashtag", "카페")  # fmt: skip
    lines = [line.split("\t") for line in shown.stdout.splitlines()]
    assert lines[1][3] == "set"
    told = {line[0]: line[3] for line in lines[2:4]}
    for hashtag, low, high in zip(hashtags, scored["set_low"], scored["set_high"], strict=True):
        assert told[hashtag] == (f"{low}" if low == high else f"{low}–{high}")


def test_answers_for_images_of_the_training_calibrate_nothing(run: Run, small_demo: Path, tmp_path: Path) -> None:
    options = ["--backbone", "tiny", *data_options(small_demo, tmp_path), "--out", tmp_path / "run"]
    for protocol in ("paper", "hashtag"):
        assert run("heads", *options, "--protocol", protocol).code == 0
        assert not (tmp_path / "run" / "sets.json").exists()
    ran = run("score", "--model", tmp_path / "run", "--image", next((small_demo / "image").iterdir()),
              "--hashtag", "바다", "--sets", 0.9)  # fmt: skip
    assert ran.code == 2
    assert "gives no sets: expected a run of heads or finetune with probabilities, whose test images" in ran.stderr


def test_sets_need_a_run(run: Run, small_demo: Path, tmp_path: Path) -> None:
    image = next((small_demo / "image").iterdir())
    ran = run("score", "--backbone", "tiny", "--image", image, "--hashtag", "바다", "--sets", 0.9)
    assert (ran.code, "prediction sets need a run of heads or finetune" in ran.stderr) == (2, True)
    ran = run("score", "--model", tmp_path, "--image", image, "--hashtag", "바다", "--sets", 0.4)
    assert (ran.code, "0.4 is not in the range" in ran.stderr) == (2, True)
