"""Every object can be drawn, inside its frame, and follows its seed."""

import random

import numpy as np
import pytest
from PIL import Image, ImageDraw

from demo.objects import DRAWN
from demo.pen import Pen

SIDE = 120
BACKGROUND = (1, 2, 3)  # no object has this colour


def drawn(name: str, seed: int) -> np.ndarray:
    """(SIDE, SIDE, 3) uint8: the object in the middle, with 40 pixels per unit, so that its frame is 20 to 100."""
    image = Image.new("RGB", (SIDE, SIDE), BACKGROUND)
    DRAWN[name](Pen(ImageDraw.Draw(image), SIDE / 2, SIDE / 2, 40), random.Random(seed))
    return np.asarray(image)


@pytest.mark.parametrize("name", DRAWN)
def test_an_object_fills_its_frame_and_little_else(name: str) -> None:
    covered = (drawn(name, 1) != BACKGROUND).any(axis=2)
    assert covered[20:100, 20:100].mean() > 0.15
    rows, columns = np.nonzero(covered)
    assert min(rows.min(), columns.min()) >= 15
    assert max(rows.max(), columns.max()) <= 105
    assert max(np.ptp(rows), np.ptp(columns)) > 64


@pytest.mark.parametrize("name", DRAWN)
def test_an_object_follows_its_seed(name: str) -> None:
    assert (drawn(name, 1) == drawn(name, 1)).all()
    assert any((drawn(name, 1) != drawn(name, seed)).any() for seed in (2, 3, 4))


def test_no_two_objects_look_alike() -> None:
    assert len({(drawn(name, 1) != BACKGROUND).any(axis=2).tobytes() for name in DRAWN}) == len(DRAWN)
