"""Prediction sets: ranges that grow from the most probable score, and the promise they keep for new images."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from consistency.errors import InputError
from consistency.evaluation.conformal import FILE, LEVELS, PredictionSets, load_sets, mass_before
from consistency.runs.folder import to_json

Floats = npt.NDArray[np.float64]


def grown(p: list[float]) -> list[float]:
    """The mass before each score, by the rule in words."""
    held, before = [max(range(5), key=lambda score: p[score])], [0.0] * 5
    while len(held) < 5:
        beside = [score for score in (max(held) + 1, min(held) - 1) if 0 <= score < 5]
        best = max(beside, key=lambda score: p[score])  # the higher one comes first among equals
        before[best] = sum(p[score] for score in held)
        held.append(best)
    return before


def drawn(images: int, rng: np.random.Generator, *, sharp: float = 1.0) -> tuple[Floats, Any, Any]:
    """Overconfident probabilities (power `sharp`), labels and images: rows of an image share how wrong they are."""
    image = np.repeat(np.arange(images), rng.integers(1, 20, images))
    truth = rng.dirichlet(np.ones(5), len(image))
    off = rng.random(images) < 0.3
    labels = np.array([rng.integers(5) if off[at] else rng.choice(5, p=p) for at, p in zip(image, truth, strict=True)])
    said = truth**sharp
    return said / said.sum(axis=1, keepdims=True), labels, image


def test_a_range_grows_by_its_more_probable_neighbour() -> None:
    rng = np.random.default_rng(0)
    probabilities = np.concatenate([rng.dirichlet(np.ones(5), 300), np.full((1, 5), 0.2), np.eye(5)])
    found = mass_before(probabilities)
    assert found == pytest.approx(np.array([grown(p) for p in probabilities.tolist()]))
    assert found[0, probabilities[0].argmax()] == 0


def test_a_set_holds_every_score_before_which_little_mass_is_gathered() -> None:
    sets = PredictionSets("test", 9, 9, {0.8: 0.75, 0.9: None})
    probabilities = np.array([[0.05, 0.1, 0.6, 0.2, 0.05], [0.9, 0.1, 0, 0, 0], [0.2, 0.2, 0.2, 0.2, 0.2]])
    assert sets.ranges(probabilities, 0.8).tolist() == [[3, 4], [1, 1], [1, 4]]
    assert sets.ranges(probabilities, 0.9).tolist() == [[1, 5]] * 3


def test_images_have_equal_weight_however_many_rows_they_have() -> None:
    """One image of 90 rows and nine of one row: the large one is a tenth of the images, not nine tenths of the rows."""
    certain = np.tile([0.96, 0.01, 0.01, 0.01, 0.01], (99, 1))
    labels = np.r_[np.full(90, 4), np.zeros(9, dtype=int)]
    images = np.r_[np.zeros(90, dtype=int), np.arange(1, 10)]
    sets = PredictionSets.fit(certain, labels, images, calibrated_on="test")
    assert (sets.images, sets.rows) == (10, 99)
    assert sets.mass[0.81] == 0  # 9 of 10 + 1 images
    assert sets.mass[0.82] == pytest.approx(0.99)
    assert sets.mass[0.90] == pytest.approx(0.99)  # 10 of 11
    assert sets.mass[0.91] is None
    assert list(sets.mass) == list(LEVELS)


@pytest.mark.parametrize("sharp", [1.0, 3.0])
def test_the_label_of_a_new_image_is_in_the_set_as_often_as_promised(sharp: float) -> None:
    """Over many calibrations the coverage is at least the level, and above it by at most 1 / (images + 1)."""
    rng = np.random.default_rng(1)
    fresh, truth, image = drawn(2000, rng, sharp=sharp)
    weight = 1 / np.bincount(image)[image] / 2000
    covered: dict[float, list[float]] = {0.6: [], 0.9: []}
    for _ in range(150):
        probabilities, labels, images = drawn(40, rng, sharp=sharp)
        sets = PredictionSets.fit(probabilities, labels, images, calibrated_on="test")
        for level, found in covered.items():
            low, high = sets.ranges(fresh, level).T - 1
            found.append(float(weight @ ((low <= truth) & (truth <= high))))
    for level, found in covered.items():
        error = np.std(found) / len(found) ** 0.5
        assert level - 3 * error < np.mean(found) < level + 1 / 41 + 3 * error


def test_sets_are_read_as_they_were_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    probabilities, labels, images = drawn(30, rng)
    sets = PredictionSets.fit(probabilities, labels, images, calibrated_on="cv")
    (tmp_path / FILE).write_text(to_json(sets.as_dict()))
    for level in (0.5, 0.8, 0.97, 0.99):
        assert np.array_equal(load_sets(tmp_path, level)(probabilities), sets.ranges(probabilities, level))
    with pytest.raises(InputError, match=r"^there are no sets of level 0\.905: give 0\.50, 0\.51, \.\.\. or 0\.99$"):
        load_sets(tmp_path, 0.905)
    saved = json.loads((tmp_path / FILE).read_text())
    assert (saved["calibrated_on"], saved["images"], saved["rows"]) == ("cv", 30, len(labels))


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"calibrated_on": "cv", "images": 1, "rows": 1, "mass": 3}',
        '{"calibrated_on": "cv", "images": 1e999, "rows": 1, "mass": {}}',
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE).write_text(content)
    with pytest.raises(InputError, match=r"sets\.json is damaged \(.*\): train again"):
        load_sets(tmp_path, 0.9)


def test_a_run_without_sets_says_what_is_needed(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="gives no sets: expected a run of heads or finetune with probabilities, whose"
    ):
        load_sets(tmp_path, 0.9)
