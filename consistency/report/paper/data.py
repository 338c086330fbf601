"""Figures of the data behind a result: similarities by label, errors by hashtag, a learning curve, agreement."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter, NullLocator

from consistency.evaluation.agreement import PairAgreement
from consistency.evaluation.learning_curve import LearningCurve
from consistency.evaluation.results import Predictions
from consistency.report.hashtags import LIMITS, HashtagError
from consistency.report.paper.results import DARK, SHADES
from consistency.report.paper.style import (
    BLUE,
    COLOURS,
    INK,
    MARKERS,
    MUTED,
    ORANGE,
    VERMILION,
    WIDTHS,
    Fonts,
    grid,
    new_figure,
)
from consistency.scale import SCORES
from consistency.text import METRIC_TITLES

CURVES = ("qwk", "macro_f1", "accuracy", "mae")


def similarities(p: Predictions, thresholds: Mapping[str, Sequence[float]], width: float) -> Figure:
    """Draw the cosine similarities of each label, and below them the thresholds of each method.

    Parameters
    ----------
    p : Predictions
        Whose values are similarities.
    thresholds : mapping of str to four floats
        By system.
    width : float
        In inches.
    """
    figure = new_figure(width, 2.1 + 0.16 * len(thresholds))
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[1.7, 0.15 + 0.16 * len(thresholds)])
    jitter = np.random.default_rng(0).uniform(-0.28, 0.28, len(p))
    above.scatter(p.values, p.scores + jitter, s=3, color=BLUE, alpha=0.45, linewidth=0, rasterized=len(p) > 5000)
    groups = [p.values[p.scores == score] for score in SCORES]
    above.boxplot(
        groups,
        positions=SCORES.tolist(),
        orientation="horizontal",
        widths=0.62,
        showfliers=False,
        manage_ticks=False,
        boxprops={"linewidth": 0.8},
        medianprops={"color": VERMILION, "linewidth": 1.4},
        whiskerprops={"linewidth": 0.8},
        capprops={"linewidth": 0.8},
    )
    above.set_yticks(
        SCORES.tolist(), [f"{score} (n={len(group):,})" for score, group in zip(SCORES, groups, strict=True)]
    )
    above.set_ylim(0.4, 5.6)
    above.set_ylabel("Label")
    for y, cuts in enumerate(thresholds.values()):
        below.plot(cuts, [y] * len(cuts), MARKERS[y % len(MARKERS)], color=COLOURS[y % len(COLOURS)])
        for cut in cuts:
            above.axvline(cut, color=COLOURS[y % len(COLOURS)], linewidth=0.5, alpha=0.6, zorder=0)
    below.set_yticks(range(len(thresholds)), [system.removeprefix("similarity-") for system in thresholds])
    below.set_ylim(len(thresholds) - 0.4, -0.6)
    below.set_ylabel("Cuts")
    below.set_xlabel("Cosine similarity of image and hashtag")
    for axis in (above, below):
        axis.tick_params(axis="y", length=0)
        grid(axis, "x")
    return figure


def funnel(p: Predictions, errors: Sequence[HashtagError], fonts: Fonts, width: float) -> Figure:
    """Draw the mean error of each hashtag against its number of rows, between limits that chance alone explains.

    A hashtag beyond the limits is named; by its number where a glyph of it is missing.
    """
    error = (p.predicted - p.scores).astype(np.float64)
    mean, deviation = float(error.mean()), float(error.std(ddof=1)) if len(p) > 1 else 0.0
    figure = new_figure(width, 2.4 if width < WIDTHS["page"] else 2.8)
    axis = figure.subplots()
    sizes = np.array([each.n for each in errors], dtype=np.float64)
    values = np.array([each.error for each in errors])
    spread = np.random.default_rng(0).uniform(-0.04, 0.04, len(errors))
    along = np.geomspace(0.9 * sizes.min(), max(sizes.max() * 1.25, 4), 200)
    for (level, z), dash in zip(LIMITS.items(), ((0, (4, 3)), "-"), strict=True):
        for sign in (-1, 1):
            axis.plot(
                along,
                mean + sign * z * deviation / np.sqrt(along),
                color=MUTED,
                linewidth=0.8,
                linestyle=dash,
                label=f"{level} limits" if sign > 0 else None,
            )
    axis.axhline(mean, color=INK, linewidth=0.6)
    outside = np.array([bool(each.number) for each in errors])
    axis.scatter(
        (sizes * (1 + spread))[~outside], values[~outside], s=7, color=BLUE, alpha=0.5, linewidth=0, label="hashtag"
    )
    axis.scatter(sizes[outside], values[outside], s=18, color=VERMILION, marker=MARKERS[1], label="beyond 99.8 %")
    for each in errors:
        if each.number:
            name = each.hashtag if fonts.has(each.hashtag) and each.hashtag.isprintable() else f"({each.number})"
            axis.annotate(
                name[:16].replace("$", r"\$"),
                (each.n, each.error),
                xytext=(6, 4 if each.number % 2 else -4),
                textcoords="offset points",
                va="center",
                fontsize=7,
            )
    ends = np.concatenate([values, [-1.0, 1.0]])
    axis.set_xscale("log")
    axis.set_xlim(along[0], along[-1])
    axis.set_ylim(ends.min() - 0.35, ends.max() + 0.35)
    ticks = [
        tick for tick in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000) if along[0] <= tick <= along[-1]
    ]
    axis.set_xticks(ticks, [str(tick) for tick in ticks])
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xlabel("Rows of the hashtag")
    axis.set_ylabel("Mean of predicted score − label")
    grid(axis, "y")
    figure.legend(loc="outside upper center", ncols=2 if width < WIDTHS["page"] else 4)
    return figure


def learning_curves(curve: LearningCurve, width: float) -> Figure:
    """Draw metrics against the number of training images: every training, their mean, and its standard deviation."""
    aside = width >= WIDTHS["page"]
    shown = [metric for metric in CURVES if all(curve.spread(metric, size) for size in curve.sizes)]
    shown = shown if aside else shown[:2]
    figure = new_figure(width, 2.0 if aside else 1.6 * len(shown))
    panels = figure.subplots(*((1, len(shown)) if aside else (len(shown), 1)), squeeze=False, sharex=True).ravel()
    for axis, metric in zip(panels, shown, strict=True):
        for size in curve.sizes:
            values = curve.values(metric, size) or []
            axis.plot([size] * len(values), values, ".", color=ORANGE, markersize=3)
        spreads = [spread for size in curve.sizes if (spread := curve.spread(metric, size)) is not None]
        axis.errorbar(
            curve.sizes,
            [spread.mean for spread in spreads],
            yerr=[spread.deviation for spread in spreads],
            color=BLUE,
            marker=MARKERS[0],
            capsize=2,
            linewidth=1.1,
        )
        axis.set_xscale("log")
        axis.set_xticks(curve.sizes, [str(size) for size in curve.sizes])
        axis.xaxis.set_minor_locator(NullLocator())
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.yaxis.set_major_locator(MaxNLocator(5))
        title = METRIC_TITLES[metric]
        axis.set_title(title[:1].upper() + title[1:] + (" (lower is better)" if metric == "mae" else ""))
        axis.margins(y=0.12)
        grid(axis, "y")
    figure.supxlabel(f"Training images of {curve.system}\n(bars: one standard deviation over draws)", fontsize=7.5)
    return figure


def agreements(names: Sequence[str], pairs: Sequence[PairAgreement], width: float) -> Figure:
    """Draw the quadratic kappas of every two raters, with their intervals and numbers of rows.

    Parameters
    ----------
    names : sequence of str
        The raters and systems, in order.
    pairs : sequence of PairAgreement
        Those of them that were compared.
    width : float
        In inches.
    """
    k, key = len(names), "kappa_quadratic"
    known = {frozenset((pair.first, pair.second)): pair for pair in pairs}
    figure = new_figure(width, min(width, 0.9 + 0.62 * k) if width < WIDTHS["page"] else 0.9 + 0.5 * k)
    axis = figure.subplots()
    values = np.full((k, k), np.nan)
    for row, column in np.ndindex(k, k):
        pair = known.get(frozenset((names[row], names[column])))
        if row == column or pair is None or (value := pair.figures[key]) is None:
            continue
        values[row, column] = value
        ends = pair.ci95[key]
        interval = "" if ends is None else f"\n[{ends[0]:.2f}, {ends[1]:.2f}]"
        text, colour = f"{value:.2f}{interval}\nn={pair.n:,}", "white" if value > DARK else INK
        axis.text(column, row, text, ha="center", va="center", fontsize=6.5, color=colour)
    axis.imshow(np.ma.masked_invalid(values), cmap=SHADES, vmin=0, vmax=1, aspect="auto")
    for place in range(k):
        axis.text(place, place, "–", ha="center", va="center", color=MUTED)
    level = k <= 4 and width >= WIDTHS["page"]
    turned: dict[str, Any] = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"}
    axis.set_xticks(range(k), names, **({} if level else turned))
    axis.set_yticks(range(k), names)
    axis.set_xticks(np.arange(k - 1) + 0.5, minor=True)
    axis.set_yticks(np.arange(k - 1) + 0.5, minor=True)
    axis.grid(which="minor", color="white", linewidth=1.5)
    axis.tick_params(which="both", length=0)
    axis.spines[:].set_visible(False)
    axis.set_title("Quadratic kappa, 95 % interval")
    return figure
