"""Test images with their hashtags, what people and systems said about them, the worst disagreements first."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from consistency.data.files import find_images
from consistency.data.images import decode_image
from consistency.errors import ImageError
from consistency.evaluation.controls import competes
from consistency.evaluation.results import NO_BACKBONE, Result
from consistency.scale import confusion, merit

MAX_PICTURES = 60
THUMBNAIL = 200  # pixels of the longer side


@dataclass(frozen=True)
class Tag:
    """A hashtag beside an image. predicted: what each system of the gallery said, None where it was not
    asked.
    """

    hashtag: str
    score: int
    predicted: tuple[int | None, ...]

    @property
    def off(self) -> int:
        """How far the first system is from the label."""
        return 0 if self.predicted[0] is None else abs(self.predicted[0] - self.score)


@dataclass(frozen=True)
class Picture:
    name: str
    source: str | None
    tags: tuple[Tag, ...]


@dataclass(frozen=True)
class Gallery:
    """systems: names, in the order of every tag's predictions. hidden: how many images were left out."""

    systems: tuple[str, ...]
    pictures: tuple[Picture, ...]
    hidden: int


def main_result(results: Sequence[Result]) -> Result:
    """The system of highest merit; a control only where there is nothing else."""
    learned = (result for result in results if competes(result.predictions.system))
    return max(learned, key=merit_of, default=results[0])


def merit_of(result: Result) -> float:
    p = result.predictions
    return float(merit(confusion(p.scores - 1, p.predicted - 1)))


def make_gallery(results: Sequence[Result], main: Result, images: Path | None) -> Gallery:
    """The images that `results`, of one protocol and split, disagree about most.

    The rows are those of `main`; another system joins where it answered for the same ones.
    images: the folder of the images; where it is None or lacks one, a name stands for the image.
    """

    def keyed(result: Result) -> dict[tuple[object, ...], int]:
        p = result.predictions
        keys = zip(p.rows.tolist(), p.images, p.hashtags, p.scores.tolist(), strict=True)
        return dict(zip(keys, p.predicted.tolist(), strict=True))

    rows = keyed(main)
    systems = [main, *(result for result in results if result is not main and keyed(result).keys() & rows.keys())]
    answers = [keyed(result) for result in systems]
    tags: dict[str, list[Tag]] = {}
    for key in rows:
        _, image, hashtag, score = key
        predicted = tuple(answer.get(key) for answer in answers)
        tags.setdefault(str(image), []).append(Tag(str(hashtag), int(str(score)), predicted))
    worst = sorted(tags, key=lambda name: [-tag.off for tag in _worst_first(tags[name])])
    shown = worst[:MAX_PICTURES]
    sources = thumbnails(shown, images) if images else {}
    pictures = [Picture(name, sources.get(name), tuple(_worst_first(tags[name]))) for name in shown]
    return Gallery(tuple(_label(result) for result in systems), tuple(pictures), len(worst) - len(shown))


def _worst_first(tags: Sequence[Tag]) -> list[Tag]:
    return sorted(tags, key=lambda tag: (-tag.off, -tag.score))


def _label(result: Result) -> str:
    p = result.predictions
    return p.system if p.backbone == NO_BACKBONE else f"{p.system} ({p.backbone})"


def thumbnails(names: Sequence[str], folder: Path) -> dict[str, str]:
    """JPEG data: URIs by name; an image that cannot be read has none."""
    sources = {}
    for name, file in find_images(names, folder).items():
        try:
            picture = decode_image(file.read(), decode="fast", target=THUMBNAIL)
        except ImageError:
            continue
        picture.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=80, optimize=True)
        sources[name] = data_uri("image/jpeg", buffer.getvalue())
    return sources


def data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
