"""Figures are readable PNGs whatever the names and numbers."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from consistency.report.plots import (
    confusion_matrix_png,
    reliability_png,
    result_figures,
    result_png,
    tiles_png,
    training_png,
)
from tests.builders.results import make_result

MATRIX = np.arange(25).reshape(5, 5)


def opened(data: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(data))
    picture.load()
    assert picture.format == "PNG"
    return picture.convert("RGB")


def test_confusion_matrix_shades_by_the_share_of_the_row() -> None:
    sure, spread = np.eye(5, dtype=np.int64) * 7, np.full((5, 5), 7)
    dark, light = (np.asarray(opened(confusion_matrix_png(m, "heads\nn = 35"))).min(axis=2) for m in (sure, spread))
    assert (dark < 100).mean() > (light < 100).mean() + 0.05
    assert opened(confusion_matrix_png(MATRIX, "heads")).width >= 500


def test_equal_figures_are_equal_bytes() -> None:
    assert confusion_matrix_png(MATRIX, "heads") == confusion_matrix_png(MATRIX, "heads")
    assert confusion_matrix_png(MATRIX, "heads") != confusion_matrix_png(MATRIX.T, "heads")


@pytest.mark.parametrize("backbone", ["none", "모델/클립", "$x_{", "a/very/long/path/" * 9])
def test_any_backbone_name_can_be_a_title(backbone: str) -> None:
    result = make_result("heads-grid", backbone=backbone, split="cv")
    assert opened(result_png(result)).size == opened(reliability_png(result)).size


def test_reliability_diagrams_show_where_a_system_is_right() -> None:
    """Surely right: its circle is at the top right; surely wrong: at the bottom right."""
    result = make_result("heads")
    p = result.predictions
    blue = []
    for said in (p.scores, p.scores % 5 + 1):
        figure = reliability_png(replace(result, predictions=replace(p, probabilities=np.eye(5)[said - 1])))
        pixels = np.asarray(opened(figure)).astype(int)
        rows, columns = np.nonzero(pixels[:, :, 2] - pixels[:, :, 0] > 60)
        blue.append((rows.mean() / pixels.shape[0], columns.max() / pixels.shape[1]))
    (top, right), (bottom, right_too) = blue
    assert top < 0.25 < 0.75 < bottom
    assert min(right, right_too) > 0.9
    with pytest.raises(ValueError, match="no probabilities"):
        reliability_png(make_result("similarity-exact", probabilities=False))


def test_empty_rows_and_large_counts_fit() -> None:
    matrix = np.zeros((5, 5), dtype=np.int64)
    opened(confusion_matrix_png(matrix, "nothing"))
    matrix[4, 4] = 123_456_789
    opened(confusion_matrix_png(matrix, "much"))


def test_tiles_stand_four_to_a_line() -> None:
    one = confusion_matrix_png(MATRIX, "one")
    width, height = opened(one).size
    assert [opened(tiles_png([one] * n)).size for n in (1, 3, 5)] == [
        (width, height),
        (3 * width, height),
        (4 * width, 2 * height),
    ]
    assert np.array_equal(opened(tiles_png([one, one])).crop((width, 0, 2 * width, height)), opened(one))


def test_training_curves_take_whatever_was_recorded() -> None:
    epochs = [
        {"epoch": e, "train_loss": 1 / e, "val_loss": 1.1 / e, "accuracy": 0.5, "macro_f1": 0.4, "weighted_f1": 0.5}
        for e in range(1, 6)
    ]
    whole = training_png(epochs)
    assert opened(whole).width > 1000
    assert training_png(epochs, final={"accuracy": 0.9, "macro_f1": None}) != whole
    opened(training_png([{"epoch": 1, "train_loss": 0.7, "val_loss": None}]))
    opened(training_png([]))
    folds = [{"fold": fold, **epoch} for fold in range(5) for epoch in epochs]
    assert training_png(folds) != whole


def test_a_run_has_a_confusion_matrix_for_every_result_that_is_no_control() -> None:
    sizes = {}
    for name, results in (
        ("one", [make_result("similarity-exact", probabilities=False), make_result("majority")]),
        ("control", [make_result("majority", probabilities=False)]),
        ("several", [make_result("heads"), make_result("heads", split="cv")]),
    ):
        sizes[name] = {file: opened(data).size for file, data in result_figures(results).items()}
    one = sizes["one"].pop("confusion_matrix.png")
    two = (2 * one[0], one[1])
    assert sizes == {
        "one": {},  # no reliability diagram of a system without probabilities, nor of a control
        "control": {"confusion_matrix.png": one},
        "several": {
            "confusion_matrix.png": two,
            "confusion_matrix-heads.png": one,
            "confusion_matrix-heads-cv.png": one,
            "reliability.png": two,
        },
    }
