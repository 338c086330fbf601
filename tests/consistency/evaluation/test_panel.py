"""A simulated panel recovers its known kappa; a run says who scored how many rows."""

from pathlib import Path

import numpy as np
import pytest

from consistency.data.pairs import PairTable, read_pairs
from consistency.evaluation.agreement import WEIGHTS, all_pairs, alpha_of, kappa
from consistency.evaluation.panel import describe_panel
from demo.annotators import annotate, column_names, expected_confusion
from demo.dataset import sample_rows


@pytest.mark.parametrize(("noise", "missing"), [(0.3, 0.0), (0.6, 0.2)])
def test_three_annotators_recover_their_known_kappas(noise: float, missing: float) -> None:
    rows = sample_rows(5)
    clean = np.array([row.clean for row in rows])
    drawn = annotate([(r.image, r.hashtag, r.clean) for r in rows], 3, seed=5, noise=noise, missing=missing)
    scores = np.array([[score or 0 for score in of_row] for of_row in drawn])
    images = np.array([row.image for row in rows], dtype=object)
    for pair in all_pairs(column_names(3), scores, images):
        for name, weights in WEIGHTS.items():
            known, ends = float(kappa(expected_confusion(clean, noise), weights)), pair.ci95[name]
            assert ends is not None
            assert ends[0] <= known <= ends[1], (pair.first, pair.second, name, known, ends)
            assert ends[1] - ends[0] < 0.12  # the interval says something


def rated_table(tmp_path: Path, *cells: str) -> PairTable:
    path = tmp_path / "rated.csv"
    lines = [f"x{row},#{row},{own}" for row, own in enumerate(cells)]
    path.write_text("\n".join(["Image Filename,Hashtag,a,b", *lines]))
    return read_pairs(path, score_column=("a", "b"))


def test_what_a_run_says_of_its_raters(tmp_path: Path) -> None:
    table = rated_table(tmp_path, "5,4", "1,1", ",3", "2,")
    panel = describe_panel(table, "mean")
    assert panel is not None
    assert (panel.columns, panel.scores, panel.complete, panel.rows) == (("a", "b"), (3, 3), 2, 4)
    assert panel.alpha == alpha_of(np.array([[5, 4], [1, 1]]), np.array(["x", "y"], dtype=object)).value
    assert panel.note == (
        "labels: mean of 2 columns of scores (a, b), all of them filled in 2 of 4 rows; "
        f"Krippendorff's ordinal alpha {panel.alpha:.3f}"
    )


def test_raters_who_share_no_row_have_no_alpha(tmp_path: Path) -> None:
    panel = describe_panel(rated_table(tmp_path, "5,", ",3"), "median")
    assert panel is not None
    assert panel.alpha is None
    assert panel.note.endswith("alpha undefined")


def test_one_column_is_no_panel(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text("Image Filename,Hashtag,Score\nx,1,5\n")
    assert describe_panel(read_pairs(path), "median") is None
