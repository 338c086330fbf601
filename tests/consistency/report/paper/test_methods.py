"""The methods paragraph says what run.json and the results say."""

import re
from pathlib import Path
from typing import Any

from consistency.report.paper.methods import methods_md
from consistency.report.standing import Comparison
from consistency.runs.read import read_run
from consistency.text import to_csv
from tests.builders.results import make_result, write_run

EVALUATION = {"test_fraction": 0.2, "seed": 7, "split": None, "near_duplicates": None, "intervals": "image"}
LEAKAGE = {"division": {"leakage": {"test": {"n": 60, "image": 0, "pair": 0, "hashtag": 41, "near": None}}}}
HEAD = {"features": "full", "hidden": [128], "loss": "cross-entropy"}


def methods_of(
    folder: Path, config: dict[str, Any], details: dict[str, Any], command: str = "heads", **about: Any
) -> str:
    results = [make_result("majority", probabilities=False, **about), make_result(command, **about)]
    run = read_run(write_run(folder / "run", results, config=config, details=details, command=command))
    lines = [(1, "a", "x", "train", ""), (2, "a", "y", "train", ""), (3, "b", "x", "test", "")]
    (run.path / "split.csv").write_bytes(to_csv(("row", "image", "hashtag", "split", "fold"), lines))
    return methods_md([run], Comparison(run.results), run.results[1])


def test_data_protocol_and_leakage(tmp_path: Path) -> None:
    text = methods_of(tmp_path, {"evaluation": EVALUATION}, LEAKAGE | {"head": HEAD})
    assert "The training side has 2 rows of 1 image, before repeats are merged." in text
    assert "The systems were evaluated on 60 pairs of 12 images (test rows)." in text
    assert "every test image is new to the systems" in text
    assert "hold 20 % of the rows (seed 7)" in text
    assert "Of the 60 rows evaluated, 0 have their image in the training rows, 0 their exact pair, and 41 their" in text


def test_choice_and_controls(tmp_path: Path) -> None:
    fixed = methods_of(tmp_path / "a", {"evaluation": EVALUATION}, {"head": HEAD})
    assert "full features, hidden layers of 128 units and loss cross-entropy" in fixed
    assert "Its settings were fixed in advance" in fixed
    assert "Controls that see no image: majority." in fixed
    grid = methods_of(tmp_path / "b", {"grid": True, "inner_folds": 5, "ensemble": 3}, {"head": {}})
    assert "chosen from a grid by the mean of macro-F1 and QWK over 5 folds inside the training rows" in grid
    assert "The probabilities of the best 3 were averaged." in grid
    tuned = methods_of(tmp_path / "c", {}, {"kept_epoch": 4}, command="finetune")
    assert "both encoders of tiny fine-tuned" in tuned
    assert "epoch 4, chosen on validation rows" in tuned
    published = methods_of(tmp_path / "d", {"preset": "paper"}, {"head": HEAD})
    assert "nothing was chosen" in published


def test_intervals_and_several_labels(tmp_path: Path) -> None:
    images = methods_of(tmp_path / "a", {"evaluation": EVALUATION}, {})
    assert "bootstrap over images (2,000 resamples)" in images
    both = methods_of(tmp_path / "b", {"evaluation": EVALUATION | {"intervals": "two-way"}}, {}, protocol="hashtag")
    assert "bootstrap over images and hashtags at once" in both
    assert "resamples of the test hashtags" in both
    several = methods_of(tmp_path / "c", {"source": {"score_column": ["A", "B"], "aggregate": "median"}}, {})
    assert "The label of a pair is the median of 2 columns of scores (A, B)." in several


def test_a_run_with_hardly_any_record_still_has_words(tmp_path: Path) -> None:
    text = methods_of(tmp_path, {}, {})
    assert text.startswith("# Methods\n\n**Data and protocol.** ")
    assert not re.search(r"None|nan|\{|\}", text)
