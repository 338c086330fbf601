"""Draws an image: a place in a season or at a time of day, and the objects in front of it."""

import random
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from demo.objects import DRAWN
from demo.pen import Colour, Pen, vary
from demo.vocabulary import Content

SMOOTHING = 2  # images are drawn this many times larger, then reduced: Pillow's shapes have hard edges


@dataclass(frozen=True)
class Light:
    """The colours of a season or a time of day."""

    sky: tuple[Colour, Colour]  # at the top and at the horizon
    leaves: Colour
    ground: Colour
    water: Colour
    walls: float = 1.0  # brightness of buildings and rooms


LIGHTS = {
    "spring": Light(((150, 200, 240), (236, 238, 246)), (246, 178, 200), (150, 196, 110), (110, 176, 206)),
    "summer": Light(((40, 130, 230), (170, 220, 250)), (44, 146, 56), (96, 176, 70), (20, 130, 200)),
    "autumn": Light(((150, 180, 206), (236, 222, 196)), (214, 110, 36), (186, 140, 80), (90, 140, 160)),
    "winter": Light(((176, 188, 204), (226, 230, 238)), (214, 224, 230), (240, 244, 250), (120, 150, 170), 0.95),
    "night": Light(((8, 12, 40), (34, 40, 86)), (18, 48, 40), (30, 40, 44), (14, 30, 70), 0.42),
    "sunset": Light(((110, 70, 130), (252, 150, 70)), (96, 76, 50), (120, 84, 66), (206, 116, 90), 0.8),
}


def draw(content: Content, rng: random.Random, size: int = 144, *, hidden: Collection[str] = ()) -> Image.Image:
    """Draw an image that shows `content`.

    Parameters
    ----------
    content : Content
        Place, season and objects.
    rng : random.Random
        Source of colours and positions.
    size : int
        Width and height in pixels.
    hidden : collection of str
        Objects to leave out. Without the main object everything else stays as it is, to the pixel.

    Returns
    -------
    PIL.Image.Image
        RGB image of `size` x `size` pixels.
    """
    light = LIGHTS[content.season]
    side = size * SMOOTHING
    image = _sky(light, rng, side)
    pen = Pen(ImageDraw.Draw(image), 0, 0, side)
    if content.scene != "cafe":
        _in_the_sky(pen, content.season, rng)
    PLACES[content.scene](pen, light, content.season, rng)
    if content.scene != "cafe":
        _in_the_air(pen, content.season, rng)
    _objects(pen, content.objects, rng, hidden)
    return image.reduce(SMOOTHING)


def _sky(light: Light, rng: random.Random, side: int) -> Image.Image:
    top, bottom = (np.array(vary(colour, rng)) for colour in light.sky)
    share = np.linspace(0, 1, side)[:, None] ** rng.uniform(0.7, 1.3)
    column = (top + (bottom - top) * share).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(np.broadcast_to(column[:, None], (side, side, 3))))


def _shade(colour: Colour, factor: float) -> Colour:
    red, green, blue = (min(255, int(channel * factor)) for channel in colour)
    return red, green, blue


def _in_the_sky(pen: Pen, season: str, rng: random.Random) -> None:
    x, y = rng.uniform(0.15, 0.85), rng.uniform(0.1, 0.25)
    if season == "night":
        for _ in range(rng.randint(25, 45)):
            radius = rng.uniform(0.002, 0.006)
            pen.oval(rng.random(), rng.uniform(0, 0.5), radius, radius, (250, 250, 220))
        pen.oval(x, y, 0.06, 0.06, (250, 244, 200))
        pen.oval(x + 0.025, y - 0.015, 0.052, 0.052, (16, 20, 52))
    elif season == "sunset":
        pen.oval(x, rng.uniform(0.3, 0.42), 0.1, 0.1, vary((255, 206, 96), rng, 12))
    else:
        if season == "summer":
            pen.oval(x, y, 0.07, 0.07, (255, 236, 120))
        for _ in range(rng.randint(1, 3)):
            _cloud(pen.at(rng.random(), rng.uniform(0.05, 0.3), rng.uniform(0.05, 0.11)))


def _cloud(pen: Pen) -> None:
    for x, y, radius in ((-1, 0.2, 0.6), (0, 0, 0.9), (1, 0.2, 0.6)):
        pen.oval(x, y, radius, radius * 0.6, (250, 250, 252))


def _in_the_air(pen: Pen, season: str, rng: random.Random) -> None:
    falling: dict[str, tuple[Colour, float]] = {
        "spring": ((252, 190, 212), 0.011),
        "autumn": ((208, 92, 30), 0.013),
        "winter": ((255, 255, 255), 0.009),
    }
    if season in falling:
        colour, radius = falling[season]
        for _ in range(rng.randint(25, 50)):
            pen.oval(rng.random(), rng.random(), radius * rng.uniform(0.6, 1.3), radius, vary(colour, rng, 10))


def _sea(pen: Pen, light: Light, season: str, rng: random.Random) -> None:
    horizon, beach = rng.uniform(0.4, 0.5), rng.uniform(0.7, 0.82)
    water = vary(light.water, rng)
    if rng.random() < 0.4:
        pen.oval(rng.random(), horizon, rng.uniform(0.1, 0.25), 0.07, _shade(light.leaves, 0.6))
    pen.box(0, horizon, 1, 1, water)
    for _ in range(rng.randint(8, 14)):
        x, y = rng.random(), rng.uniform(horizon + 0.02, beach)
        pen.line([(x, y), (x + 0.06, y - 0.012), (x + 0.12, y)], _shade(water, 1.3), 0.008)
    if rng.random() < 0.5:
        boat = pen.at(rng.uniform(0.1, 0.9), horizon + 0.02, 0.07)
        boat.shape([(-1, 0), (1, 0), (0.6, 0.5), (-0.6, 0.5)], (120, 70, 50))
        boat.shape([(0, -1.6), (0, -0.1), (0.9, -0.1)], (250, 250, 250))
    sand = (244, 246, 250) if season == "winter" else vary(_shade((234, 208, 156), light.walls), rng)
    edge = [(step / 6, beach + rng.uniform(-0.02, 0.02)) for step in range(7)]
    pen.line([(x, y - 0.006) for x, y in edge], (246, 250, 250), 0.02)
    pen.shape([*edge, (1, 1), (0, 1)], sand)


def _mountain(pen: Pen, light: Light, season: str, rng: random.Random) -> None:
    for row in range(3):
        base = 0.62 + 0.07 * row
        rock = vary(_shade(light.leaves, 0.55 + 0.13 * row), rng, 12)
        if season in ("winter", "spring"):
            rock = vary(_shade((112, 120, 134), light.walls * (0.9 + 0.1 * row)), rng, 12)
        for _ in range(2):
            x, width, height = rng.random(), rng.uniform(0.25, 0.45), rng.uniform(0.25, 0.42) - 0.08 * row
            pen.shape([(x - width, base), (x, base - height), (x + width, base)], rock)
            if season == "winter" or row == 0:
                cap = rng.uniform(0.2, 0.4)
                tip = [(x - width * cap, base - height * (1 - cap)), (x, base - height)]
                pen.shape([*tip, (x + width * cap, base - height * (1 - cap))], _shade((246, 248, 252), light.walls))
    pen.box(0, 0.74, 1, 1, vary(light.ground, rng))
    for _ in range(rng.randint(3, 6)):
        _pine(pen.at(rng.random(), rng.uniform(0.74, 0.8), rng.uniform(0.05, 0.08)), light, rng)


def _pine(pen: Pen, light: Light, rng: random.Random) -> None:
    pen.box(-0.12, 0, 0.12, 0.4, (84, 60, 44))
    colour = vary(_shade(light.leaves, 0.8), rng, 14)
    for y in (0, -0.5, -1):
        pen.shape([(-0.6, y + 0.1), (0, y - 0.8), (0.6, y + 0.1)], colour)


def _city(pen: Pen, light: Light, season: str, rng: random.Random) -> None:
    x = -0.05
    while x < 1:
        width, top = rng.uniform(0.1, 0.2), rng.uniform(0.18, 0.5)
        wall = vary(_shade(rng.choice(((150, 150, 160), (176, 150, 136), (120, 140, 160))), light.walls), rng)
        pen.box(x, top, x + width, 0.8, wall)
        if season == "winter":
            pen.box(x, top - 0.015, x + width, top + 0.01, (250, 250, 252))
        for row in range(int((0.76 - top) / 0.06)):
            for column in range(int(width / 0.04)):
                lit = rng.random() < (0.6 if season == "night" else 0.25 if season == "sunset" else 0)
                glass = (255, 224, 120) if lit else _shade((170, 200, 220), light.walls)
                left, upper = x + 0.015 + 0.04 * column, top + 0.03 + 0.06 * row
                pen.box(left, upper, left + 0.02, upper + 0.03, glass)
        x += width + rng.uniform(0, 0.02)
    pen.box(0, 0.76, 1, 0.8, light.ground)
    for tree in range(rng.randint(1, 3)):
        _tree(pen.at(rng.uniform(0.3 * tree, 0.3 * tree + 0.3), 0.8, 0.07), light, rng)
    pen.box(0, 0.8, 1, 1, _shade((110, 110, 116), light.walls))
    for left in range(5):
        pen.box(left / 5, 0.89, left / 5 + 0.1, 0.905, _shade((240, 240, 230), light.walls))


def _tree(pen: Pen, light: Light, rng: random.Random) -> None:
    pen.box(-0.15, -1.2, 0.15, 0, _shade((110, 76, 52), max(light.walls, 0.6)))
    for x, y in ((-0.5, -1.4), (0.5, -1.4), (0, -1.9), (0, -1.2)):
        pen.oval(x, y, 0.7, 0.6, vary(light.leaves, rng, 16))


def _forest(pen: Pen, light: Light, season: str, rng: random.Random) -> None:
    pen.box(0, 0.5, 1, 1, vary(light.ground, rng))
    pen.shape([(0.44, 0.5), (0.56, 0.5), (0.8, 1), (0.2, 1)], vary(_shade((196, 168, 128), light.walls), rng))
    for depth in range(4):
        for _ in range(4):
            x = rng.choice((rng.uniform(-0.05, 0.36), rng.uniform(0.64, 1.05)))
            scale = (0.1 + 0.04 * depth) * rng.uniform(0.85, 1.15)
            _tree(pen.at(x, 0.52 + 0.07 * depth, scale), light, rng)


def _cafe(pen: Pen, light: Light, season: str, rng: random.Random) -> None:
    wall = vary(_shade(rng.choice(((216, 190, 160), (190, 176, 160), (170, 136, 110))), max(light.walls, 0.65)), rng)
    left, top = rng.uniform(0.08, 0.4), rng.uniform(0.1, 0.16)
    right, bottom = left + 0.46, top + 0.4
    # The wall stands around the window, through which the season shows.
    walls = ((0, 0, 1, top), (0, bottom, 1, 1), (0, top, left, bottom), (right, top, 1, bottom))
    for west, north, east, south in walls:
        pen.box(west, north, east, south, wall)
    outside = pen.at(left, top, 0.46)
    outside.box(0, 0.72, 1, 0.87, light.ground)
    for x in (rng.uniform(0.15, 0.4), rng.uniform(0.6, 0.85)):
        _tree(outside.at(x, 0.78, 0.16), light, rng)
    if season == "winter":
        for _ in range(14):
            outside.oval(rng.random(), rng.uniform(0, 0.85), 0.02, 0.02, (255, 255, 255))
    if season == "sunset":
        outside.oval(rng.uniform(0.2, 0.8), 0.5, 0.12, 0.12, (255, 206, 96))
    frame = vary((96, 66, 46), rng)
    pen.line([(left, top), (right, top), (right, bottom), (left, bottom), (left, top)], frame, 0.02)
    pen.line([((left + right) / 2, top), ((left + right) / 2, bottom)], frame, 0.015)
    for x in (rng.uniform(0.1, 0.3), rng.uniform(0.7, 0.9)):
        lamp = pen.at(x, rng.uniform(0.12, 0.2), 0.06)
        lamp.line([(0, -4), (0, 0)], (50, 46, 44), 0.1)
        lamp.shape([(-0.5, 0), (0.5, 0), (1, 0.9), (-1, 0.9)], (60, 56, 54))
        lamp.oval(0, 0.9, 0.5, 0.3, (255, 230, 150))
    pen.shape([(0.05, 0.64), (0.95, 0.64), (1.1, 1), (-0.1, 1)], vary((150, 100, 62), rng))


def _objects(pen: Pen, objects: tuple[str, ...], rng: random.Random, hidden: Collection[str]) -> None:
    """Draw the main object large in the middle and the second one small beside it."""
    side = rng.choice((-1, 1))
    for number, name in reversed(list(enumerate(objects))):
        if number == 0:
            x = 0.5 + rng.uniform(-0.08, 0.08) - 0.06 * side * (len(objects) - 1)
            place = pen.at(x, rng.uniform(0.64, 0.7), rng.uniform(0.19, 0.25))
        else:
            place = pen.at(0.5 + side * rng.uniform(0.28, 0.33), rng.uniform(0.72, 0.78), rng.uniform(0.11, 0.14))
        if name not in hidden:
            DRAWN[name](place, rng)


PLACES = {"sea": _sea, "mountain": _mountain, "city": _city, "forest": _forest, "cafe": _cafe}
