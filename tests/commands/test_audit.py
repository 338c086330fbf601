"""`audit` as it is called: on data with and without clean labels, and on a backbone that was tuned on them."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from consistency.backbone.resolve import resolve_backbone
from consistency.data.files import find_images, image_identity
from consistency.data.pairs import read_pairs
from consistency.data.trained_on import Digests, TrainedOn
from consistency.runs.read import read_audit
from tests.builders.commands import Run


def options(folder: Path, tmp_path: Path) -> list[object]:
    places = ["--data", folder / "combined_data.csv", "--images", folder / "image", "--cache", tmp_path / "cache"]
    return ["audit", "--backbone", "tiny", "--folds", "3", "--repeats", "1", "--top", "5", *places]


def test_the_judges_read_hashtags_as_the_recipe_says(run: Run, small_demo: Path, tmp_path: Path) -> None:
    """No image is encoded again, and other texts give other judgements, the same each time."""
    recipes = {"raw": [], "first": ["--text", "plain", "--template", "{} 사진"]}
    recipes["again"] = recipes["first"]
    values = {}
    for name, recipe in recipes.items():
        ran = run(*options(small_demo, tmp_path), *recipe, "--out", tmp_path / name)
        assert ran.code == 0, ran.stderr
        assert f"embeddings: {60 if name == 'raw' else 0} of 60 images" in ran.stderr
        found = read_audit(tmp_path / name)
        assert found is not None
        values[name] = found
    info = json.loads((tmp_path / "first" / "run.json").read_text())
    assert info["config"]["encoding"]["templates"] == ["{} 사진"]
    assert values["first"] == values["again"]
    assert values["first"] != values["raw"]


def test_the_command_ranks_every_row_and_measures_itself(run: Run, small_demo: Path, tmp_path: Path) -> None:
    truth = ["--clean", small_demo / "clean_labels.csv"]
    ran = run(*options(small_demo, tmp_path), "--out", tmp_path / "run", "--json", *truth)
    assert ran.code == 0, ran.stderr
    told = ran.json()
    rows = read_audit(tmp_path / "run")
    assert rows is not None
    table = read_pairs(small_demo / "combined_data.csv")
    distinct = set(zip(table.images, table.hashtags, strict=True))
    assert len(rows) == told["n"] == len(distinct)
    everything = sorted(row for audited in rows for row in (audited.row, *audited.repeats))
    assert everything == table.rows.tolist()
    assert [row.rank for row in rows] == list(range(1, len(rows) + 1))
    assert [row.doubt for row in rows] == sorted((row.doubt for row in rows), reverse=True)
    assert [row["row"] for row in told["doubtful"]] == [row.row for row in rows[:5]]

    with (small_demo / "clean_labels.csv").open(encoding="utf-8", newline="") as file:
        clean = {int(line["row"]): int(line["clean_score"]) for line in csv.DictReader(file)}
    moved = [row.score != clean[row.row] for row in rows]
    found = told["precision"]
    assert (found["moved"], found["found"]) == (sum(moved), sum(moved[: sum(moved)]))
    assert found["precision"] > found["chance"]
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert page.count("data-row=") == 5
    assert "Here the true labels are known" in page
    assert f"of {len(rows):,} test rows 0 have their image in train, 0 their exact pair" in page
    assert "none of which has seen the images it judges" in ran.stderr
    assert (
        f"protocol grouped, 3 folds: of {len(rows)} test rows 0 have their image in train, 0 their exact pair"
        in ran.stderr
    )


@pytest.mark.slow
def test_judges_that_read_the_post_find_more_of_the_moved_labels(run: Run, small_demo: Path, tmp_path: Path) -> None:
    found = {}
    for context in ("pair", "post"):
        words = [
            "--context",
            context,
            "--clean",
            small_demo / "clean_labels.csv",
            "--out",
            tmp_path / context,
            "--json",
        ]
        ran = run(*options(small_demo, tmp_path), *words)
        assert ran.code == 0, ran.stderr
        found[context] = ran.json()["precision"]["found"]
    assert found["post"] > found["pair"]
    head = json.loads((tmp_path / "post" / "run.json").read_text())["details"]["head"]
    assert head["context"] == ["mean", "maximum", "weighted", "cosine"]


def test_judges_on_a_backbone_that_was_tuned_on_the_images_are_named_biased(
    run: Run, small_demo: Path, tmp_path: Path
) -> None:
    model = tmp_path / "tuned"
    shutil.copytree(Path(resolve_backbone("tiny").folder), model)
    table = read_pairs(small_demo / "combined_data.csv")
    identity = image_identity(table.images, find_images(table.images, small_demo / "image"))
    some = np.isin(identity, sorted(set(identity))[:20])
    words = options(small_demo, tmp_path)
    words[words.index("tiny")] = model
    ran = run(*words, "--out", tmp_path / "unknown")
    assert "whether the backbone below them has seen these is unknown" in ran.stderr
    assert f"backbone {model}, a local model: what it was trained on is unknown" in ran.stderr
    assert "none of which has seen" not in ran.stderr
    TrainedOn(val=Digests.of(identity[some], table.hashtags[some])).write(model)
    ran = run(*words, "--out", tmp_path / "run")
    assert ran.code == 0, ran.stderr
    assert "20 of 60 of these images trained the backbone below them: their doubts are biased" in ran.stderr
    assert "none of which has seen" not in ran.stderr
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert f"20 of 60 images trained the backbone {model}" in page
    (entry,) = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert entry["trained_on"]["images"] == 20


def test_own_data_need_no_clean_labels(run: Run, small_demo: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    shutil.copytree(small_demo, folder)
    (folder / "clean_labels.csv").unlink()
    (folder / "image" / "demo_001.png").unlink()
    ran = run(*options(folder, tmp_path), "--out", tmp_path / "run", "--json")
    assert ran.code == 3  # an image is missing
    assert ran.json()["precision"] is None
    rows = read_audit(tmp_path / "run")
    assert rows
    assert "demo_001.png" not in {row.image for row in rows}
    assert "Here the true labels are known" not in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
