"""Draws maps over an image: which parts of it an answer depends on."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from consistency.report.plots import COLOURS, DPI, INK, MUTED, png

BLUE, ORANGE = COLOURS[:2]
SHADE = LinearSegmentedColormap.from_list("shade", [(BLUE, 0.9), (BLUE, 0.0), (ORANGE, 0.0), (ORANGE, 0.9)])
FADED = 0.35  # of the image's brightness range that is left below a map


@dataclass(frozen=True, eq=False)
class Panel:
    """A map to draw.

    Attributes
    ----------
    title : str
        In ASCII; the first line is bold.
    grid : (rows, columns) float64
        Positive cells are orange, negative ones blue; the largest is opaque.
    """

    title: str
    grid: npt.NDArray[np.float64]


def maps_png(image: npt.NDArray[np.uint8], title: str, panels: Sequence[Panel], footer: str) -> bytes:
    """Draw an image and beside it each map over the faded image; equal arguments give equal bytes.

    Parameters
    ----------
    image : (h, w, 3) uint8
        The image as the model sees it.
    title : str
        Title of the image, as for `Panel`.
    panels : sequence of Panel
        The maps.
    footer : str
        A line below them.

    Returns
    -------
    bytes
        PNG.
    """
    columns = 1 + len(panels)
    height = 3.0 * image.shape[0] / image.shape[1]
    figure = Figure(figsize=(3.0 * columns, height + 1.3), dpi=DPI, layout=ConstrainedLayoutEngine(w_pad=0.08))
    axes = figure.subplots(1, columns, squeeze=False)[0]
    axes[0].imshow(image)
    _head(axes[0], title)
    grey = image.mean(axis=2) / 255
    for axis, panel in zip(axes[1:], panels, strict=True):
        axis.imshow(1 - FADED * (1 - grey), cmap="gray", vmin=0, vmax=1)
        most = float(np.abs(panel.grid).max()) or 1.0
        sides = (-0.5, image.shape[1] - 0.5, image.shape[0] - 0.5, -0.5)
        axis.imshow(panel.grid / most, cmap=SHADE, vmin=-1, vmax=1, extent=sides, interpolation="nearest")
        _head(axis, panel.title)
    lines = math.ceil(len(footer) / (42 * columns))
    figure.supxlabel(_wrapped(footer, lines), color=MUTED, fontsize=8)
    return png(figure)


def _head(axis: Axes, title: str) -> None:
    head, _, about = title.partition("\n")
    axis.set_title(f"{head}\n\n", color=INK, fontsize=10, fontweight="bold", loc="left")
    axis.text(0, 1.02, about, transform=axis.transAxes, color=MUTED, fontsize=8, va="bottom")
    axis.set_axis_off()


def _wrapped(text: str, lines: int) -> str:
    """The text on about so many lines of equal length."""
    words, width, wrapped = text.split(), len(text) / lines, [""]
    for word in words:
        if len(wrapped[-1]) + len(word) > width and wrapped[-1] and len(wrapped) < lines:
            wrapped.append("")
        wrapped[-1] += f"{' ' if wrapped[-1] else ''}{word}"
    return "\n".join(wrapped)
