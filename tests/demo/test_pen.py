"""A pen draws where and as large as its coordinates say."""

import random

import numpy as np
from PIL import Image, ImageDraw

from demo.pen import Pen, vary

RED = (255, 0, 0)


def canvas(side: int = 100) -> tuple[Image.Image, Pen]:
    """A black image, and a pen whose unit is its side."""
    image = Image.new("RGB", (side, side))
    return image, Pen(ImageDraw.Draw(image), 0, 0, side)


def painted(image: Image.Image) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the red part, the last two included."""
    rows, columns = np.nonzero((np.asarray(image) == RED).all(axis=2))
    return int(columns.min()), int(rows.min()), int(columns.max()), int(rows.max())


def test_a_box_covers_its_corners() -> None:
    image, pen = canvas()
    pen.box(0.2, 0.3, 0.6, 0.9, RED)
    assert painted(image) == (20, 30, 60, 90)


def test_an_oval_is_given_by_its_middle_and_half_axes() -> None:
    image, pen = canvas()
    pen.oval(0.5, 0.4, 0.3, 0.1, RED)
    assert painted(image) == (20, 30, 80, 50)


def test_an_arc_is_a_part_of_its_ellipse() -> None:
    image, pen = canvas()
    pen.arc(0.5, 0.5, 0.4, 0.4, (180, 360), RED)
    left, top, right, bottom = painted(image)
    assert max(abs(left - 10), abs(top - 10), abs(right - 90)) <= 1
    assert bottom <= 51  # the upper half


def test_lines_are_as_thick_as_they_are_told_and_at_least_a_pixel() -> None:
    image, pen = canvas()
    pen.line([(0.1, 0.5), (0.9, 0.5)], RED, thickness=0.2)
    _, top, _, bottom = painted(image)
    assert bottom - top + 1 in (20, 21)
    image, pen = canvas()
    pen.line([(0.1, 0.5), (0.9, 0.5)], RED, thickness=0.0001)
    _, top, _, bottom = painted(image)
    assert top == bottom


def test_a_pen_inside_a_pen_moves_and_scales() -> None:
    image, pen = canvas()
    pen.at(0.5, 0.5, 0.5).at(0.2, 0, 0.2).shape([(-1, -1), (1, -1), (1, 1), (-1, 1)], RED)
    assert painted(image) == (50, 40, 70, 60)  # around (60, 50), 10 pixels to each side


def test_colours_vary_within_the_spread_and_the_range() -> None:
    rng = random.Random(1)
    colours = np.array([vary((0, 128, 255), rng, 10) for _ in range(500)])
    assert colours.min(axis=0).tolist() == [0, 118, 245]
    assert colours.max(axis=0).tolist() == [10, 138, 255]
