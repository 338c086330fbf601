"""Writes the demo data set: drawn images as if from many cameras, and hashtags scored 1 to 5 as if by many people.

Its shape is the published data set's: about 11 rows an image, 43 % fives, 11 % exact repeats with agreeing scores.
"""

import csv
import io
import random
import re
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageChops, ImageEnhance, ImageFilter

from consistency.data.hashtags import hashtag_identity
from consistency.durable import TEMP_PREFIX, make_folder, sweep_temp, write_file
from demo.scenes import draw
from demo.vocabulary import CONCEPTS, Picture, clean_score, sample_hashtag, sample_picture

SIDE = 288
HASHTAGS_PER_PICTURE = 10
# How often a hashtag of each score is drawn; where an image has none of a score, another score is drawn.
SCORE_WEIGHTS = {1: 4, 2: 9, 3: 15, 4: 32, 5: 42}
# What people add to anything: drawn so many times as often as other concepts that fit as well (None: generic).
POPULAR = {None: 4, "food": 5, "cafe": 5, "bag": 5, "lipstick": 5}
FILES = rf"combined_data\.csv|clean_labels\.csv|image(/demo_\d+\.(png|jpg))?|(image/)?{re.escape(TEMP_PREFIX)}.*"
MOVED = 0.15
REPEATED = 0.11


@dataclass(frozen=True)
class Row:
    """One row of the table; `clean` is its score before it was moved."""

    image: str
    hashtag: str
    score: int
    clean: int


def write_demo(out: Path, *, seed: int = 42, images: int = 180) -> None:
    """Write `out`/image/, `out`/clean_labels.csv and, last, `out`/combined_data.csv: the same bytes for a seed.

    clean_labels.csv has the score of each row (1-based) before 15 % of the scores were moved by one. Scores are moved
    once for each image and hashtag, so that repeats agree.

    Parameters
    ----------
    out : Path
        A folder; it is made where it is missing.
    seed : int
        Of all random choices.
    images : int
        How many images are drawn, each with 10 hashtags.

    Raises
    ------
    StorageError
        If something cannot be written.
    """
    make_folder(out / "image")
    for folder in (out, out / "image"):
        sweep_temp(folder)
    rng = random.Random(f"demo/{seed}/table")
    rows: list[Row] = []
    for number in range(images):
        strokes = random.Random(f"demo/{seed}/image/{number}")
        picture = sample_picture(strokes)
        name = f"demo_{number + 1:03}.{'jpg' if number % 4 == 3 else 'png'}"
        write_file(out / "image" / name, _encoded(photograph(draw(picture, strokes, SIDE), strokes), name))
        rows += [_scored(name, hashtag, clean, rng) for hashtag, clean in sample_hashtags(picture, rng)]
    rows += rng.sample(rows, round(len(rows) * REPEATED / (1 - REPEATED)))
    rng.shuffle(rows)
    clean = [(number, row.clean) for number, row in enumerate(rows, start=1)]
    write_file(out / "clean_labels.csv", _csv(("row", "clean_score"), clean))
    table = [(row.image, row.hashtag, row.score) for row in rows]
    write_file(out / "combined_data.csv", _csv(("Image Filename", "Hashtag", "Score"), table))


def is_drawing(folder: Path) -> bool:
    """Whether `folder` holds nothing but what `write_demo` leaves, finished or interrupted."""
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
    # The table comes last: one without its clean labels is somebody's own.
    own = "combined_data.csv" in names and "clean_labels.csv" not in names
    return not own and all(re.fullmatch(FILES, name) for name in names)


def sample_hashtags(picture: Picture, rng: random.Random) -> list[tuple[str, int]]:
    """Different hashtags for an image, each in one spelling and with its clean score.

    Two spellings of one hashtag would each be scored by somebody else, and so contradict one another.
    """
    by_score: dict[int, list[str | None]] = {}
    for concept in (*CONCEPTS, None):
        by_score.setdefault(clean_score(picture, concept), []).append(concept)
    scores = sorted(by_score)
    found: dict[str, tuple[str, int]] = {}
    while len(found) < HASHTAGS_PER_PICTURE:
        score = rng.choices(scores, [SCORE_WEIGHTS[score] for score in scores])[0]
        concept = rng.choices(by_score[score], [POPULAR.get(concept, 1) for concept in by_score[score]])[0]
        hashtag = sample_hashtag(concept, rng)
        found.setdefault(hashtag_identity(hashtag), (hashtag, score))
    return list(found.values())


def photograph(image: Image.Image, rng: random.Random) -> Image.Image:
    """`image` as a phone's camera and filters have it; the training images of `tiny` know none of this."""
    angle = rng.uniform(-14, 14)
    # What the rotation leaves empty lies outside this middle part, whatever the angle.
    middle = (image.width // 9, image.height // 9, image.width * 8 // 9, image.height * 8 // 9)
    image = image.rotate(angle, Image.Resampling.BICUBIC).resize(image.size, Image.Resampling.LANCZOS, middle)
    image = ImageEnhance.Color(image).enhance(rng.uniform(0.4, 1.6))
    image = ImageEnhance.Contrast(image).enhance(rng.uniform(0.7, 1.3))
    tint = Image.new("RGB", image.size, tuple(rng.randint(120, 255) for _ in range(3)))
    image = Image.blend(image, ImageChops.multiply(image, tint), rng.uniform(0, 0.5))
    return image.filter(ImageFilter.GaussianBlur(rng.uniform(0, image.width / 160)))


def _scored(image: str, hashtag: str, clean: int, rng: random.Random) -> Row:
    move = rng.choice((-1, 1)) if rng.random() < MOVED else 0
    return Row(image, hashtag, min(5, max(1, clean + move)), clean)


def _encoded(image: Image.Image, name: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG" if name.endswith(".jpg") else "PNG", quality=90)
    return buffer.getvalue()


def _csv(columns: tuple[str, ...], rows: list[tuple[int, int]] | list[tuple[str, str, int]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue().encode()
