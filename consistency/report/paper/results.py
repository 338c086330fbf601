"""Figures of systems: their metrics with paired differences, confusion matrices, reliability diagrams."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from consistency.evaluation.reliability import reliability
from consistency.evaluation.results import Result
from consistency.evaluation.systems import CONTROLS
from consistency.report.paper.style import BLUE, COLOURS, INK, MARKERS, MUTED, VERMILION, WIDTHS, grid, new_figure
from consistency.report.standing import Comparison
from consistency.scale import CLASSES, confusion
from consistency.text import LOWER_IS_BETTER, METRIC_TITLES

SHADES = LinearSegmentedColormap.from_list("shades", ["#FFFFFF", "#9CC7E3", BLUE])
DARK = 0.93  # share of SHADES from which white text is the more legible one
LINE = 0.17  # inches for a system
SHOWN = 3  # panels beside each other on a page


def forest(comparison: Comparison, names: dict[Result, str], main: Result, metric: str, width: float) -> Figure:
    """Draw a metric of every system with its interval, and its paired difference from `main`.

    Parameters
    ----------
    comparison : Comparison
        The systems of one protocol and split.
    names : dict of Result to str
        What to call each of them; those that are drawn, the best first.
    main : Result
        The system that the others are compared with.
    metric : str
        Key of METRIC_TITLES.
    width : float
        In inches; below that of a page the two panels are one above the other.
    """
    results, title = list(names), METRIC_TITLES[metric][:1].upper() + METRIC_TITLES[metric][1:]
    tall, aside = 0.55 + LINE * len(results), width >= WIDTHS["page"]
    figure = new_figure(width, tall if aside else 2 * tall)
    figures, differences = figure.subplots(*((1, 2) if aside else (2, 1)), sharey=True)
    for y, result in enumerate(results):
        marker, colour = _mark(result, main)
        value, ends = result.metrics[metric], result.ci95.get(metric)
        _whisker(figures, value, ends, y, marker, colour)
        if result is main:
            differences.axhline(y, color=MUTED, linewidth=0.5, linestyle=":")
        elif (found := comparison.difference(result, main, metric)) is not None:
            _whisker(differences, *found, y, marker, colour)
    differences.axvline(0, color=INK, linewidth=0.6)
    arrow = " (lower is better)" if metric in LOWER_IS_BETTER else ""
    figures.set_xlabel(f"{title}, 95 % interval{arrow}")
    differences.set_xlabel(f"Difference from {names[main]}\n(paired, 95 % interval)")
    for axis in (figures, differences):
        axis.set_yticks(range(len(results)), list(names.values()))
        axis.set_ylim(len(results) - 0.4, -0.6)
        axis.xaxis.set_major_locator(MaxNLocator(5))
        axis.tick_params(axis="y", length=0)
        grid(axis, "x")
    if aside:
        differences.tick_params(labelleft=False)
    return figure


def confusions(results: dict[Result, str], width: float) -> Figure:
    """Draw confusion matrices as shares of their rows, one beside the other; a column holds the first alone."""
    some = list(results.items())[: _panels(width, len(results))]
    figure = new_figure(width, 0.3 + min(2.9, width / len(some)))
    for place, (axis, (result, name)) in enumerate(
        zip(figure.subplots(1, len(some), squeeze=False)[0], some, strict=True)
    ):
        p = result.predictions
        counts = confusion(p.scores - 1, p.predicted - 1)
        total = counts.sum(axis=1, keepdims=True)
        share = np.divide(counts, total, out=np.full(counts.shape, np.nan), where=total > 0)
        axis.imshow(np.nan_to_num(share), cmap=SHADES, vmin=0, vmax=1)
        for true, guessed in np.ndindex(*counts.shape):
            known = total[true, 0] > 0
            axis.text(
                guessed,
                true,
                f"{100 * share[true, guessed]:.0f}" if known else "–",
                ha="center",
                va="center",
                color="white" if known and share[true, guessed] > DARK else INK,
            )
        scores = range(1, CLASSES + 1)
        axis.set_xticks(range(CLASSES), [str(score) for score in scores])
        labels = [f"{score}\n(n={count:,})" for score, count in zip(scores, total[:, 0], strict=True)]
        axis.set_yticks(range(CLASSES), labels)
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
        axis.set_xlabel("Predicted score")
        if place == 0:
            axis.set_ylabel("Label (row shares in %)")
        axis.set_title(name)
    return figure


def reliabilities(results: dict[Result, str], width: float) -> Figure:
    """Draw reliability diagrams of results with probabilities; a column holds the first alone."""
    some = list(results.items())[: _panels(width, len(results))]
    side = min(2.6, width / len(some))
    figure = new_figure(width, side + 0.35)
    for place, (axis, (result, name)) in enumerate(
        zip(figure.subplots(1, len(some), squeeze=False)[0], some, strict=True)
    ):
        p = result.predictions
        assert p.probabilities is not None
        axis.plot([0, 1], [0, 1], color=MUTED, linewidth=0.7, linestyle=(0, (4, 3)))
        for each in reliability(p.scores, p.probabilities, p.clusters):
            if each.interval is not None:
                axis.vlines(each.confidence, *each.interval, color=COLOURS[place], linewidth=1.1)
            axis.plot(each.confidence, each.correct, MARKERS[place], color=COLOURS[place])
        axis.set(xlim=(0, 1.02), ylim=(0, 1.02), aspect="equal", xlabel="Confidence")
        if place == 0:
            axis.set_ylabel("Share correct, 95 % interval")
        ece = result.metrics["ece"]
        axis.set_title(name)
        if ece is not None:
            axis.text(0.97, 0.05, f"ECE = {ece:.3f}", transform=axis.transAxes, ha="right", fontsize=7)
        grid(axis, "both")
    return figure


def _panels(width: float, most: int) -> int:
    return min(SHOWN, most) if width >= WIDTHS["page"] else 1


def _mark(result: Result, main: Result) -> tuple[str, str]:
    """Shape and colour: the main system, other learned systems, and controls."""
    if result is main:
        return MARKERS[0], BLUE
    return (MARKERS[1], MUTED) if result.predictions.system in CONTROLS else (MARKERS[2], VERMILION)


def _whisker(
    axis: Axes, value: float | None, ends: tuple[float, float] | None, y: int, marker: str, colour: str
) -> None:
    if ends is not None:
        axis.hlines(y, *ends, color=colour, linewidth=1.1)
    if value is not None:
        axis.plot(value, y, marker, color=colour, clip_on=False)
