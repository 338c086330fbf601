"""The table of results in LaTeX."""

import re
from collections.abc import Mapping, Sequence

from consistency.evaluation.results import Result
from consistency.evaluation.systems import CONTROLS
from consistency.report.standing import Comparison
from consistency.text import LOWER_IS_BETTER, METRIC_TITLES, number

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
}
UNDEFINED = "--"


def escaped(text: str) -> str:
    """`text` as LaTeX typesets it, on one line."""
    return "".join(_SPECIAL.get(character, character) for character in re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", text))


def table_tex(comparison: Comparison, names: Mapping[Result, str], notes: Sequence[str]) -> str:
    r"""Return a `tabular` of every system with its metrics and their 95 % intervals, for `\input`.

    Parameters
    ----------
    comparison : Comparison
        The systems of one protocol and split.
    names : mapping of Result to str
        What to call each of them, in the order of the rows; controls come last.
    notes : sequence of str
        Lines for the comment at the top.

    Returns
    -------
    str
        A metric is bold where its system is better than every other system and control by the paired interval.
    """
    best = {
        metric: standing.leader
        for metric in METRIC_TITLES
        if (standing := comparison.standing(metric)) is not None and standing.certain
    }
    heads = [
        escaped(title[:1].upper() + title[1:]) + (r" $\downarrow$" if metric in LOWER_IS_BETTER else "")
        for metric, title in METRIC_TITLES.items()
    ]
    lines = [*(f"% {' '.join(note.split())}" for note in notes), r"\begin{tabular}{l" + "c" * len(heads) + "r}"]
    lines += [r"\toprule", " & ".join(["System", *heads, "Rows"]) + r" \\", r"\midrule"]
    ordered = sorted(names, key=lambda result: result.predictions.system in CONTROLS)
    for place, result in enumerate(ordered):
        control = result.predictions.system in CONTROLS
        if control and place and ordered[place - 1].predictions.system not in CONTROLS:
            lines.append(r"\midrule")
        cells = [_cell(result, metric, bold=best.get(metric) is result) for metric in METRIC_TITLES]
        rows = f"{len(result.predictions):,}".replace(",", "{,}")
        lines.append(" & ".join([escaped(names[result]), *cells, rows]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _cell(result: Result, metric: str, *, bold: bool) -> str:
    value, ends = result.metrics[metric], result.ci95.get(metric)
    if value is None:
        return UNDEFINED
    text = rf"\textbf{{{number(value)}}}" if bold else number(value)
    return text if ends is None else rf"{text} {{\scriptsize [{number(ends[0])}, {number(ends[1])}]}}"
