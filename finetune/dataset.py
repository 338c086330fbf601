"""Prepares a pair table for training: decodes images once, tokenizes hashtags once, orders rows into steps."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from consistency.backbone.model import Backbone
from consistency.data.distinct import number_distinct
from consistency.data.files import ImageFile, image_identity
from consistency.data.pairs import PairTable, Skipped
from consistency.data.reading import Budget, Decoding, cores, pixels_at_once
from consistency.errors import ImageError
from consistency.options import ImageLimits
from consistency.progress import Progress, silent
from finetune import parallel
from finetune.config import FinetuneConfig

HASHTAGS_PER_IMAGE = 16  # a hashtag's pass costs about a sixteenth of an image's

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class PreparedImages:
    """Distinct images as `Backbone.prepare` returns them; those that fit into `memory` bytes are decoded only once.

    Several processes divide the first decoding among them, and later decode what their share of a step needs.

    Attributes
    ----------
    problems : dict of int to str
        Why an image cannot be used, by its number.
    """

    def __init__(
        self,
        files: Sequence[ImageFile],
        load: Callable[[ImageFile], npt.NDArray[Any]],
        *,
        memory: int,
        workers: int = 1,
        progress: Progress = silent,
    ) -> None:
        self._files, self._load, self._workers, self._memory = files, load, workers, memory
        self._kept: dict[int, npt.NDArray[Any]] = {}
        problems: dict[int, str] = {}
        own = parallel.share(np.arange(len(files))).tolist()
        with progress("Decoding images", len(own)) as advance, ThreadPoolExecutor(workers) as pool:
            for number, image in zip(own, pool.map(self._try, [files[n] for n in own]), strict=True):
                if isinstance(image, str):
                    problems[number] = image
                else:
                    self._keep(number, image)
                advance(1, unusable=len(problems))
        self.problems = parallel.merge(problems)

    def batch(self, numbers: Ints) -> npt.NDArray[Any]:
        """The images `numbers`, stacked: what `Backbone.pixels` takes."""
        missing = [number for number in numbers.tolist() if number not in self._kept]
        with ThreadPoolExecutor(self._workers) as pool:
            loaded = dict(zip(missing, pool.map(self._again, [self._files[n] for n in missing]), strict=True))
        for number, image in loaded.items():
            self._keep(number, image)
        stacked = [loaded[n] if n in loaded else self._kept[n] for n in numbers.tolist()]
        return np.stack(stacked) if stacked else np.empty(0)

    def _keep(self, number: int, image: npt.NDArray[Any]) -> None:
        if image.nbytes <= self._memory:
            self._memory -= image.nbytes
            self._kept[number] = image

    def _try(self, file: ImageFile) -> npt.NDArray[Any] | str:
        try:
            return self._load(file)
        except ImageError as error:
            return str(error)

    def _again(self, file: ImageFile) -> npt.NDArray[Any]:
        try:
            return self._load(file)
        except ImageError as error:
            raise ImageError(f"{file.name} could be used before, and cannot now ({error}): put it back") from error


@dataclass(frozen=True, eq=False)
class PairData:
    """The n rows of a pair table, as indices of its distinct images and hashtags.

    Attributes
    ----------
    images : PreparedImages
        The distinct images.
    tokens : list of list of int
        Token ids of each distinct hashtag.
    image_index, hashtag_index : ndarray of int64, shape (n,)
        Image and hashtag of each row, -1 if its image cannot be used.
    skipped : tuple of Skipped
        The rows whose image cannot be used.
    """

    images: PreparedImages
    tokens: list[list[int]]
    image_index: Ints
    hashtag_index: Ints
    skipped: tuple[Skipped, ...]

    def usable(self, rows: Ints) -> Ints:
        return rows[self.image_index[rows] >= 0]


def read_pair_data(
    backbone: Backbone,
    table: PairTable,
    files: Mapping[str, ImageFile],
    config: FinetuneConfig,
    *,
    limits: ImageLimits | None = None,
    workers: int | None = None,
    progress: Progress = silent,
) -> PairData:
    """Decode the distinct images (by content) and tokenize the distinct hashtags of `table`.

    workers: threads that decode, None for one a core; large images wait for one another (see `Budget`).
    """
    workers = workers or cores()
    target = None if backbone.spec is None else backbone.spec.target
    decoding, room = Decoding(config.decode, limits or ImageLimits(), target), Budget(pixels_at_once(workers))

    def load(file: ImageFile) -> npt.NDArray[Any]:
        if file.problem:
            raise ImageError(file.problem)
        return decoding.prepared(file, backbone.prepare, room)

    firsts, image_index = number_distinct(image_identity(table.images, files))
    distinct = [files[name] for name in table.images[firsts]]
    images = PreparedImages(distinct, load, memory=config.picture_memory, workers=workers, progress=progress)
    firsts, hashtag_index = number_distinct(table.hashtags)
    bad = np.isin(image_index, list(images.problems))
    skipped = tuple(
        Skipped(int(table.rows[row]), table.images[row], table.hashtags[row], images.problems[int(image_index[row])])
        for row in np.flatnonzero(bad)
    )
    tokens = backbone.token_ids(table.hashtags[firsts].tolist())
    image_index[bad] = hashtag_index[bad] = -1
    return PairData(images, tokens, image_index, hashtag_index, skipped)


@dataclass(frozen=True, eq=False)
class Step:
    """Rows whose weighted losses add up to the loss of one update.

    However a step is cut into parts, the gradients of the parts add up to its gradient.

    Attributes
    ----------
    rows : ndarray of int64, shape (k,)
        Rows of the table.
    weights : ndarray of float64, shape (k,)
        Weight of the loss of each row.
    """

    rows: Ints
    weights: Floats

    def of(self, data: PairData, numbers: Ints) -> "Step":
        """Those of its rows whose image is one of `numbers`."""
        here = np.isin(data.image_index[self.rows], numbers)
        return Step(self.rows[here], self.weights[here])

    def parts(self, data: PairData, images: int | None) -> list["Step"]:
        """Consecutive rows with at most `images` distinct images and a bounded number of hashtags each."""
        if images is None or not len(self.rows):
            return [self] if len(self.rows) else []
        cuts, seen = [0], set[int]()
        for place, image in enumerate(data.image_index[self.rows].tolist()):
            full = len(seen | {image}) > images
            if full or place - cuts[-1] >= HASHTAGS_PER_IMAGE * images:
                cuts.append(place)
                seen = set()
            seen.add(image)
        ends = [*cuts[1:], len(self.rows)]
        return [Step(self.rows[a:b], self.weights[a:b]) for a, b in zip(cuts, ends, strict=True)]


def epoch_steps(
    config: FinetuneConfig,
    data: PairData,
    rows: Ints,
    row_weights: Floats,
    *,
    row_masses: Floats | None = None,
    seed: int,
    epoch: int,
) -> list[Step]:
    """The steps of an epoch: a function of seed and epoch alone. row_weights: (n,), of every row of the table.

    A batch's loss is its rows' weighted mean, a step's the mean of its batches'. row_masses: (n,), by whose sum such a
    mean is divided, where that is not the weights' (see `heads.losses.row_masses`).
    """
    masses = row_weights if row_masses is None else row_masses
    rng = np.random.default_rng([seed, 1, epoch])
    if config.batch_by == "row":
        order = rng.permutation(rows)
        batches = [order[start : start + config.batch_size] for start in range(0, len(rows), config.batch_size)]
    else:
        images = data.image_index[rows]
        order = rng.permutation(np.unique(images))
        grouped = [rows[np.isin(images, part)] for part in np.array_split(order, -(-len(order) // config.batch_size))]
        batches = [part[np.argsort(data.image_index[part], kind="stable")] for part in grouped]
    steps = []
    for start in range(0, len(batches), config.accumulation):
        together = batches[start : start + config.accumulation]
        if config.drop_incomplete and len(together) < config.accumulation:
            break
        shares = [row_weights[batch] / masses[batch].sum() / len(together) for batch in together]
        steps.append(Step(np.concatenate(together), np.concatenate(shares)))
    return steps


def with_images(data: PairData, steps: Sequence[Step]) -> Iterator[tuple[Step, Ints, npt.NDArray[Any]]]:
    """Every step with the distinct images that this process takes of it: their numbers, ascending, and the images.

    The images of the next step are loaded meanwhile.
    """

    def load(step: Step) -> tuple[Step, Ints, npt.NDArray[Any]]:
        numbers = parallel.share(np.unique(data.image_index[step.rows]))
        return step, numbers, data.images.batch(numbers)

    with ThreadPoolExecutor(1) as pool:
        coming = deque(pool.submit(load, step) for step in steps[:1])
        for following in range(1, len(steps) + 1):
            coming.extend(pool.submit(load, step) for step in steps[following : following + 1])
            yield coming.popleft().result()
