"""How figures, metrics and splits are called and written, on screen and on paper alike."""

import re
from collections.abc import Sequence

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
