"""The look of figures for a paper, and how they become SVG and PDF files of fixed bytes."""

import io
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.layout_engine import ConstrainedLayoutEngine

WIDTHS: Mapping[str, float] = {"column": 3.3, "page": 6.9}  # inches
# Okabe & Ito, Color Universal Design, 2008: distinct for all common kinds of colour vision. Shapes repeat the meaning.
BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
MARKERS = ("o", "s", "^", "D", "v", "P")
INK, MUTED, GRID = "#000000", "#4D4D4D", "#D9D9D9"
LATIN = "DejaVu Sans"  # comes with matplotlib
# Files of TrueType fonts with Hangul. Others (Noto CJK) hold outlines that a PDF cannot embed as Type 42.
KOREAN = ("nanumgothic", "nanumbarungothic", "malgun", "applegothic", "undotum", "baekmuk", "gulim")
RC: Mapping[str, Any] = {
    "font.size": 7.5,
    "axes.titlesize": 8,
    "axes.titlelocation": "left",
    "axes.labelsize": 7.5,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": MUTED,
    "axes.unicode_minus": True,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "lines.linewidth": 1.1,
    "lines.markersize": 4,
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "koclip-consistency",
}


@dataclass(frozen=True)
class Fonts:
    """The fonts of the figures, in the order in which a glyph is looked for.

    Attributes
    ----------
    families : tuple of str
        Names of the families.
    hangul : bool
        Whether one of them has Hangul.
    """

    families: tuple[str, ...]
    hangul: bool

    def has(self, text: str) -> bool:
        """Whether every character of `text` has a glyph."""
        known = [_characters(family) for family in self.families]
        return all(any(ord(character) in of_family for of_family in known) for character in text)


@cache
def find_fonts() -> Fonts:
    """Find the fonts on this machine; without a Korean one, only Latin text can be drawn.

    The files are searched for: matplotlib's own list does not have fonts that were installed after it was made.
    """
    files = {Path(path).stem.lower(): path for path in font_manager.findSystemFonts(fontext="ttf")}
    for stem in KOREAN:
        path = files.get(stem)
        if path is not None and path.lower().endswith(".ttf") and ord("가") in (font := FT2Font(path)).get_charmap():
            font_manager.fontManager.addfont(path)
            return Fonts((LATIN, font.family_name), hangul=True)
    return Fonts((LATIN,), hangul=False)


@contextmanager
def style(fonts: Fonts) -> Iterator[None]:
    """Draw figures in this look inside the block."""
    defaults = {key: value for key, value in matplotlib.rcParamsDefault.items() if not key.startswith("backend")}
    look: dict[Any, Any] = {**defaults, **RC, "font.family": list(fonts.families)}
    with matplotlib.rc_context(look):
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of a width and a height in inches, whose parts do not overlap."""
    return Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.05, h_pad=0.04))


def grid(axis: Axes, along: str) -> None:
    """Draw faint lines at the ticks of the axis `along`, x or y."""
    axis.grid(axis=along, color=GRID, linewidth=0.5)  # type: ignore[arg-type]
    axis.set_axisbelow(True)


def files_of(figure: Figure) -> dict[str, bytes]:
    """The figure as SVG and as PDF, by ending; equal figures are equal bytes, since no date is written.

    Text is outlines in SVG, so that it looks the same without its fonts, and embedded as Type 42 in PDF, so that it can
    be searched.
    """
    logging.getLogger("fontTools.subset").setLevel(logging.ERROR)  # it names every table of a font that it drops
    vector, paper = io.BytesIO(), io.BytesIO()
    FigureCanvasSVG(figure).print_svg(vector, metadata={"Date": None})
    FigureCanvasPdf(figure).print_pdf(paper, metadata={"CreationDate": None, "Creator": None, "Producer": None})
    return {"svg": vector.getvalue(), "pdf": paper.getvalue()}


@cache
def _characters(family: str) -> frozenset[int]:
    return frozenset(FT2Font(font_manager.findfont(family)).get_charmap())
