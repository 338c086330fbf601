"""`heads --learning-curve`: its files say what trainings on fewer images say."""

import json
from pathlib import Path

import pytest

from consistency.data.hashtags import hashtag_identity
from tests.builders.commands import Run, data_options, rows_of

GRID = '[[grid]]\nhidden = [[]]\noptimizer = "ridge"\nweight_decay = [0.1, 1.0]\nepochs = 1\n'


def system_entry(folder: Path, system: str) -> dict[str, float]:
    entries = json.loads((folder / "metrics.json").read_text())
    (found,) = [entry["metrics"] for entry in entries if (entry["system"], entry["split"]) == (system, "test")]
    return dict(found)


@pytest.mark.parametrize("recipe", ["heads", pytest.param("heads-grid", marks=pytest.mark.slow)])
def test_a_curve_has_every_size_and_draw(run: Run, small_demo: Path, tmp_path: Path, recipe: str) -> None:
    (tmp_path / "grid.toml").write_text(GRID)
    grid = ["--grid", "--grid-file", tmp_path / "grid.toml", "--inner-folds", 2] if recipe == "heads-grid" else []
    command = ["heads", *grid, "--backbone", "tiny", *data_options(small_demo, tmp_path)]
    ran = run(*command, "--learning-curve", "--out", tmp_path / "curve")
    assert ran.code == 0, ran.stderr
    rows = rows_of(tmp_path / "curve" / "learning_curve.csv")
    assert {row["system"] for row in rows} == {recipe}
    points = [(int(row["images"]), int(row["draw"])) for row in rows]
    assert points == [(images, draw) for images in (6, 12, 24, 48) for draw in range(1, 6)]
    split = rows_of(tmp_path / "curve" / "split.csv")
    pairs = {(row["image"], hashtag_identity(row["hashtag"])) for row in split if row["split"] == "train"}
    assert {int(row["rows"]) for row in rows[-5:]} == {len(pairs)}  # repeats count once
    assert len({row["seed"] for row in rows}) == 5
    own = system_entry(tmp_path / "curve", recipe)
    assert {name: float(rows[-5][name]) for name in own} == own
    # All images are the same images in every draw: another draw is a run with its seed.
    again = ["--split", tmp_path / "curve" / "split.csv", "--seed", rows[-3]["seed"], "--out", tmp_path / "alone"]
    assert run(*command, *again).code == 0
    alone = system_entry(tmp_path / "alone", recipe)
    assert {name: float(rows[-3][name]) for name in alone} == pytest.approx(alone)

    lines = ran.stdout[ran.stdout.index(f"Learning curve of {recipe}") :].splitlines()
    assert [line.split("\t")[0] for line in lines[2:7]] == ["6", "12", "24", "48", "96 (expected)"]
    assert (tmp_path / "curve" / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
    recorded = json.loads((tmp_path / "curve" / "run.json").read_text())["details"]["learning_curve"]
    assert recorded["images"] == [6, 12, 24, 48]
    mean = sum(float(row["qwk"]) for row in rows[:5]) / 5
    assert recorded["metrics"]["qwk"]["mean"][0] == pytest.approx(mean)


def test_labels_of_images_that_are_not_drawn_have_no_influence(run: Run, small_demo: Path, tmp_path: Path) -> None:
    """The smallest size of the first draw again, with the scores of all other training images turned round."""
    command = ["heads", "--backbone", "tiny", *data_options(small_demo, tmp_path)[2:], "--learning-curve", 5]
    assert run(*command, "--data", small_demo / "combined_data.csv", "--out", tmp_path / "a").code == 0
    split = rows_of(tmp_path / "a" / "split.csv")
    table = (small_demo / "combined_data.csv").read_text(encoding="utf-8-sig").splitlines()
    train = {row["image"] for row in split if row["split"] == "train"}
    drawn = smallest_draw(small_demo, sorted(train))
    turned = [table[0]]
    column = table[0].split(",").index("Score")
    for line in table[1:]:
        cells = line.split(",")
        if cells[0] in train - drawn:
            cells[column] = str(6 - int(cells[column]))
        turned.append(",".join(cells))
    (tmp_path / "turned.csv").write_text("\n".join(turned) + "\n", encoding="utf-8")
    again = ["--data", tmp_path / "turned.csv", "--split", tmp_path / "a" / "split.csv", "--out", tmp_path / "b"]
    ran = run(*command, *again)
    assert ran.code == 0, ran.stderr
    a, b = (rows_of(tmp_path / name / "learning_curve.csv") for name in "ab")
    assert a[0] == b[0]
    assert all(one["qwk"] != other["qwk"] for one, other in zip(a[-5:], b[-5:], strict=True))


def smallest_draw(data: Path, images: list[str]) -> set[str]:
    """The images of the smallest size in the first draw: images are ordered by the digest of their content."""
    import hashlib

    import numpy as np

    from consistency.evaluation.learning_curve import drawn_order

    of_digest = {hashlib.sha256((data / "image" / name).read_bytes()).hexdigest(): name for name in images}
    order = drawn_order(np.array(list(of_digest), dtype=object), draw=1, seed=42)
    return {of_digest[digest] for digest in order[:6]}


def test_too_few_images_are_refused(run: Run, small_demo: Path, tmp_path: Path) -> None:
    options = [*data_options(small_demo, tmp_path), "--test-fraction", 0.7, "--out", tmp_path / "run"]
    ran = run("heads", "--backbone", "tiny", *options, "--learning-curve")
    assert ran.code == 2
    assert "18 training images are too few for a learning curve: it needs at least 24" in ran.stderr
