"""Encodes every distinct image and hashtag that the cache lacks; an interrupted extraction can be continued."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from consistency.backbone.text_recipe import TextRecipe
from consistency.data.files import ImageFile
from consistency.data.hashtags import describe_truncated
from consistency.data.pairs import PairTable, Skipped
from consistency.data.reading import Decoding, cores
from consistency.data.shards import Shard, blocks
from consistency.errors import CacheError, ImageError, InputError, is_out_of_memory
from consistency.options import Decode, ImageLimits
from consistency.progress import Progress, silent
from embedcache.engines.local import Batches, Problems, one_ahead, thread_batches
from embedcache.keys import hashtag_keys, image_keys
from embedcache.peak import peak_megabytes, start_peak
from embedcache.pipeline import Encoder, Writer
from embedcache.segments import Vectors
from embedcache.store import EmbeddingCache, valid_rows
from embedcache.texts import has_texts

if TYPE_CHECKING:
    from consistency.backbone.model import Embedder

# A hashtag has about 9 tokens and an image 50 to 256 patches, so batches of hashtags can be larger.
HASHTAGS_PER_IMAGE = 4
SAMPLE = 16  # images, and as many hashtags, to measure the error of a lower precision with
NOT_FINITE = "the model returns a vector that is not finite or is zero"


@dataclass(frozen=True)
class ExtractReport:
    """What an extraction did.

    Attributes
    ----------
    images, hashtags : int
        Distinct images (by content) and hashtags of the table. What the cache's recipe makes of hashtags counts as
        hashtags here and below: distinct texts.
    images_cached, hashtags_cached : int
        Those that were in the cache already.
    images_encoded, hashtags_encoded : int
        Those that were encoded now.
    truncated : int
        Hashtags encoded now that are longer than the text length of the model.
    truncation : str or None
        One line that names them; None if there are none.
    skipped : tuple of Skipped
        Rows of the table that have no embedding.
    seconds : float
        Duration in seconds.
    images_per_second : float or None
        Speed of encoding images; None if none were encoded.
    encoder_busy : float or None
        Share of the encoding time, 0 to 1, in which the model was busy; None if nothing was encoded.
    peak_megabytes : float or None
        Peak of memory from loading the model to the last batch; see `peak`. None if nothing was encoded.
    batch_size : int or None
        Images per batch, after any reduction for lack of memory; None if nothing was encoded.
    cosine_to_fp32 : dict of str to float, or None
        Lowest cosine similarity of a sample of images and of hashtags to their fp32 embeddings; None in fp32, or if
        memory does not suffice for a second model.
    quarantined : tuple of str
        One line per damaged segment.
    """

    images: int
    images_cached: int
    images_encoded: int
    hashtags: int
    hashtags_cached: int
    hashtags_encoded: int
    truncated: int
    truncation: str | None
    skipped: tuple[Skipped, ...]
    seconds: float
    images_per_second: float | None
    encoder_busy: float | None
    peak_megabytes: float | None
    batch_size: int | None
    cosine_to_fp32: dict[str, float] | None
    quarantined: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def extract(
    table: PairTable,
    files: Mapping[str, ImageFile],
    cache: EmbeddingCache,
    load: "Callable[[], Embedder]",
    *,
    batch_size: int | Literal["auto"] = "auto",
    workers: int | None = None,
    store: Literal["fp32", "fp16"] = "fp32",
    limits: ImageLimits | None = None,
    hashtags: Sequence[str] | None = None,
    shard: Shard | None = None,
    progress: Progress = silent,
    engine: "Engine | None" = None,
) -> ExtractReport:
    """Encode all images and hashtags of a pair table that are missing from the cache.

    An interruption commits what has been encoded. Images that cannot be used are skipped, and tried again next time.

    Parameters
    ----------
    table : PairTable
        Pair table.
    files : mapping of str to ImageFile
        Image file by name.
    cache : EmbeddingCache
        Cache to fill; its recipe says as which texts hashtags are encoded.
    load : callable
        Loads the backbone; only called if there is something to encode.
    batch_size : int or "auto"
        Images per batch.
    workers : int, optional
        Number of threads or processes that decode images; by default the number of CPU cores.
    store : {"fp32", "fp16"}
        Precision of the stored vectors; must be that of the cache.
    limits : ImageLimits, optional
        Limits beyond which an image is rejected; None means the defaults.
    hashtags : sequence of str, optional
        Distinct hashtags to encode; by default those of the table.
    shard : Shard, optional
        Part of the hashtags' texts to encode; by default all of them.
    progress : Progress
        Progress of encoding.
    engine : callable, optional
        Makes what does the work; by default `Work`, in this process.

    Returns
    -------
    ExtractReport

    Raises
    ------
    CacheError
        If the cache stores another precision.
    InputError
        If the batch size is not positive.
    StorageError
        If the disk fails; rows that were committed before are kept.
    OutOfMemory
        If memory does not suffice for a batch of one.
    """
    if store != cache.store:
        raise CacheError(f"the cache stores {cache.store}, not {store}; open it with the field store={store!r}")
    if batch_size != "auto" and batch_size < 1:
        raise InputError(f"the batch size is {batch_size}, expected auto or at least 1")
    started = time.perf_counter()
    images = _by_content(files[name] for name in dict.fromkeys(table.images))
    hashtags = list(dict.fromkeys(table.hashtags) if hashtags is None else hashtags)
    all_texts = cache.recipe.all_texts(hashtags)
    all_texts = all_texts if shard is None else shard.texts(all_texts)
    image_missing = cache.missing("image", image_keys(images))
    text_missing = cache.missing("hashtag", hashtag_keys(all_texts))

    work = (engine or Work)(cache, limits or ImageLimits(), workers or cores(), progress)
    to_encode = [images[index] for index in np.flatnonzero(image_missing)]
    texts = [all_texts[index] for index in np.flatnonzero(text_missing)]
    if not texts:
        to_encode = work.without_broken_start(to_encode)
    missing = set(texts)
    # A cache of an earlier version has no record of its hashtags.
    new = hashtags if not has_texts(cache.path) else [tag for tag in hashtags if missing & {*cache.recipe.texts(tag)}]
    if new:
        cache.record_texts(new)
    if texts or to_encode:
        work.encode(load, to_encode, texts, batch_size)

    return ExtractReport(
        images=len(images),
        images_cached=int((~image_missing).sum()),
        images_encoded=work.images_encoded,
        hashtags=len(all_texts),
        hashtags_cached=int((~text_missing).sum()),
        hashtags_encoded=work.hashtags_encoded,
        truncated=len(work.truncated),
        truncation=describe_truncated(work.truncated, work.text_length),
        skipped=_skipped(table, hashtags, files, work, cache.recipe),
        seconds=time.perf_counter() - started,
        images_per_second=work.images_encoded / work.image_seconds if work.images_encoded else None,
        encoder_busy=work.busy,
        peak_megabytes=work.peak_megabytes,
        batch_size=work.batch_size,
        cosine_to_fp32=work.cosine_to_fp32,
        quarantined=tuple(cache.quarantined),
    )


class Work:
    """One extraction in this process: encodes, and collects counts and problems.

    Attributes
    ----------
    images_encoded, hashtags_encoded : int
        How many have been stored.
    truncated : list of str
        Texts that were cut to the `text_length` of the model, in tokens.
    image_seconds : float
        Time for the images.
    busy, peak_megabytes, batch_size, cosine_to_fp32
        As in `ExtractReport`.
    image_problems : dict
        Why an image was not encoded, by the digest of its content.
    hashtag_problems : dict
        Why a text was not encoded, by text.
    """

    def __init__(self, cache: EmbeddingCache, limits: ImageLimits, workers: int, progress: Progress) -> None:
        self._cache, self._limits, self._workers, self._progress = cache, limits, workers, progress
        self.images_encoded = self.hashtags_encoded = self.text_length = 0
        self.truncated: list[str] = []
        self.image_seconds = 0.0
        self.busy: float | None = None
        self.peak_megabytes: float | None = None
        self.batch_size: int | None = None
        self.cosine_to_fp32: dict[str, float] | None = None
        self._sample: Any = None  # images of the first batch
        self.image_problems: Problems = {}
        self.hashtag_problems: dict[str, str] = {}

    def without_broken_start(self, files: list[ImageFile]) -> list[ImageFile]:
        """Drop broken images before the first good one, so that no model is loaded for broken images alone."""
        for index, file in enumerate(files):
            try:
                Decoding("ours", self._limits).read(file)
                return files[index:]
            except ImageError as error:
                self.image_problems[file.digest] = str(error)
        return []

    def encode(
        self, load: "Callable[[], Embedder]", files: Sequence[ImageFile], texts: Sequence[str], batch_size: int | str
    ) -> None:
        """Encode and store images and texts, none of which the cache has."""
        start_peak()
        backbone = load()
        size, text_size = backbone.batch_sizes
        if batch_size != "auto":
            size, text_size = int(batch_size), int(batch_size) * HASHTAGS_PER_IMAGE
        encoder, text_encoder = Encoder(size), Encoder(text_size)
        started = time.perf_counter()
        with Writer(self._cache) as writer:
            if files:
                self._encode_images(backbone, files, encoder, writer)
            self.image_seconds = time.perf_counter() - started
            if texts:
                self._encode_hashtags(backbone, texts, text_encoder, writer)
            self.busy = (encoder.busy + text_encoder.busy) / (time.perf_counter() - started)
        self.batch_size = encoder.batch_size
        if backbone.precision != "fp32":
            try:
                self.cosine_to_fp32 = self._measure_precision(backbone, texts)
            except Exception as error:  # everything is stored already, so this does not fail the extraction
                if not is_out_of_memory(error):
                    raise
        self.peak_megabytes = peak_megabytes()

    def _measure_precision(self, backbone: "Embedder", texts: Sequence[str]) -> dict[str, float]:
        exact = backbone.in_fp32()
        vectors: dict[str, tuple[Vectors, Vectors]] = {}
        if self._sample is not None:
            vectors["images"] = backbone.encode_images(self._sample), exact.encode_images(self._sample)
        if chosen := texts[:: -(-len(texts) // SAMPLE) or 1]:
            vectors["hashtags"] = backbone.encode_texts(chosen), exact.encode_texts(chosen)
        return {kind: float((ours * true).sum(axis=1).min()) for kind, (ours, true) in vectors.items()}

    def _encode_images(
        self, backbone: "Embedder", files: Sequence[ImageFile], encoder: Encoder, writer: Writer
    ) -> None:
        target = None if backbone.spec is None else backbone.spec.target
        decoding = Decoding(cast(Decode, backbone.decode), self._limits, target)
        how: dict[str, Any] = {"size": encoder.batch_size, "workers": self._workers}
        started, handled = time.perf_counter(), 0
        on_gpu = backbone.device.startswith("cuda")
        if on_gpu and backbone.spec is not None:
            from embedcache.engines.on_device import device_batches  # loads torch, as the model has by now

            batches = device_batches(decoding, backbone.spec, files, self.image_problems, **how, device=backbone.device)
        else:
            batches = thread_batches(decoding, backbone.prepare, files, self.image_problems, **how)
        if backbone.device != "cpu":
            batches = one_ahead(batches)
        with closing(batches), self._progress("Encoding images", len(files)) as advance:
            sampled = self._sampled(batches, backbone)
            if on_gpu:
                encoded = encoder.ahead(backbone.launch_images, sampled)
            else:
                encoded = ((chosen, encoder(backbone.encode_images, batch)) for chosen, batch in sampled)
            for chosen, vectors in encoded:
                good = valid_rows(vectors)
                for index in np.flatnonzero(~good):
                    self.image_problems[chosen[index].digest] = NOT_FINITE
                writer.put("image", image_keys(chosen)[good], vectors[good])
                self.images_encoded += int(good.sum())
                seconds = time.perf_counter() - started
                advance(
                    self._handled() - handled,
                    busy=f"{encoder.busy / seconds:.0%}",
                    skipped=len(self.image_problems),
                )
                handled = self._handled()
            advance(self._handled() - handled, skipped=len(self.image_problems))

    def _sampled(self, batches: Batches, backbone: "Embedder") -> Batches:
        """The same batches; the first becomes the sample that measures the precision."""
        for chosen, batch in batches:
            if self._sample is None and backbone.precision != "fp32":
                some = batch[:SAMPLE]
                self._sample = some.copy() if isinstance(some, np.ndarray) else some.clone()
            yield chosen, batch

    def _handled(self) -> int:
        return self.images_encoded + len(self.image_problems)

    def _encode_hashtags(self, backbone: "Embedder", texts: Sequence[str], encoder: Encoder, writer: Writer) -> None:
        self.text_length = backbone.text_length
        with self._progress("Encoding hashtags", len(texts)) as advance:
            for batch in text_batches(backbone, texts, encoder.batch_size):
                vectors = encoder(backbone.encode_texts, batch)
                good = valid_rows(vectors)
                self.hashtag_problems.update((batch[index], NOT_FINITE) for index in np.flatnonzero(~good))
                writer.put("hashtag", hashtag_keys(batch)[good], vectors[good])
                self.hashtags_encoded += int(good.sum())
                self.truncated += backbone.truncated(batch)
                advance(len(batch))


def text_batches(backbone: "Embedder", texts: Sequence[str], size: int) -> Iterator[list[str]]:
    """Batches of at most `size` texts: those of similar length share one, to save padding.

    The longest come first, to find early what fits into memory.
    """
    for block in blocks(texts):
        lengths = np.array([len(ids) for ids in backbone.token_ids(block)])
        order = np.argsort(-lengths, kind="stable")
        for start in range(0, len(order), size):
            yield [block[index] for index in order[start : start + size]]


Engine = Callable[[EmbeddingCache, ImageLimits, int, Progress], Work]


def _by_content(files: Iterable[ImageFile]) -> list[ImageFile]:
    """The first file of each distinct content, without files that cannot be used."""
    found: dict[bytes, ImageFile] = {}
    for file in files:
        if file.digest is not None and file.problem is None:
            found.setdefault(file.digest, file)
    return list(found.values())


def _skipped(
    table: PairTable, hashtags: Sequence[str], files: Mapping[str, ImageFile], work: Work, recipe: TextRecipe
) -> tuple[Skipped, ...]:
    """One entry per row whose image or hashtag has no vector."""
    skipped = []
    problems = work.hashtag_problems
    unusable = {tag: NOT_FINITE for tag in hashtags if problems.keys() & {*recipe.texts(tag)}} if problems else {}
    for row, image, hashtag in zip(table.rows, table.images, table.hashtags, strict=True):
        file = files[image]
        reason = file.problem or work.image_problems.get(file.digest) or unusable.get(hashtag)
        if reason:
            skipped.append(Skipped(int(row), image, hashtag, reason))
    elsewhere = sorted(unusable.keys() - {*table.hashtags})  # hashtags of a part whose rows belong to other parts
    skipped += [Skipped(None, "", hashtag, unusable[hashtag]) for hashtag in elsewhere]
    return tuple(skipped)
