"""Encodes on Ray: tasks decode, a pool of actors encodes, and each call of an actor stores what it encoded.

Ray loses rows that an actor keeps from call to call, so none is kept, and at the end the cache says what is missing.
"""

import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa
import ray
import ray.data

from consistency.data.files import ImageFile
from consistency.data.reading import Budget, Decoding, pixels_at_once
from consistency.data.shards import BLOCK, blocks
from consistency.errors import ImageError, RunError
from consistency.options import Decode, ImageLimits
from consistency.progress import Progress
from embedcache import pipeline
from embedcache.engines.cluster import DECODING_CPUS, RETRIES, Batch, Cluster, actors, connected, plain_errors
from embedcache.engines.local import Problems, one_ahead, thread_batches
from embedcache.extract import HASHTAGS_PER_IMAGE, NOT_FINITE, Work, text_batches
from embedcache.keys import hashtag_keys, image_keys
from embedcache.pipeline import Encoder
from embedcache.segments import KEY_BYTES
from embedcache.store import EmbeddingCache, valid_rows

if TYPE_CHECKING:
    from consistency.backbone.model import Embedder

READ = 32  # images that a task decodes
WAVE = 1 << 20  # images whose names are given to Ray at a time
PIXEL_BYTES = 256 << 20  # most bytes of decoded images in one call of an actor

Load = Callable[[], "Embedder"]


class RayWork(Work):
    """One extraction on a Ray cluster, whose machines all see the cache and the images under the same paths.

    Parameters
    ----------
    cache, limits, workers, progress
        As for `Work`; the cluster decides how many tasks decode.
    cluster : Cluster
        Where to encode.
    load : callable
        Loads the backbone; it is sent to the actors.
    """

    def __init__(
        self,
        cache: EmbeddingCache,
        limits: ImageLimits,
        workers: int,
        progress: Progress,
        *,
        cluster: Cluster,
        load: Load,
    ) -> None:
        super().__init__(cache, limits, workers, progress)
        self._cluster, self._load = cluster, load

    def encode(self, load: Load, files: Sequence[ImageFile], texts: Sequence[str], batch_size: int | str) -> None:
        """Encode and store images and texts.

        Raises
        ------
        RunError
            If Ray gives up, or the cache lacks rows at the end.
        InputError
            If the cluster is too small.
        """
        started = time.perf_counter()
        with connected(self._cluster), plain_errors():
            pool = actors(self._cluster)
            place = self._cache.path.parent.resolve(), self._cache.fields, self._load, batch_size
            facts = cast("_Facts", ray.get(_describe.options(num_gpus=pool["num_gpus"]).remote(*place)))
            self.batch_size, self.text_length = facts.batch_size, facts.text_length
            with self._progress("Encoding images", len(files) or None) as advance:
                for start in range(0, len(files), WAVE):
                    self._images(files[start : start + WAVE], facts, place, pool, advance)
            self.image_seconds = time.perf_counter() - started
            if texts:
                self._texts(texts, facts, place, pool)
        lost = self._count(files, texts)
        if lost:
            raise RunError(f"{lost} images and hashtags are still missing though Ray reported no failure: run it again")

    def _images(self, files: Sequence[ImageFile], facts: "_Facts", place: Any, pool: Batch, advance: Any) -> None:
        parts = [files[start : start + READ] for start in range(0, len(files), READ)]
        data = ray.data.from_arrow([pa.table({"file": [pickle.dumps(file) for file in part]}) for part in parts])
        size = max(1, -(-pipeline.COMMIT_BYTES // facts.row_bytes))
        if facts.spec is not None:
            decoding = Decoding(cast(Decode, facts.decode), self._limits, facts.spec.target)
            size = max(1, min(size, PIXEL_BYTES // (3 * facts.spec.size[0] * facts.spec.size[1])))
            data = data.map_batches(
                _decode,
                fn_args=(decoding, facts.spec),
                batch_size=None,
                num_cpus=DECODING_CPUS,
                max_retries=RETRIES,
            )
        done = data.map_batches(
            _Images, batch_size=size, fn_constructor_args=(*place, self._limits, self._workers), **pool
        )
        for batch in done.iter_batches(batch_size=None):
            for digest, reason in zip(batch["digest"], batch["reason"], strict=True):
                if reason:
                    self.image_problems[bytes.fromhex(digest)] = str(reason)
            advance(len(batch["digest"]), skipped=len(self.image_problems))

    def _texts(self, texts: Sequence[str], facts: "_Facts", place: Any, pool: dict[str, Any]) -> None:
        data = ray.data.from_arrow([pa.table({"texts": [pickle.dumps(block)]}) for block in blocks(texts)])
        size = max(1, -(-pipeline.COMMIT_BYTES // (facts.row_bytes * BLOCK)))
        done = data.map_batches(_Texts, batch_size=size, fn_constructor_args=place, **pool)
        with self._progress("Encoding hashtags", len(texts)) as advance:
            for batch in done.iter_batches(batch_size=None):
                for said in batch["said"]:
                    count, bad, truncated = pickle.loads(said)
                    self.hashtag_problems.update(dict.fromkeys(bad, NOT_FINITE))
                    self.truncated += truncated
                    advance(count)

    def _count(self, files: Sequence[ImageFile], texts: Sequence[str]) -> int:
        """Count what the cache has now; return how many images and texts it lacks without a reason."""
        good = [file for file in files if file.digest not in self.image_problems]
        known = [text for text in texts if text not in self.hashtag_problems]
        lacking = int(self._cache.missing("image", image_keys(good)).sum())
        unknown = int(self._cache.missing("hashtag", hashtag_keys(known)).sum())
        self.images_encoded, self.hashtags_encoded = len(good) - lacking, len(known) - unknown
        return lacking + unknown


@dataclass(frozen=True)
class _Facts:
    """What the driver must know of the model, which it does not load."""

    spec: Any
    decode: str
    batch_size: int
    text_length: int
    row_bytes: int


def _opened(root: Path, fields: dict[str, str], load: Load) -> "tuple[EmbeddingCache, Embedder]":
    """The cache and the model, in another process; raises RunError if they do not belong together."""
    backbone = load()
    store = {"store": fields["store"]} if "store" in fields else {}
    ours = {**backbone.fields, **store}
    if different := sorted(name for name in {*ours, *fields} if ours.get(name) != fields.get(name)):
        raise RunError(
            f"a Ray worker computes other vectors than this cache holds (other {', '.join(different)}): "
            "use the same versions and files on all machines, and name --precision"
        )
    return EmbeddingCache.open(root, fields), backbone


def _sizes(backbone: "Embedder", batch_size: int | str) -> tuple[int, int]:
    return backbone.batch_sizes if batch_size == "auto" else (int(batch_size), int(batch_size) * HASHTAGS_PER_IMAGE)


@ray.remote(num_cpus=1, max_retries=RETRIES)
def _describe(root: Path, fields: dict[str, str], load: Load, batch_size: int | str) -> _Facts:
    cache, backbone = _opened(root, fields, load)
    row_bytes = KEY_BYTES + backbone.encode_texts([""]).shape[1] * cache.dtype.itemsize
    return _Facts(backbone.spec, backbone.decode, _sizes(backbone, batch_size)[0], backbone.text_length, row_bytes)


def _decode(batch: Batch, decoding: Decoding, spec: Any) -> Batch:
    """Decode a block of images; one that cannot be used becomes a row with a reason."""
    room, pixels, digests, reasons = Budget(pixels_at_once(1)), [], [], []
    for file in map(pickle.loads, batch["file"]):
        digests.append(file.digest.hex())
        try:
            pixels.append(decoding.prepared(file, spec.resize_crop, room))
            reasons.append("")
        except ImageError as error:
            pixels.append(np.zeros((*spec.size, 3), np.uint8))
            reasons.append(str(error))
    return {"digest": np.array(digests, object), "reason": np.array(reasons, object), "pixels": np.stack(pixels)}


class _Images:
    """Encodes and stores a batch of images, which are decoded unless the library of the model prepares them."""

    def __init__(
        self,
        root: Path,
        fields: dict[str, str],
        load: Load,
        batch_size: int | str,
        limits: ImageLimits,
        workers: int,
    ) -> None:
        self.cache, self.backbone = _opened(root, fields, load)
        self.encoder = Encoder(_sizes(self.backbone, batch_size)[0])
        self.limits, self.workers = limits, workers

    def __call__(self, batch: Batch) -> Batch:
        reasons: dict[str, str] = {}
        stored = []
        for digests, pixels in self._decoded(batch, reasons):
            for start in range(0, len(digests), self.encoder.batch_size):
                some = slice(start, start + self.encoder.batch_size)
                stored.append((digests[some], self.encoder(self.backbone.encode_images, np.array(pixels[some]))))
        if stored:
            digests = [digest for part, _ in stored for digest in part]
            vectors = np.concatenate([part for _, part in stored])
            good = valid_rows(vectors)
            keys = np.frombuffer(bytes.fromhex("".join(digests)), np.uint8).reshape(-1, KEY_BYTES)
            self.cache.append("image", keys[good], vectors[good])
            reasons |= {digests[at]: NOT_FINITE for at in np.flatnonzero(~good)} | dict.fromkeys(
                (digests[at] for at in np.flatnonzero(good)), ""
            )
        return {"digest": np.array([*reasons], object), "reason": np.array([*reasons.values()], object)}

    def _decoded(self, batch: Batch, reasons: dict[str, str]) -> Iterator[tuple[list[str], Any]]:
        if "pixels" in batch:
            bad = np.array([bool(reason) for reason in batch["reason"]])
            reasons.update(zip(batch["digest"][bad], batch["reason"][bad], strict=True))
            if not bad.all():
                yield list(batch["digest"][~bad]), batch["pixels"][~bad]
            return
        files = [pickle.loads(file) for file in batch["file"]]
        decoding = Decoding(cast(Decode, self.backbone.decode), self.limits)
        problems: Problems = {}
        how: dict[str, int] = {"size": self.encoder.batch_size, "workers": self.workers}
        batches = thread_batches(decoding, self.backbone.prepare, files, problems, **how)
        for chosen, pixels in batches if self.backbone.device == "cpu" else one_ahead(batches):
            yield [cast(bytes, file.digest).hex() for file in chosen], pixels
        reasons.update((digest.hex(), reason) for digest, reason in problems.items() if digest is not None)


class _Texts:
    """Encodes and stores blocks of texts, in the batches of a single run."""

    def __init__(self, root: Path, fields: dict[str, str], load: Load, batch_size: int | str) -> None:
        self.cache, self.backbone = _opened(root, fields, load)
        self.encoder = Encoder(_sizes(self.backbone, batch_size)[1])

    def __call__(self, batch: Batch) -> Batch:
        every: list[str] = []
        parts, said = [], []
        for texts in map(pickle.loads, batch["texts"]):
            bad: list[str] = []
            for some in text_batches(self.backbone, texts, self.encoder.batch_size):
                vectors = self.encoder(self.backbone.encode_texts, some)
                good = valid_rows(vectors)
                bad += [some[at] for at in np.flatnonzero(~good)]
                every += [some[at] for at in np.flatnonzero(good)]
                parts.append(vectors[good])
            said.append(pickle.dumps((len(texts), bad, self.backbone.truncated(texts))))
        self.cache.append("hashtag", hashtag_keys(every), np.concatenate(parts))
        return {"said": np.array(said, object)}
