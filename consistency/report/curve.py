"""The figure of a learning curve."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import NullLocator

from consistency.evaluation.learning_curve import LearningCurve
from consistency.report.plots import COLOURS, DPI, INK, MUTED, frame, png, say
from consistency.text import METRIC_TITLES

SHOWN = ("qwk", "macro_f1", "accuracy", "mae")


def learning_curve_png(curve: LearningCurve) -> bytes:
    """Draw QWK, macro-F1, accuracy and MAE against the number of labelled images.

    Points are single draws, and the line joins their means. The dashed line is the fitted law, up to twice as many
    images; the bar at its end is its error in predicting the largest size from the smaller ones.
    """
    figure = Figure(figsize=(10, 7), dpi=DPI, layout=ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.15))
    for axis, metric in zip(figure.subplots(2, 2).ravel(), SHOWN, strict=True):
        _draw_metric(axis, curve, metric)
    return png(figure)


def _draw_metric(axis: Axes, curve: LearningCurve, metric: str) -> None:
    frame(axis, METRIC_TITLES[metric])
    ahead = curve.extrapolation(metric)
    if ahead is None:
        say(axis, "not defined for all draws")
        return
    sizes = curve.sizes
    means = []
    for size in sizes:
        values = curve.values(metric, size) or []
        axis.scatter([size] * len(values), values, s=14, color=COLOURS[0], alpha=0.45, linewidth=0)
        means.append(float(np.mean(values)))
    axis.plot(sizes, means, color=COLOURS[0], linewidth=2, marker="o", markersize=4, label="mean over draws")
    along = np.geomspace(sizes[0], ahead.images, 50)
    axis.plot(along, [ahead.law.at(n) for n in along], color=COLOURS[1], linewidth=1.2, linestyle=(0, (4, 4)))
    axis.errorbar(
        ahead.images,
        ahead.value,
        yerr=ahead.error,
        color=COLOURS[1],
        marker="o",
        markersize=4,
        capsize=4,
        label=f"expected: {ahead.value:.3f}, error {ahead.error:.3f}",
    )
    axis.set_xscale("log")
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xticks([*sizes, ahead.images], [str(n) for n in (*sizes, ahead.images)])
    axis.set_xlabel("labelled images", color=MUTED, fontsize=9)
    axis.legend(frameon=False, fontsize=9, labelcolor=INK)
