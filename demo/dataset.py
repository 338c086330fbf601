"""The demo data set: drawn images that look as if taken with many cameras, and hashtags with scores from 1 to 5.

It has the shape of the published data set: about 11 rows per image, 43 % of scores are 5, and 11 % of rows are exact
repeats with the same score.
"""

import io
import random
import re
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageChops, ImageEnhance, ImageFilter

from consistency.data.hashtags import hashtag_identity
from consistency.durable import TEMP_PREFIX, make_folder, sweep_temp, write_file
from consistency.text import to_csv
from demo.annotators import NOISE, annotate, column_names
from demo.like_published import sample_post
from demo.scenes import draw
from demo.vocabulary import CONCEPTS, Content, clean_score, sample_content, sample_hashtag

SIDE = 288
IMAGES = 180
HASHTAGS_PER_IMAGE = 10
# Relative frequency of each score. If no concept has the score drawn for an image, another score is drawn.
SCORE_WEIGHTS = {1: 4, 2: 9, 3: 15, 4: 32, 5: 42}
# Hashtags that people add to anything are this many times more frequent than others of the same score (None: generic).
POPULAR = {None: 4, "food": 5, "cafe": 5, "bag": 5, "lipstick": 5}
FILES = rf"combined_data\.csv|clean_labels\.csv|image(/demo_\d+\.(png|jpg))?|(image/)?{re.escape(TEMP_PREFIX)}.*"
MOVED = 0.15  # share of pairs whose score is moved by one
REPEATED = 0.11  # share of rows that repeat another row


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes
    ----------
    image, hashtag : str
        As in the CSV.
    score : int
        Score in the CSV, 1 to 5.
    clean : int
        Score by the rule of `demo.vocabulary.clean_score`, before some scores are moved by one.
    """

    image: str
    hashtag: str
    score: int
    clean: int


def write_demo(
    out: Path,
    *,
    seed: int = 42,
    images: int = IMAGES,
    like_published: bool = False,
    annotators: int = 0,
    noise: float = NOISE,
    missing: float = 0.0,
) -> None:
    """Write the images to `out`/image/, then `out`/clean_labels.csv, then `out`/combined_data.csv.

    The same seed gives the same bytes. clean_labels.csv holds the score of each row (numbered from 1) before 15 % of
    the scores are moved by one (more in posts like the published ones). A score is moved once per image and hashtag, so
    that repeats agree.

    Parameters
    ----------
    out : Path
        Folder to write to; created if missing.
    seed : int
        Random seed.
    images : int
        Number of images to draw; each gets 10 hashtags.
    like_published : bool
        Draw posts of 1 to 30 hashtags by the rule of `demo.like_published`, in the order of their posts.
    annotators : int
        Number of columns annotator_1, annotator_2, ... to add to the table, see `demo.annotators`.
    noise, missing : float
        As for `demo.annotators.annotate`.

    Raises
    ------
    StorageError
        If a file cannot be written.
    """
    make_folder(out / "image")
    for folder in (out, out / "image"):
        sweep_temp(folder)
    for number in range(images):
        strokes, name = _strokes(seed, number), _name(number)
        content = sample_content(strokes)
        write_file(out / "image" / name, _encoded(photograph(draw(content, strokes, SIDE), strokes), name))
    rows = sample_rows(seed, images=images, like_published=like_published)
    clean = [(number, row.clean) for number, row in enumerate(rows, start=1)]
    write_file(out / "clean_labels.csv", to_csv(("row", "clean_score"), clean))
    scored = [(row.image, row.hashtag, row.clean) for row in rows]
    others = annotate(scored, annotators, seed=seed, noise=noise, missing=missing) if annotators else [()] * len(rows)
    table = [
        (row.image, row.hashtag, row.score, *("" if score is None else score for score in scores))
        for row, scores in zip(rows, others, strict=True)
    ]
    header = ("Image Filename", "Hashtag", "Score", *column_names(annotators))
    write_file(out / "combined_data.csv", to_csv(header, table))


def sample_rows(seed: int, *, images: int = IMAGES, like_published: bool = False) -> list[Row]:
    """Draw the rows of a data set without its images.

    Parameters
    ----------
    seed, images, like_published
        As for `write_demo`.

    Returns
    -------
    list of Row
        In the order of the table.
    """
    rng = random.Random(f"demo/{seed}/{'like-published' if like_published else 'table'}")
    rows: list[Row] = []
    for number in range(images):
        content, name = sample_content(_strokes(seed, number)), _name(number)
        if like_published:
            rows += [Row(name, *drawn) for drawn in sample_post(content, rng)]
        else:
            rows += [_scored(name, hashtag, clean, rng) for hashtag, clean in sample_hashtags(content, rng)]
    if not like_published:
        rows += rng.sample(rows, round(len(rows) * REPEATED / (1 - REPEATED)))
        rng.shuffle(rows)
    return rows


def is_drawing(folder: Path) -> bool:
    """Whether `folder` holds only files that `write_demo` writes, be it finished or interrupted."""
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
    # The table is written last, so a table without clean labels belongs to the user.
    own = "combined_data.csv" in names and "clean_labels.csv" not in names
    return not own and all(re.fullmatch(FILES, name) for name in names)


def sample_hashtags(content: Content, rng: random.Random) -> list[tuple[str, int]]:
    """Draw ten distinct hashtags for an image, with their clean scores.

    Each hashtag has one spelling: the scores of two spellings are moved independently and would conflict.

    Parameters
    ----------
    content : Content
        What the image shows.
    rng : random.Random
        Source of randomness.

    Returns
    -------
    list of (str, int)
        Hashtag and clean score (1 to 5).
    """
    by_score: dict[int, list[str | None]] = {}
    for concept in (*CONCEPTS, None):
        by_score.setdefault(clean_score(content, concept), []).append(concept)
    scores = sorted(by_score)
    found: dict[str, tuple[str, int]] = {}
    while len(found) < HASHTAGS_PER_IMAGE:
        score = rng.choices(scores, [SCORE_WEIGHTS[score] for score in scores])[0]
        concept = rng.choices(by_score[score], [POPULAR.get(concept, 1) for concept in by_score[score]])[0]
        hashtag = sample_hashtag(concept, rng)
        found.setdefault(hashtag_identity(hashtag), (hashtag, score))
    return list(found.values())


def photograph(image: Image.Image, rng: random.Random) -> Image.Image:
    """Rotate, tint and blur an image as a phone's camera and filters do.

    The training images of `tiny` are not treated this way, so the demo is harder than its training data.

    Parameters
    ----------
    image : PIL.Image.Image
        Square RGB image.
    rng : random.Random
        Source of randomness.

    Returns
    -------
    PIL.Image.Image
        RGB image of the same size.
    """
    angle = rng.uniform(-14, 14)
    # For every angle drawn above, the corners that the rotation leaves empty lie outside this box.
    middle = (image.width // 9, image.height // 9, image.width * 8 // 9, image.height * 8 // 9)
    image = image.rotate(angle, Image.Resampling.BICUBIC).resize(image.size, Image.Resampling.LANCZOS, middle)
    image = ImageEnhance.Color(image).enhance(rng.uniform(0.4, 1.6))
    image = ImageEnhance.Contrast(image).enhance(rng.uniform(0.7, 1.3))
    tint = Image.new("RGB", image.size, tuple(rng.randint(120, 255) for _ in range(3)))
    image = Image.blend(image, ImageChops.multiply(image, tint), rng.uniform(0, 0.5))
    return image.filter(ImageFilter.GaussianBlur(rng.uniform(0, image.width / 160)))


def _strokes(seed: int, number: int) -> random.Random:
    """Source of randomness of what an image shows, and then of how it is drawn."""
    return random.Random(f"demo/{seed}/image/{number}")


def _name(number: int) -> str:
    return f"demo_{number + 1:03}.{'jpg' if number % 4 == 3 else 'png'}"


def _scored(image: str, hashtag: str, clean: int, rng: random.Random) -> Row:
    move = rng.choice((-1, 1)) if rng.random() < MOVED else 0
    return Row(image, hashtag, min(5, max(1, clean + move)), clean)


def _encoded(image: Image.Image, name: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG" if name.endswith(".jpg") else "PNG", quality=90)
    return buffer.getvalue()
