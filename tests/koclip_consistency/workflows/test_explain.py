"""The figure of an explanation: the same bytes twice, a panel for each map, and its control."""

import io

import numpy as np
from PIL import Image

from koclip_consistency.scoring.explanation import Explanation, Map
from koclip_consistency.scoring.facts import Facts
from koclip_consistency.workflows.explain import Explained, draw

PIXELS = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
NO_FACTS = Facts(None, None, None, None, (), (), ("no run",))


def explanation(*methods: str) -> Explanation:
    grid = np.linspace(-1, 1, 36).reshape(6, 6)
    maps = tuple(Map(method, "cosine", grid, 0.25, 0.125) for method in methods)  # type: ignore[arg-type]
    return Explanation("a.png", "바다", "heads", (), 4, 3.5, 0.1, PIXELS, maps, ("no attention",))


def test_the_figure_has_a_panel_for_each_map_and_the_same_bytes_twice() -> None:
    both, one, none = (draw(explanation(*methods)) for methods in (("attention", "occlusion"), ("occlusion",), ()))
    assert both == draw(explanation("attention", "occlusion"))
    widths = [Image.open(io.BytesIO(figure)).width for figure in (none, one, both)]
    assert widths[1] - widths[0] == widths[2] - widths[1] == widths[0] / 2  # the image and the control are always there


def test_notes_say_what_is_missing_and_how_to_read_the_rest() -> None:
    explained = Explained(explanation(), NO_FACTS)
    assert explained.notes[:2] == ("no attention", "no run")
    assert "not proof" in explained.notes[2]
    assert explained.as_dict()["facts"]["notes"] == ("no run",)
