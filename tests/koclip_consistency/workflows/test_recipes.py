"""The text recipe that `heads --choose-text` chooses, and what it gains."""

import json
from pathlib import Path

import numpy as np
import pytest

from consistency.evaluation.compare import compare
from consistency.runs.read import read_run
from koclip_consistency.workflows import recipes
from tests.builders.commands import Run, data_options, rows_of


def run_choosing(run: Run, small_demo: Path, tmp_path: Path) -> tuple[str, dict]:  # type: ignore[type-arg]
    """The standard error of `heads --choose-text` in `tmp_path / "run"`, and its run.json."""
    data = data_options(small_demo, tmp_path)
    ran = run("heads", "--backbone", "tiny", *data, "--choose-text", "--out", tmp_path / "run")
    assert ran.code == 0, ran.stderr
    return ran.stderr, json.loads((tmp_path / "run" / "run.json").read_text())


def test_the_recipe_is_chosen_inside_train(run: Run, small_demo: Path, tmp_path: Path) -> None:
    said, info = run_choosing(run, small_demo, tmp_path)
    chosen = info["details"]["text_recipe"]
    assert list(chosen["scores"]) == list(recipes.RECIPES)
    assert all(len(scores) == recipes.FOLDS for scores in chosen["scores"].values())
    ahead = {name: np.subtract(scores, chosen["scores"]["raw"]) for name, scores in chosen["scores"].items()}
    best = max(ahead, key=lambda name: float(ahead[name].mean()))
    sure = ahead[best].mean() > ahead[best].std(ddof=1) / np.sqrt(recipes.FOLDS)
    assert chosen["name"] == (best if sure else "raw")
    assert f"text recipe {chosen['name']}, chosen by 5 folds of train (score raw " in said
    assert (chosen["gain"] != {}) == (chosen["name"] != "raw")


@pytest.mark.slow
def test_a_recipe_that_is_ahead_is_used_and_its_gain_is_that_of_compare(
    run: Run, small_demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against a recipe that makes the same text of every hashtag, as `raw`."""
    drowned = recipes.TextRecipe(templates=("바다 " * 40 + "{}",))  # cut off before the hashtag
    monkeypatch.setattr(recipes, "RECIPES", {"raw": drowned, "plain": recipes.TextRecipe("plain")})
    said, info = run_choosing(run, small_demo, tmp_path)
    chosen = info["details"]["text_recipe"]
    assert chosen["name"] == info["config"]["encoding"]["text"] == "plain"
    data = data_options(small_demo, tmp_path)
    for name, options in (("plain", ["--text", "plain"]), ("drowned", ["--template", drowned.templates[0]])):
        assert run("heads", "--backbone", "tiny", *data, *options, "--out", tmp_path / name).code == 0
    assert rows_of(tmp_path / "run" / "predictions.csv") == rows_of(tmp_path / "plain" / "predictions.csv")
    results = [
        next(result for result in read_run(tmp_path / name).results if result.predictions.system == "heads")
        for name in ("drowned", "plain")
    ]
    for each in compare(results, names=["raw", "plain"], metrics=recipes.METRICS):
        assert chosen["gain"][each.metric] == pytest.approx([each.difference, each.low, each.high])
    assert "; on test it gains " in said


@pytest.mark.parametrize("other", [("--folds", 3), ("--learning-curve",), ("--redraw-split",)])
def test_rows_that_chose_are_not_tested(run: Run, other: tuple[object, ...]) -> None:
    ran = run("heads", "--backbone", "tiny", "--choose-text", *other)
    assert ran.code == 2
    assert "--choose-text" in ran.stderr
