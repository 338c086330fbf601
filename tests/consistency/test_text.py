"""Numbers, CSV, JSON and file names: what goes in comes out, and what people read is unambiguous."""

import csv
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consistency.evaluation.metrics import METRICS
from consistency.text import (
    FURTHER_TITLES,
    METRIC_TITLES,
    interval_text,
    listed,
    number,
    percent,
    signed,
    slug,
    to_csv,
    to_json,
    visible,
    with_interval,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.5156, "0.516"), (1.0434, "1.043"), (-0.05, "-0.050"), (0.0, "0.000"), (-0.0001, "0.000"), (None, "–")],
)
def test_numbers_keep_the_leading_zero_and_no_minus_before_a_zero(value: float | None, text: str) -> None:
    assert number(value) == text


@given(st.floats(-1e6, 1e6), st.integers(0, 6))
def test_a_number_reads_back_to_within_its_digits(value: float, digits: int) -> None:
    text = number(value, digits)
    assert abs(float(text) - value) <= 0.5 * 10**-digits + 1e-9
    assert text.partition(".")[0].lstrip("-").isdigit()
    assert not text.startswith("-") or float(text) < 0


def test_signs_shares_and_intervals() -> None:
    assert [signed(value) for value in (0.05, -0.05, 0.0, None)] == ["+0.050", "-0.050", "+0.000", "–"]
    assert [percent(share) for share in (0.846, 1.0, None)] == ["85\u00a0%", "100\u00a0%", "–"]  # never on two lines
    assert interval_text((0.4, 0.55)) == "0.400 – 0.550"
    assert interval_text(None) == ""
    assert with_interval(0.516, (-0.01, 0.548)) == "0.516 -0.01–0.55"
    assert with_interval(0.516, None) == "0.516"
    assert with_interval(None, None) == "–"


def test_every_metric_has_one_title() -> None:
    assert {*METRIC_TITLES, *FURTHER_TITLES} == set(METRICS)
    assert not METRIC_TITLES.keys() & FURTHER_TITLES.keys()


@given(st.text())
def test_visible_text_is_one_line_without_control_characters(text: str) -> None:
    shown = visible(text)
    assert not [char for char in shown if ord(char) < 32 or 127 <= ord(char) < 160]
    assert visible("여행 #a") == "여행 #a"
    assert visible("a\nb\x1b[2J") == r"a\nb\x1b[2J"


def test_a_list_shows_its_first_items() -> None:
    assert listed(iter([3, 1, 2]), 3) == "3, 1, 2"
    assert listed(["b", "a", "c"], 2) == "b, a, ..."
    assert listed([], 2) == ""


@given(st.text())
def test_a_slug_is_a_file_name(text: str) -> None:
    name = slug(text)
    assert name
    assert not set(name) & set('/\\:*?"<>|\0 ')
    assert name not in (".", "..")
    assert slug("Bingsu/clip-vit") == "Bingsu-clip-vit"


@given(st.lists(st.tuples(st.text(st.characters(exclude_categories=["Cs"])), st.floats(allow_nan=False))))
def test_any_text_and_any_float_survive_the_csv(rows: list[tuple[str, float]]) -> None:
    data = to_csv(("name", "value"), rows).decode()
    back = list(csv.reader(io.StringIO(data, newline="")))[1:]
    finite = [value if np.isfinite(value) else None for _, value in rows]
    assert [name for name, _ in back] == [name for name, _ in rows]
    assert [float(value) if value else None for _, value in back] == finite


def test_json_takes_arrays_and_paths_and_has_null_for_what_is_not_finite() -> None:
    value = {"loss": np.float32(0.5), "bad": [float("nan"), np.inf], "counts": np.arange(2), 3: Path("a/b"), "ok": True}
    assert json.loads(to_json(value)) == {"loss": 0.5, "bad": [None, None], "counts": [0, 1], "3": "a/b", "ok": True}
    assert "바다" in to_json("바다")


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_json_keeps_every_digit(value: float) -> None:
    back = json.loads(to_json(value))
    assert back == value
    assert math.copysign(1, back) == math.copysign(1, value)
