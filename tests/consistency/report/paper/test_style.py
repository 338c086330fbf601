"""The look of figures: fonts that are there, colours that differ, and files without dates."""

import itertools

import matplotlib
from matplotlib import font_manager

from consistency.report.paper.style import COLOURS, LATIN, MARKERS, Fonts, files_of, find_fonts, new_figure, style


def test_latin_is_always_there_and_hangul_if_its_font_is() -> None:
    fonts = find_fonts()
    assert fonts.has("heads (tiny), −0.5 – 95 %")
    assert fonts.has("#맛집") == fonts.hangul
    assert not Fonts((LATIN,), hangul=False).has("#맛집")
    assert not fonts.has("\U0010ffff")


def test_every_family_has_a_truetype_file() -> None:
    for family in find_fonts().families:
        assert font_manager.findfont(family, fallback_to_default=False).lower().endswith(".ttf")


def test_colours_and_shapes_are_distinct() -> None:
    assert len(set(COLOURS)) == len(COLOURS) == len(set(MARKERS)) == len(MARKERS)
    # Relative luminances differ too, so that a print in grey tells most of them apart.
    light = [sum(w * int(c[i : i + 2], 16) for w, i in ((0.3, 1), (0.59, 3), (0.11, 5))) for c in COLOURS]
    assert sum(abs(a - b) > 15 for a, b in itertools.combinations(light, 2)) >= 10


def test_the_look_ends_with_the_block_and_ignores_what_the_user_has_set() -> None:
    before = matplotlib.rcParams["font.size"]
    with matplotlib.rc_context({"font.size": 40, "lines.linewidth": 9}):
        with style(find_fonts()):
            assert (matplotlib.rcParams["font.size"], matplotlib.rcParams["pdf.fonttype"]) == (7.5, 42)
            figure = new_figure(2, 1)
            figure.subplots().set_title("#맛집"[: 4 * find_fonts().hangul])
            first, second = files_of(figure), files_of(figure)
        assert matplotlib.rcParams["font.size"] == 40
    assert matplotlib.rcParams["font.size"] == before
    assert first == second
    assert set(first) == {"svg", "pdf"}
