"""A pen with its own units, so that an object can be drawn at any place and size."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import ImageDraw

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Pen:
    """Draws shapes in its own coordinates; y points down.

    Attributes
    ----------
    canvas : PIL.ImageDraw.ImageDraw
        What it draws on.
    x, y : float
        Pixel of the pen's origin.
    unit : float
        Pixels per unit.
    """

    canvas: ImageDraw.ImageDraw
    x: float
    y: float
    unit: float

    def at(self, x: float, y: float, scale: float) -> "Pen":
        """A pen whose origin is this pen's (x, y) and whose unit is `scale` of this pen's units."""
        return Pen(self.canvas, *self._pixel(x, y), self.unit * scale)

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour, round: float = 0) -> None:
        corners = [self._pixel(left, top), self._pixel(right, bottom)]
        self.canvas.rounded_rectangle(corners, round * self.unit, fill=colour)

    def oval(self, x: float, y: float, width: float, height: float, colour: Colour) -> None:
        """Draw an ellipse around (x, y); `width` and `height` are its semi-axes."""
        self.canvas.ellipse(self._around(x, y, width, height), fill=colour)

    def arc(self, x: float, y: float, width: float, height: float, angles: tuple[int, int], colour: Colour) -> None:
        self.canvas.arc(self._around(x, y, width, height), *angles, fill=colour, width=self._thickness(0.1))

    def shape(self, points: Sequence[tuple[float, float]], colour: Colour) -> None:
        self.canvas.polygon([self._pixel(*point) for point in points], fill=colour)

    def line(self, points: Sequence[tuple[float, float]], colour: Colour, thickness: float = 0.06) -> None:
        pixels = [self._pixel(*point) for point in points]
        self.canvas.line(pixels, fill=colour, width=self._thickness(thickness), joint="curve")

    def _pixel(self, x: float, y: float) -> tuple[float, float]:
        return self.x + x * self.unit, self.y + y * self.unit

    def _around(self, x: float, y: float, width: float, height: float) -> list[tuple[float, float]]:
        return [self._pixel(x - width, y - height), self._pixel(x + width, y + height)]

    def _thickness(self, units: float) -> int:
        return max(1, round(units * self.unit))


def vary(colour: Colour, rng: random.Random, spread: int = 22) -> Colour:
    """Add a uniform integer from -spread to spread to each channel, clipped to 0..255."""
    red, green, blue = (min(255, max(0, channel + rng.randint(-spread, spread))) for channel in colour)
    return red, green, blue
