"""Figures of a run as PNG: confusion matrices, reliability diagrams, training curves.

The text in them is English, since most machines lack Korean fonts.
"""

import io
import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator
from PIL import Image

from consistency.evaluation.reliability import reliability
from consistency.evaluation.results import NO_BACKBONE, CountedResult, Predictions, Result
from consistency.evaluation.systems import CONTROLS
from consistency.scale import confusion
from consistency.text import slug

INK, MUTED, GRID = "#1f2933", "#65727e", "#e4e8ec"
COLOURS = ("#2563a8", "#d9730d", "#2e8b57", "#8e4ec6", "#c0392b", "#0f8a96")
SHADES = LinearSegmentedColormap.from_list("shades", ["#f7f9fb", "#bcd3ea", "#5b93c7", "#1f4e86"])
DPI = 130
SQUARE = (0.13, 0.11, 0.84, 0.84 * 4.4 / 4.7)  # of a figure of 4.4 by 4.7 inches, under two lines of title


def result_figures(results: Sequence[Result]) -> dict[str, bytes]:
    """The figures of a run folder.

    Returns
    -------
    dict
        PNG by file name. `confusion_matrix.png` shows all results but those of controls; if there are several, each has
        a file of its own too. `reliability.png` shows those with probabilities, if there are any.
    """
    learned = [result for result in results if result.predictions.system not in CONTROLS] or results
    matrices = {f"confusion_matrix-{_file_name(result)}.png": result_png(result) for result in learned}
    figures = dict(matrices) if len(matrices) > 1 else {}
    figures["confusion_matrix.png"] = tiles_png(list(matrices.values()))
    diagrams = [reliability_png(result) for result in learned if result.predictions.probabilities is not None]
    if diagrams:
        figures["reliability.png"] = tiles_png(diagrams)
    return figures


def counted_figures(results: Sequence[CountedResult]) -> dict[str, bytes]:
    """The figures of `result_figures` for results whose rows are not in memory."""
    learned = [result for result in results if result.system not in CONTROLS]
    titles = {f"confusion_matrix-{slug(of.system)}.png": _named(of, int(of.counts.sum())) for of in learned}
    drawn = [confusion_matrix_png(of.counts, title) for of, title in zip(learned, titles.values(), strict=True)]
    figures = dict(zip(titles, drawn, strict=True)) if len(drawn) > 1 else {}
    return {**figures, "confusion_matrix.png": tiles_png(drawn)}


def confusion_matrix_png(matrix: npt.NDArray[np.int64], title: str) -> bytes:
    """Draw a confusion matrix.

    Parameters
    ----------
    matrix : (5, 5) int64
        Counts: labels in rows, predicted scores in columns. The share of its row is beside each count.
    title : str
        The first line is the heading; the rest is small text below it.
    """
    figure = Figure(figsize=(4.4, 4.7), dpi=DPI)
    axis = figure.add_axes(SQUARE)
    _draw_confusion(axis, matrix, title)
    return png(figure)


def tiles_png(figures: Sequence[bytes]) -> bytes:
    """PNG figures of one size on one sheet, four to a line."""
    tiles = [Image.open(io.BytesIO(figure)).convert("RGB") for figure in figures]
    columns = min(4, len(tiles))
    width, height = tiles[0].size
    sheet = Image.new("RGB", (columns * width, math.ceil(len(tiles) / columns) * height), "white")
    for place, tile in enumerate(tiles):
        sheet.paste(tile, (place % columns * width, place // columns * height))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def result_png(result: Result) -> bytes:
    """The confusion matrix of a result, with system, backbone, protocol and split in its title."""
    p = result.predictions
    return confusion_matrix_png(confusion(p.scores - 1, p.predicted - 1), _title(result))


def reliability_png(result: Result) -> bytes:
    """The reliability diagram of a result: for each bin of confidence, the share of correct scores and its interval.

    Raises
    ------
    ValueError
        If the result has no probabilities.
    """
    p = result.predictions
    if p.probabilities is None:
        raise ValueError(f"{p.system} has no probabilities")
    figure = Figure(figsize=(4.4, 4.7), dpi=DPI)
    axis = figure.add_axes(SQUARE)
    axis.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 4)))
    for b in reliability(p.scores, p.probabilities, p.clusters):
        if b.interval is not None:
            axis.vlines(b.confidence, *b.interval, color=COLOURS[0], linewidth=1.2, clip_on=False)
            axis.hlines(b.interval, b.confidence - 0.01, b.confidence + 0.01, color=COLOURS[0], linewidth=1.2)
        size = 20 + 300 * b.share
        axis.scatter(b.confidence, b.correct, s=size, color=COLOURS[0], alpha=0.75, linewidth=0, clip_on=False)
    axis.set(xlim=(0, 1), ylim=(0, 1))
    frame(axis, "")
    axis.set_xlabel("confidence (most probable score)", color=MUTED, fontsize=10)
    axis.set_ylabel("share correct, 95 % interval", color=MUTED, fontsize=10)
    ece = result.metrics["ece"]
    _head(axis, f"{_title(result)}, ECE = {ece:.3f}" if ece is not None else _title(result))
    return png(figure)


def training_png(
    history: Sequence[Mapping[str, float | int | None]],
    *,
    final: Mapping[str, float | None] | None = None,
    final_of: str = "test rows",
) -> bytes:
    """Draw loss, accuracy and F1 over the epochs, and the final metrics as bars.

    Parameters
    ----------
    history : sequence of mappings
        One for each epoch, with `epoch` and any of train_loss, val_loss, train_accuracy, accuracy, macro_f1 and
        weighted_f1. If they have a `fold`, each fold is a thin line of its own.
    final : mapping, optional
        The metrics to show as bars; by default those of the last epoch.
    final_of : str
        The rows on which `final` was measured.
    """
    figure = Figure(figsize=(10, 7), dpi=DPI, layout=ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.15))
    loss, accuracy, f1, bars = figure.subplots(2, 2).ravel()
    _draw_curves(loss, history, {"train_loss": "train", "val_loss": "held out"}, "Loss")
    _draw_curves(accuracy, history, {"train_accuracy": "train", "accuracy": "held out"}, "Accuracy")
    _draw_curves(f1, history, {"macro_f1": "macro-F1", "weighted_f1": "weighted-F1"}, "F1, held out")
    for axis in (accuracy, f1):
        axis.set_ylim(0, 1)
    if final is None and history:
        final = history[-1]
    _draw_final(bars, final or {}, final_of)
    return png(figure)


def _draw_confusion(axis: Axes, matrix: npt.NDArray[np.int64], title: str) -> None:
    total = matrix.sum(axis=1, keepdims=True)
    share = np.divide(matrix, total, out=np.zeros(matrix.shape), where=total > 0)
    axis.imshow(share, cmap=SHADES, vmin=0, vmax=1)
    for true, guessed in np.ndindex(matrix.shape):
        dark = share[true, guessed] > 0.55
        axis.text(
            guessed,
            true,
            f"{matrix[true, guessed]:,}",
            ha="center",
            va="bottom",
            color="white" if dark else INK,
            fontsize=11,
            fontweight="bold" if true == guessed else "normal",
        )
        axis.text(
            guessed,
            true + 0.08,
            f"{share[true, guessed]:.0%}" if total[true, 0] else "-",
            ha="center",
            va="top",
            color="#e8f0f8" if dark else MUTED,
            fontsize=8,
        )
    size = len(matrix)
    axis.set_xticks(range(size), [str(score) for score in range(1, size + 1)])
    axis.set_yticks(range(size), [f"{score}" for score in range(1, size + 1)])
    axis.set_xticks(np.arange(size - 1) + 0.5, minor=True)
    axis.set_yticks(np.arange(size - 1) + 0.5, minor=True)
    axis.grid(which="minor", color="white", linewidth=2)
    axis.tick_params(which="both", length=0, colors=INK, labelsize=10)
    axis.spines[:].set_visible(False)
    axis.set_xlabel("predicted score", color=MUTED, fontsize=10)
    axis.set_ylabel("label (row: count, share)", color=MUTED, fontsize=10)
    _head(axis, title)


def _file_name(result: Result) -> str:
    p = result.predictions
    return slug(p.system if p.split == "test" else f"{p.system}-{p.split}")


def _title(result: Result) -> str:
    return _named(result.predictions, len(result.predictions))


def _named(p: Predictions | CountedResult, n: int) -> str:
    about = [name for name in (p.backbone, p.protocol, p.split) if name not in (NO_BACKBONE, "test")]
    return f"{p.system}\n{', '.join([*about, f'n = {n:,}'])}"


def _head(axis: Axes, title: str) -> None:
    """Set the first line as the heading and the rest as small text below it."""
    head, _, about = _ascii(title).partition("\n")
    axis.set_title(f"{head}\n", color=INK, fontsize=12, fontweight="bold", loc="left")
    axis.text(0, 1.03, about, transform=axis.transAxes, color=MUTED, fontsize=9, va="bottom")


def _draw_curves(
    axis: Axes, history: Sequence[Mapping[str, float | int | None]], names: Mapping[str, str], title: str
) -> None:
    folds = list(dict.fromkeys(entry.get("fold") for entry in history))
    numbered = [fold for fold in folds if fold is not None]
    drawn = 0
    for (key, label), colour in zip(names.items(), COLOURS, strict=False):
        for fold in folds:
            points = [
                (entry["epoch"], entry[key])
                for entry in history
                if entry.get("fold") == fold and entry.get(key) is not None
            ]
            if not points:
                continue
            alone = fold is None
            x, y = np.array(points, dtype=np.float64).T
            axis.plot(
                x,
                y,
                color=colour,
                linewidth=2 if alone else 1,
                alpha=1 if alone else 0.45,
                marker="o",
                markersize=(3.5 if alone else 2) if len(x) <= 30 else 0,
                label=label if alone else f"{label} ({len(numbered)} folds)" if fold == numbered[0] else None,
            )
            drawn += 1
    frame(axis, title)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlabel("epoch", color=MUTED, fontsize=9)
    if drawn:
        axis.legend(frameon=False, fontsize=9, labelcolor=INK)
    else:
        say(axis, "not recorded")


def _draw_final(axis: Axes, final: Mapping[str, float | int | None], final_of: str) -> None:
    titles = {"accuracy": "accuracy", "macro_f1": "macro-F1", "weighted_f1": "weighted-F1", "qwk": "QWK"}
    shown = {title: float(value) for key, title in titles.items() if (value := final.get(key)) is not None}
    frame(axis, f"Final metrics, {final_of}")
    axis.grid(visible=False)
    if not shown:
        say(axis, "not recorded")
        return
    bars = axis.bar(list(shown), list(shown.values()), color=COLOURS[0], width=0.55)
    axis.bar_label(bars, fmt="%.3f", padding=3, color=INK, fontsize=10)
    axis.set_ylim(min(0, *shown.values()), 1)
    axis.set_xlim(-0.6, max(len(shown), 3) - 0.4)  # a single bar keeps its width


def frame(axis: Axes, title: str) -> None:
    """Set the title and the look that all diagrams share."""
    axis.set_title(title, loc="left", color=INK, fontsize=12, fontweight="bold")
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color(GRID)
    axis.tick_params(colors=MUTED, labelsize=9, length=0)
    axis.grid(axis="y", color=GRID, linewidth=0.8)
    axis.set_axisbelow(True)


def say(axis: Axes, text: str) -> None:
    """Write a text where there is nothing to draw."""
    axis.text(0.5, 0.5, text, transform=axis.transAxes, ha="center", color=MUTED)


def _ascii(text: str) -> str:
    """ASCII text: a backbone's folder may have any name, and a missing glyph would be a box and a warning."""
    return text.encode("ascii", "replace").decode()


def png(figure: Figure) -> bytes:
    """The figure as PNG; equal figures are equal bytes."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer, pil_kwargs={"optimize": False}, metadata={"Software": None})
    return buffer.getvalue()
