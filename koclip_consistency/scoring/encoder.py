"""Vectors of single images and hashtags: from memory, from the embedding cache, or from a model that stays loaded."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from consistency.backbone.text_recipe import TextRecipe, mean_vectors
from consistency.data.reading import Decoding
from consistency.errors import ImageError
from consistency.options import Decode, ImageLimits
from embedcache.extract import NOT_FINITE
from embedcache.fallback import FallbackCache
from embedcache.keys import hashtag_keys
from embedcache.pipeline import Encoder
from embedcache.segments import Kind
from embedcache.store import valid_rows
from koclip_consistency.scoring.images import OneImage

if TYPE_CHECKING:
    from consistency.backbone.model import Backbone, Embedder

Vectors = npt.NDArray[np.float32]

REFERENCE = 16_384  # hashtags or images of the cache that a cosine is compared with
IN_MEMORY = 16_384  # vectors of each kind: 32 MB of 512 numbers each


class WarmEncoder:
    """Encodes one image and a few hashtags at a time, and writes nothing.

    Parameters
    ----------
    load : callable
        Loads the backbone; called once, when a vector is needed that is neither in memory nor in the cache.
    cache : FallbackCache or None
        The embedding cache, which need not exist; None for a backbone that has none.

    Attributes
    ----------
    lock : threading.Lock
        To be held around every call: the encoder is not safe for several threads at once.
    """

    def __init__(
        self,
        load: "Callable[[], Embedder]",
        cache: FallbackCache | None = None,
    ) -> None:
        self._load, self.cache = load, cache
        self.lock = threading.Lock()
        self._reference: dict[Kind, tuple[int, Vectors]] = {}
        self._images, self._hashtags = Recent(IN_MEMORY), Recent(IN_MEMORY)

    @cached_property
    def backbone(self) -> "Embedder":
        """The loaded model."""
        return self._load()

    def image(self, image: OneImage, limits: ImageLimits) -> Vectors:
        """The vector of an image, (1, d) float32 of unit norm. Raises ImageError where it cannot be used."""
        found = self._known(image)
        if found is None:
            found = self.encoded(self.pixels(image, limits)[None])[0]
            if not valid_rows(found[None])[0]:
                raise ImageError(NOT_FINITE)
        self._images.put(image.key, found)
        return found[None]

    def remember(self, images: Sequence[OneImage], texts: Sequence[str], limits: ImageLimits) -> None:
        """Encode what is not known yet of several requests, all images in one pass and all hashtags in one.

        `image` and `hashtags` then answer from memory. An image that cannot be used is left to `image`, which says why.
        """
        pixels = {}
        for image in images:
            if image.key not in pixels and self._known(image) is None:
                with suppress(ImageError):
                    pixels[image.key] = self.pixels(image, limits)
        if pixels:
            vectors = self.encoded(np.stack(list(pixels.values())))
            for key, vector, good in zip(pixels, vectors, valid_rows(vectors), strict=True):
                if good:
                    self._images.put(key, vector)
        self.hashtags(texts)

    def _known(self, image: OneImage) -> Vectors | None:
        """The vector of an image (d,) in memory or in the cache."""
        found = self._images.get(image.key)
        if found is None and image.in_cache:
            (found,) = self._stored("image", np.frombuffer(image.key, np.uint8)[None])
        return found

    def pixels(self, image: OneImage, limits: ImageLimits) -> npt.NDArray[Any]:
        """The image as `Backbone.prepare` gives it. Raises ImageError where it cannot be used."""
        backbone = self.backbone
        target = None if backbone.spec is None else backbone.spec.target
        # A copy, because torch warns of the arrays that Pillow lends.
        return np.array(backbone.prepare(image.decoded(Decoding(cast(Decode, backbone.decode), limits, target))))

    def encoded(self, pixels: npt.NDArray[Any]) -> Vectors:
        """Vectors of n images from `pixels`, (n, d) float32, rounded as the cache stores them."""
        return self._rounded(Encoder(self.backbone.batch_sizes[0])(self.backbone.encode_images, pixels))

    @cached_property
    def with_gradients(self) -> "Backbone":
        """The model for gradients; loaded once more if the one that encodes was rewritten to be faster."""
        from consistency.backbone.relevance import with_gradients

        return with_gradients(self.backbone)

    def hashtags(self, hashtags: Sequence[str]) -> Vectors:
        """The vectors of hashtags, (m, d) float32 of unit norm; a row that is not finite has no usable vector."""
        recipe = TextRecipe() if self.cache is None else self.cache.recipe
        texts = recipe.all_texts(hashtags)
        vectors, place = self._texts(texts), {text: at for at, text in enumerate(texts)}
        parts = zip(*map(recipe.texts, hashtags), strict=True)
        return mean_vectors([vectors[[place[text] for text in part]] for part in parts] or [vectors])

    def _texts(self, texts: Sequence[str]) -> Vectors:
        found = {text: self._hashtags.get(text) for text in texts}
        missing = [text for text, vector in found.items() if vector is None]
        if missing:
            found.update(zip(missing, self._stored("hashtag", hashtag_keys(missing)), strict=True))
        missing = [text for text in missing if found[text] is None]
        if missing:
            backbone = self.backbone
            # The longest first, in batches as the extractor makes them: so the same vectors come out.
            longest_first = sorted(missing, key=lambda text: -len(backbone.token_ids([text])[0]))
            vectors = Encoder(backbone.batch_sizes[1])(backbone.encode_texts, longest_first)
            found.update(zip(longest_first, self._rounded(vectors), strict=True))
        for text, vector in found.items():
            self._hashtags.put(text, cast(Vectors, vector))
        return np.stack([cast(Vectors, found[text]) for text in texts]) if texts else np.empty((0, 0), np.float32)

    def texts(self) -> list[str]:
        """The hashtags that the cache records, sorted."""
        return [] if self.cache is None else self.cache.texts()

    def reference(self, kind: Kind = "hashtag") -> Vectors:
        """Vectors of the cache's hashtags or images, (r, d) float32, or of some: what a cosine is compared with."""
        if self.cache is None:
            return np.empty((0, 0), np.float32)
        known = len(self.cache.sound_index(kind))
        if kind not in self._reference or known != self._reference[kind][0]:
            self._reference[kind] = known, self.cache.sample(kind, REFERENCE)
        return self._reference[kind][1]

    def stored_images(self, digests: Sequence[bytes]) -> list[Vectors | None]:
        """The vectors, (d,) float32, of images that memory or the cache has, by the SHA-256 of their bytes."""
        found = [self._images.get(digest) for digest in digests]
        lacking = [place for place, vector in enumerate(found) if vector is None]
        keys = np.frombuffer(b"".join(digests[place] for place in lacking), np.uint8).reshape(len(lacking), -1)
        for place, vector in zip(lacking, self._stored("image", keys) if lacking else (), strict=True):
            found[place] = vector
        return found

    def forget(self) -> None:
        """Bound the memory that vectors take which the cache cannot store."""
        if self.cache is not None:
            self.cache.forget()

    def _stored(self, kind: Kind, keys: npt.NDArray[np.uint8]) -> list[Vectors | None]:
        """The vector of each key in the embedding cache, None where there is none."""
        if self.cache is None:
            return [None] * len(keys)
        vectors, rows = self.cache.present(kind, keys)
        return [vectors[row] if row >= 0 else None for row in rows.tolist()]

    def _rounded(self, vectors: Vectors) -> Vectors:
        """As the cache stores them: a vector that is computed here then equals the stored one."""
        with np.errstate(over="ignore"):
            kept = np.float32 if self.cache is None else self.cache.dtype
            return vectors.astype(kept, copy=False).astype(np.float32, copy=False)


class Recent:
    """The vectors that were used last, at most `most` of them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[bytes | str, Vectors] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: bytes | str) -> Vectors | None:
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def put(self, key: bytes | str, vector: Vectors) -> None:
        self._kept[key] = np.array(vector)  # a copy: a view would keep all that it is a part of
        self._kept.move_to_end(key)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
