"""How values become text: numbers and metric names for people, CSV, JSON and file names for programs."""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

SPLITS = {"test": "test", "cv": "out of fold", "val": "validation", "train": "train"}
METRIC_TITLES = {"accuracy": "accuracy", "macro_f1": "macro-F1", "mae": "MAE", "qwk": "QWK"}
FURTHER_TITLES = {
    "macro_precision": "macro precision",
    "macro_recall": "macro recall",
    "weighted_precision": "weighted precision",
    "weighted_recall": "weighted recall",
    "weighted_f1": "weighted F1",
    "spearman": "Spearman",
    "within_one": "within one",
    "ece": "ECE",
}
LOWER_IS_BETTER = ("mae", "ece")
UNDEFINED = "–"
# What a spreadsheet takes for the beginning of a formula, full-width signs of East Asian keyboards included; a number
# with its sign is none.
_FORMULA = re.compile("(?![+-]?[0-9]*\\.?[0-9]+([eE][+-]?[0-9]+)?\\Z)[=+@\\-\t\r\n\uff1d\uff0b\uff20\uff0d]")
_QUOTED = re.compile('[,"\r\n]')


def number(value: float | None, digits: int = 3) -> str:
    """`0.516`, `1.043`, `-0.050`; a dash where the value is undefined (None)."""
    return UNDEFINED if value is None else f"{round(value, digits) + 0.0:.{digits}f}"  # + 0.0: no minus before a zero


def signed(value: float | None) -> str:
    """The same with its sign, for differences: `+0.050`."""
    text = number(value)
    return text if value is None or text.startswith("-") else f"+{text}"


def percent(share: float | None) -> str:
    """A share of 0..1 as `86 %`, on one line; a dash where it is undefined (None)."""
    return UNDEFINED if share is None else f"{100 * share:.0f}\N{NO-BREAK SPACE}%"


def interval_text(interval: Sequence[float] | None, digits: int = 3, *, dash: str = " – ") -> str:
    """`0.491 – 0.540`; empty where there is no interval."""
    return "" if interval is None else f"{number(interval[0], digits)}{dash}{number(interval[1], digits)}"


def with_interval(value: float | None, interval: Sequence[float] | None, digits: int = 3) -> str:
    """`0.516 0.49–0.54`: a value and its interval in as little room as a table on the screen has."""
    if value is None or interval is None:
        return number(value, digits)
    return f"{number(value, digits)} {interval_text(interval, 2, dash='–')}"


def visible(value: object) -> str:
    """As text with control characters spelled out, so that data cannot break a line or steer the terminal."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", lambda found: repr(found[0])[1:-1], str(value))


def listed(items: Iterable[object], most: int) -> str:
    """The first `most` items, separated by commas; `...` stands for the others."""
    texts = list(map(str, items))
    return ", ".join(texts[:most]) + (", ..." if len(texts) > most else "")


def slug(name: str) -> str:
    """A file name, valid on every system, that resembles `name`."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "unnamed"


def to_csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    """A CSV file: UTF-8, LF line ends, floats in full precision.

    Parameters
    ----------
    columns : sequence of str
        The header.
    rows : iterable of sequences
        Cells in the order of `columns`. A float that is not finite becomes an empty cell.

    Returns
    -------
    bytes
        Cells are quoted wherever a reader could stumble. (Python's csv module leaves a lone CR bare.)
    """
    return csv_lines([columns]) + csv_lines(rows)


def csv_lines(rows: Iterable[Sequence[object]]) -> bytes:
    """Some lines of a CSV file, as `to_csv` writes them."""
    return "".join(",".join(map(csv_cell, row)) + "\n" for row in rows).encode()


def csv_cell(value: object) -> str:
    """A cell of a CSV file, as `to_csv` writes it."""
    if isinstance(value, float):
        return repr(float(value)) if math.isfinite(value) else ""
    text = str(value)
    return '"' + text.replace('"', '""') + '"' if _QUOTED.search(text) else text


def without_formula(text: str) -> str:
    """The text of a cell as a spreadsheet shows it: with an apostrophe before what it would calculate."""
    return f"'{text}" if _FORMULA.match(text) else text


def to_json(value: object) -> str:
    """Indented JSON of mappings, sequences, arrays, NumPy scalars and paths; null for a float that is not finite."""
    return json.dumps(_plain(value), ensure_ascii=False, indent=2, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
