"""Pair tables from DataFrames: rows count from 1, and every row that cannot be scored says why."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from consistency.errors import DataError
from consistency.options import Source
from koclip_consistency.scoring.frames import frame_inputs


def test_rows_and_reasons(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(name.encode())
    frame = pd.DataFrame(
        {
            "Image Filename": ["a.png", None, "b.png", " ", "a.png", 7, "lost.png", "../a.png", "a.png"],
            "Hashtag": ["바다", "바다", np.nan, "바다", "#", "바다", "바다", "바다", "카페"],
        },
        index=list("ABCDEFGHI"),
    )
    inputs = frame_inputs(frame, Source(images=tmp_path))
    assert inputs.table.rows.tolist() == [1, 7, 8, 9]
    assert inputs.table.hashtags.tolist() == ["바다", "바다", "바다", "카페"]
    assert {s.row: s.reason for s in inputs.skipped} == {
        2: "the image has no name",
        3: "the hashtag is empty",
        4: "the image has no name",
        5: "the hashtag is empty",
        6: "the image has no name",
    }
    assert inputs.files["a.png"].path == tmp_path.resolve() / "a.png"
    assert str(inputs.files["lost.png"].problem).startswith("not found")
    assert inputs.files["../a.png"].path is None
    assert len(frame_inputs(frame[:0], Source(images=tmp_path)).table) == 0


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (["Image", "Hashtag"], r"has 0 columns 'Image Filename', expected one \(found 'Image', 'Hashtag'\)"),
        (["Image Filename", "Hashtag", "Hashtag"], "has 2 columns 'Hashtag', expected one"),
    ],
)
def test_a_table_without_its_columns(columns: list[str], said: str) -> None:
    with pytest.raises(DataError, match=said):
        frame_inputs(pd.DataFrame([["a"] * len(columns)], columns=columns), Source())
