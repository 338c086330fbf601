"""Test images with their hashtags, labels and predicted scores, the worst disagreements first."""

import base64
import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from consistency.data.files import find_images
from consistency.data.images import decode_image
from consistency.errors import ImageError
from consistency.evaluation.results import Result
from consistency.report.standing import name_of

MAX_POSTS = 60
THUMBNAIL = 400  # pixels of the longer side: enough to look at an image alone


@dataclass(frozen=True)
class Tag:
    """A hashtag of a post.

    Attributes
    ----------
    hashtag : str
        As in the pair table.
    label : int
        Its score in the pair table.
    predicted : tuple of int or None
        The score of each system of the gallery, None where the system did not answer.
    unfamiliar : bool
        It is unlike every hashtag that the first system was trained on.
    """

    hashtag: str
    label: int
    predicted: tuple[int | None, ...]
    unfamiliar: bool = False

    @property
    def off(self) -> int:
        """Distance of the first system's score from the label."""
        return 0 if self.predicted[0] is None else abs(self.predicted[0] - self.label)


@dataclass(frozen=True)
class Post:
    """An image by its file name, its thumbnail as a data: URI (None if it cannot be shown), and its hashtags."""

    image: str
    source: str | None
    tags: tuple[Tag, ...]


@dataclass(frozen=True)
class Gallery:
    """The posts shown.

    Attributes
    ----------
    systems : tuple of str
        Names, in the order of each tag's scores.
    posts : tuple of Post
        The worst disagreement of the first system comes first.
    hidden : int
        How many posts are left out.
    """

    systems: tuple[str, ...]
    posts: tuple[Post, ...]
    hidden: int


def make_gallery(
    results: Sequence[Result], main: Result, images: Path | None, unfamiliar: Collection[str] = ()
) -> Gallery:
    """Collect the posts of the rows that `main` answered for.

    Parameters
    ----------
    results : sequence of Result
        All systems of one protocol and split; those that share a row with `main` are in the gallery.
    main : Result
        The system whose disagreements decide the order.
    images : Path or None
        Folder of the images. A post whose image is not there is shown without it.
    unfamiliar : collection of str
        The hashtags that are unlike every hashtag of train.
    """

    def keyed(result: Result) -> dict[tuple[object, ...], int]:
        p = result.predictions
        keys = zip(p.rows.tolist(), p.images, p.hashtags, p.scores.tolist(), strict=True)
        return dict(zip(keys, p.predicted.tolist(), strict=True))

    rows = keyed(main)
    others = [(result, keyed(result)) for result in results if result is not main]
    systems = [(main, rows), *((result, answer) for result, answer in others if answer.keys() & rows.keys())]
    tags: dict[str, list[Tag]] = {}
    for key in rows:
        _, image, hashtag, label = key
        predicted = tuple(answer.get(key) for _, answer in systems)
        tag = Tag(str(hashtag), int(str(label)), predicted, hashtag in unfamiliar)
        tags.setdefault(str(image), []).append(tag)
    worst = sorted(tags, key=lambda image: [-tag.off for tag in _worst_first(tags[image])])
    shown = worst[:MAX_POSTS]
    sources = thumbnails(shown, images) if images else {}
    posts = tuple(Post(image, sources.get(image), tuple(_worst_first(tags[image]))) for image in shown)
    return Gallery(tuple(name_of(result) for result, _ in systems), posts, len(worst) - len(shown))


def _worst_first(tags: Sequence[Tag]) -> list[Tag]:
    return sorted(tags, key=lambda tag: (-tag.off, -tag.label))


def thumbnails(names: Sequence[str], folder: Path) -> dict[str, str]:
    """Thumbnails of the images `names` in `folder`, as JPEG data: URIs by name; without those that cannot be read."""
    sources = {}
    for name, file in find_images(names, folder).items():
        try:
            image = decode_image(file.read(), decode="fast", target=THUMBNAIL)
        except ImageError:
            continue
        sources[name] = data_uri("image/jpeg", jpeg(image, THUMBNAIL))
    return sources


def jpeg(image: Image.Image, size: int) -> bytes:
    """A JPEG whose longer side is at most `size` pixels; shrinks `image` itself."""
    image.thumbnail((size, size), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80, optimize=True)
    return buffer.getvalue()


def data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
