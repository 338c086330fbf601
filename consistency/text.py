"""How figures, metrics and splits are called and written, on screen and on paper alike."""

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


def number(value: float | None, digits: int = 3) -> str:
    """`.516`, `1.043`, `-.05`; a dash where it is undefined."""
    if value is None:
        return "–"
    text = f"{round(value, digits) + 0.0:.{digits}f}"  # + 0.0: no minus before a zero
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def interval_text(interval: Sequence[float] | None, digits: int = 3, *, dash: str = " – ") -> str:
    return "" if interval is None else f"{number(interval[0], digits)}{dash}{number(interval[1], digits)}"


def with_interval(value: float | None, interval: Sequence[float] | None, digits: int = 3) -> str:
    if value is None or interval is None:
        return number(value, digits)
    return f"{number(value, digits)} {interval_text(interval, 2, dash='–')}"


def signed(value: float | None) -> str:
    text = number(value)
    return text if value is None or text.startswith("-") else f"+{text}"


def visible(value: object) -> str:
    """As text in which control characters are spelled out: data must not break a line, or steer the terminal."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", lambda found: repr(found[0])[1:-1], str(value))


def to_json(value: object) -> str:
    return json.dumps(_plain(value), ensure_ascii=False, indent=2, allow_nan=False) + "\n"


def to_csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    """UTF-8 with LF; floats in full, quotes wherever a reader could stumble (the csv module leaves a lone CR
    bare).
    """

    def cell(value: object) -> str:
        if isinstance(value, float):
            return repr(float(value)) if math.isfinite(value) else ""
        text = str(value)
        return '"' + text.replace('"', '""') + '"' if re.search('[,"\r\n]', text) else text

    lines = [",".join(columns), *(",".join(map(cell, row)) for row in rows)]
    return ("\n".join(lines) + "\n").encode()


def slug(name: str) -> str:
    """Fit for a file name everywhere."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "unnamed"


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
