"""The twelve objects that a drawn image can show; each fills about the square from -1 to 1."""

import math
import random
from collections.abc import Callable

from demo.pen import Colour, Pen, vary

WHITE: Colour = (248, 246, 242)
BLACK: Colour = (38, 36, 40)
PAINT: tuple[Colour, ...] = (
    (206, 52, 48),
    (46, 98, 190),
    (240, 190, 60),
    (60, 140, 90),
    (235, 235, 235),
    (150, 90, 170),
)


def coffee(pen: Pen, rng: random.Random) -> None:
    cup = vary(rng.choice((WHITE, (222, 184, 150), (120, 160, 170))), rng)
    pen.oval(0, 0.82, 0.95, 0.18, vary((225, 220, 214), rng))
    pen.arc(0.68, 0.15, 0.32, 0.32, (-100, 110), cup)
    pen.shape([(-0.7, -0.3), (0.7, -0.3), (0.48, 0.8), (-0.48, 0.8)], cup)
    pen.oval(0, -0.3, 0.7, 0.2, cup)
    pen.oval(0, -0.3, 0.6, 0.14, vary((92, 54, 30), rng))
    for x in (-0.25, 0.1):
        pen.line([(x, -0.55), (x + 0.12, -0.7), (x, -0.85), (x + 0.12, -1)], (232, 232, 232), 0.05)


def food(pen: Pen, rng: random.Random) -> None:
    pen.oval(0, 0.1, 1, 0.7, WHITE)
    pen.oval(0, 0.08, 0.78, 0.52, vary((214, 210, 204), rng))
    pen.oval(-0.1, 0.05, 0.55, 0.36, vary((196, 120, 50), rng))
    pen.oval(0.05, 0, 0.3, 0.2, (250, 250, 244))
    pen.oval(0.06, 0, 0.13, 0.1, (246, 186, 40))
    for _ in range(9):
        colour = vary(rng.choice(((70, 150, 60), (200, 50, 40), (240, 200, 90))), rng)
        pen.oval(rng.uniform(-0.6, 0.6), rng.uniform(-0.25, 0.4), 0.1, 0.07, colour)
    for y in (-0.78, -0.66):
        pen.line([(-0.95, y), (0.95, y - 0.15)], (150, 100, 60), 0.06)


def flower(pen: Pen, rng: random.Random) -> None:
    petal = vary(rng.choice(((232, 70, 110), (246, 200, 60), (170, 100, 200), (250, 250, 250), (230, 60, 50))), rng)
    pen.line([(0, 0), (0.08, 1)], (62, 130, 58), 0.1)
    pen.oval(0.32, 0.62, 0.28, 0.12, (76, 150, 66))
    pen.oval(-0.22, 0.75, 0.26, 0.11, (76, 150, 66))
    count, turn = rng.randint(5, 8), rng.uniform(0, 1)
    for number in range(count):
        angle = turn + 2 * math.pi * number / count
        pen.oval(0.42 * math.cos(angle), -0.3 + 0.42 * math.sin(angle), 0.3, 0.3, petal)
    pen.oval(0, -0.3, 0.24, 0.24, vary((240, 190, 50), rng))


def car(pen: Pen, rng: random.Random) -> None:
    body = vary(rng.choice(PAINT), rng)
    pen.shape([(-0.6, 0), (-0.38, -0.48), (0.36, -0.48), (0.66, 0)], body)
    for left, right in ((-0.42, -0.05), (0.03, 0.46)):
        pen.shape([(left, -0.03), (left * 0.75, -0.38), (right * 0.75, -0.38), (right, -0.03)], (176, 210, 226))
    pen.box(-1, -0.05, 1, 0.42, body, 0.14)
    pen.oval(0.92, 0.12, 0.08, 0.09, (255, 238, 150))
    for x in (-0.55, 0.55):
        pen.oval(x, 0.42, 0.26, 0.26, BLACK)
        pen.oval(x, 0.42, 0.12, 0.12, (180, 180, 184))


def phone(pen: Pen, rng: random.Random) -> None:
    pen.box(-0.52, -1, 0.52, 1, vary(BLACK, rng, 12), 0.15)
    pen.box(-0.44, -0.88, 0.44, 0.86, vary(rng.choice(((90, 150, 230), (230, 140, 170), (110, 200, 180))), rng), 0.08)
    pen.box(-0.16, -0.88, 0.16, -0.8, BLACK, 0.03)
    for row in range(4):
        for column in range(3):
            x, y = -0.29 + 0.29 * column, -0.55 + 0.34 * row
            pen.box(x - 0.1, y - 0.1, x + 0.1, y + 0.1, vary(rng.choice(PAINT), rng), 0.04)


def cat(pen: Pen, rng: random.Random) -> None:
    fur = vary(rng.choice(((232, 160, 80), (120, 116, 118), (60, 56, 60), (240, 232, 220))), rng)
    pen.arc(0.62, 0.5, 0.34, 0.4, (-60, 120), fur)
    pen.oval(0, 0.55, 0.55, 0.48, fur)
    for side in (-1, 1):
        pen.shape([(side * 0.52, -0.95), (side * 0.08, -0.62), (side * 0.5, -0.28)], fur)
        pen.shape([(side * 0.46, -0.8), (side * 0.24, -0.6), (side * 0.46, -0.42)], (240, 170, 170))
    pen.oval(0, -0.28, 0.55, 0.46, fur)
    for side in (-1, 1):
        pen.oval(side * 0.22, -0.34, 0.11, 0.14, (190, 220, 90))
        pen.oval(side * 0.22, -0.34, 0.04, 0.12, (20, 20, 20))
        for y in (-0.2, -0.08):
            pen.line([(side * 0.2, -0.14), (side * 0.75, y)], (236, 236, 236), 0.03)
    pen.shape([(-0.07, -0.2), (0.07, -0.2), (0, -0.12)], (220, 110, 120))


def cake(pen: Pen, rng: random.Random) -> None:
    cream = vary(rng.choice(((252, 240, 226), (250, 200, 210), (110, 66, 44))), rng)
    pen.oval(0, 0.8, 1, 0.18, (220, 220, 226))
    for layer in range(3):
        top = 0.42 - 0.28 * layer
        pen.box(-0.72, top, 0.72, top + 0.34, vary((226, 180, 110), rng) if layer % 2 == 0 else cream)
    pen.oval(0, -0.16, 0.72, 0.16, cream)
    for x in (-0.48, -0.16, 0.16, 0.48):
        pen.oval(x, -0.2, 0.12, 0.13, (214, 40, 50))
    for x in (-0.3, 0, 0.3):
        pen.line([(x, -0.3), (x, -0.75)], vary(rng.choice(PAINT), rng), 0.07)
        pen.oval(x, -0.84, 0.05, 0.1, (255, 200, 60))


def book(pen: Pen, rng: random.Random) -> None:
    cover = vary(rng.choice(PAINT), rng)
    pen.shape([(-1, -0.45), (0, -0.3), (1, -0.45), (1, 0.62), (0, 0.78), (-1, 0.62)], cover)
    for side in (-1, 1):
        pen.shape([(side * 0.93, -0.55), (0, -0.36), (0, 0.66), (side * 0.93, 0.5)], (250, 246, 234))
        for line in range(6):
            y = -0.34 + 0.14 * line
            pen.line([(side * 0.82, y - 0.06), (side * 0.12, y + 0.07)], (130, 126, 120), 0.035)
    pen.line([(0, -0.36), (0, 0.7)], (150, 146, 138), 0.05)


def bag(pen: Pen, rng: random.Random) -> None:
    leather = vary(rng.choice(((150, 86, 46), (196, 50, 60), (48, 46, 52), (230, 190, 160), (60, 96, 130))), rng)
    dark: Colour = (leather[0] * 2 // 3, leather[1] * 2 // 3, leather[2] * 2 // 3)
    pen.arc(0, -0.3, 0.44, 0.6, (180, 360), dark)
    pen.shape([(-0.72, -0.3), (0.72, -0.3), (0.92, 0.85), (-0.92, 0.85)], leather)
    pen.shape([(-0.72, -0.3), (0.72, -0.3), (0.4, 0.3), (-0.4, 0.3)], dark)
    pen.box(-0.12, 0.18, 0.12, 0.42, (232, 196, 90), 0.04)


def film(pen: Pen, rng: random.Random) -> None:
    body = vary(rng.choice((BLACK, (120, 80, 50), (70, 76, 84))), rng, 14)
    pen.box(-0.35, -0.72, 0.3, -0.4, (196, 196, 200), 0.06)
    pen.box(-1, -0.5, 1, 0.66, body, 0.1)
    pen.box(-1, -0.5, 1, -0.26, (206, 206, 210), 0.08)
    pen.oval(0, 0.12, 0.46, 0.46, (210, 210, 214))
    pen.oval(0, 0.12, 0.38, 0.38, (30, 30, 36))
    pen.oval(0, 0.12, 0.24, 0.24, (60, 80, 130))
    pen.oval(-0.1, 0.02, 0.07, 0.07, (220, 230, 250))
    pen.box(0.6, -0.46, 0.86, -0.3, (250, 240, 190), 0.02)


def lipstick(pen: Pen, rng: random.Random) -> None:
    lip = vary(rng.choice(((200, 30, 60), (226, 90, 110), (150, 30, 50), (236, 110, 80))), rng, 14)
    pen.shape([(-0.2, -0.3), (-0.2, -0.75), (0.2, -1), (0.2, -0.3)], lip)
    pen.box(-0.26, -0.35, 0.26, 0.12, (226, 190, 96), 0.03)
    pen.box(-0.36, 0.1, 0.36, 1, vary(BLACK, rng, 12), 0.05)
    pen.box(-0.36, 0.3, 0.36, 0.38, (226, 190, 96))


def dumbbell(pen: Pen, rng: random.Random) -> None:
    plate = vary(rng.choice((BLACK, (60, 70, 90), (150, 40, 40))), rng, 14)
    pen.box(-0.6, -0.09, 0.6, 0.09, (186, 188, 194))
    for side in (-1, 1):
        for near, far, height in ((0.42, 0.66, 0.58), (0.68, 0.86, 0.44), (0.86, 0.98, 0.2)):
            left, right = sorted((side * near, side * far))
            pen.box(left, -height, right, height, plate, 0.06)


DRAWN: dict[str, Callable[[Pen, random.Random], None]] = {
    drawing.__name__: drawing
    for drawing in (coffee, food, flower, car, phone, cat, cake, book, bag, film, lipstick, dumbbell)
}
