"""Thresholds, learning curves and side sizes of run folders; damage is one line."""

import json
from pathlib import Path

import pytest

from consistency.errors import InputError
from consistency.runs.fitted import CURVE_COLUMNS, read_learning_curve, read_thresholds, side_sizes
from consistency.text import to_csv


def test_a_run_without_them(tmp_path: Path) -> None:
    assert (read_thresholds(tmp_path), read_learning_curve(tmp_path), side_sizes(tmp_path)) == ({}, None, {})


def test_thresholds(tmp_path: Path) -> None:
    (tmp_path / "thresholds.json").write_text(json.dumps({"similarity-exact": {"thresholds": [-0.1, 0, 0.2, 0.5]}}))
    assert read_thresholds(tmp_path) == {"similarity-exact": (-0.1, 0.0, 0.2, 0.5)}


@pytest.mark.parametrize(
    "content",
    ["[1]", "{", '{"a": {}}', '{"a": {"thresholds": [1, 2, 3]}}', '{"a": {"thresholds": [4, 3, 2, 1]}}',
     '{"a": {"thresholds": [1, 2, 3, NaN]}}'],
)  # fmt: skip
def test_damaged_thresholds_are_one_line(content: str, tmp_path: Path) -> None:
    (tmp_path / "thresholds.json").write_text(content)
    with pytest.raises(InputError, match=r"thresholds\.json is damaged") as error:
        read_thresholds(tmp_path)
    assert "\n" not in str(error.value)


def test_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("{}")
    (tmp_path / "thresholds.json").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="symbolic link"):
        read_thresholds(tmp_path)


def curve_lines(sizes: tuple[int, ...], qwk: object = 0.5) -> bytes:
    fixed = {"system": "heads", "rows": 10, "seed": 42}
    rows = [fixed | {"images": size, "draw": draw, "qwk": qwk} for size in sizes for draw in (1, 2)]
    return to_csv(CURVE_COLUMNS, ([row.get(name, 0.25) for name in CURVE_COLUMNS] for row in rows))


def test_a_learning_curve(tmp_path: Path) -> None:
    (tmp_path / "learning_curve.csv").write_bytes(curve_lines((4, 8), None))
    curve = read_learning_curve(tmp_path)
    assert curve is not None
    assert (curve.system, curve.sizes, len(curve.trainings)) == ("heads", (4, 8), 4)
    assert (curve.values("qwk", 8), curve.values("accuracy", 8)) == (None, [0.25, 0.25])


@pytest.mark.parametrize("content", [b"images\n1\n", curve_lines((0, 4)), curve_lines((4,)), curve_lines((4, 8), "x")])
def test_a_damaged_curve_is_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "learning_curve.csv").write_bytes(content)
    with pytest.raises(InputError, match=r"learning_curve\.csv is damaged"):
        read_learning_curve(tmp_path)


def test_side_sizes(tmp_path: Path) -> None:
    lines = [(1, "a", "x", "train", ""), (2, "a", "y", "train", ""), (3, "b", "x", "test", "")]
    (tmp_path / "split.csv").write_bytes(to_csv(("row", "image", "hashtag", "split", "fold"), lines))
    assert side_sizes(tmp_path) == {"train": (2, 1), "test": (1, 1)}
