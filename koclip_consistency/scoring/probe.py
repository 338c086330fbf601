"""One image and hashtag whose image can be varied: what the cosine and the system's answer become."""

from collections.abc import Callable
from functools import cached_property

import numpy as np
import numpy.typing as npt

from consistency.backbone.embeddings import PairEmbeddings
from consistency.errors import BackboneError, ImageError
from consistency.options import ImageLimits
from consistency.scale import Floats
from koclip_consistency.scoring.encoder import Vectors, WarmEncoder
from koclip_consistency.scoring.images import OneImage, unusable
from koclip_consistency.scoring.occlusion import Grid, Pixels


class Probe:
    """A pair whose image can be varied; safe for several threads.

    Parameters
    ----------
    encoder : WarmEncoder
        Encodes the versions of the image. Its lock is held for one batch at a time, so that other requests come in
        between.
    image : OneImage
        The image.
    limits : ImageLimits
        Which images are refused.
    vectors : (m, d) float32
        Vectors of unit norm of the hashtags of the post, that of the pair first.
    rank_by : callable
        What the system ranks n posts by: from their n * m pairs, post by post, to (n * m,) float64.
    """

    def __init__(
        self,
        encoder: WarmEncoder,
        image: OneImage,
        limits: ImageLimits,
        vectors: Vectors,
        rank_by: Callable[[PairEmbeddings], Floats],
    ) -> None:
        self._encoder, self._image, self._limits = encoder, image, limits
        self._vectors, self._rank_by = vectors, rank_by

    @property
    def name(self) -> str:
        """Name of the image."""
        return self._image.name

    @cached_property
    def pixels(self) -> Pixels:
        """The image as the model receives it, (h, w, 3) uint8 or (3, h, w) float32.

        Raises
        ------
        ImageError
            If the image cannot be used.
        BackboneError
            If the model receives no pixels in rows and columns.
        """
        with self._encoder.lock:
            try:
                found = self._encoder.pixels(self._image, self._limits)
            except ImageError as error:
                raise unusable(self._image, error) from error
        if found.ndim != 3:
            name = self._encoder.backbone.resolved.name
            how = "in a form of its own" if found.dtype == object else "as a list of patches"
            raise BackboneError(
                f"{name} receives images {how}, expected rows and columns of pixels: name another model"
            )
        return found

    @property
    def visible(self) -> npt.NDArray[np.uint8]:
        """The same for people, (h, w, 3) uint8; numbers that are no colours are stretched from black to white."""
        if self.pixels.dtype == np.uint8:
            return self.pixels.astype(np.uint8, copy=False)
        low, high = float(self.pixels.min()), float(self.pixels.max())
        stretched = (self.pixels - low) * (255 / max(high - low, 1e-12))
        return np.rint(stretched).astype(np.uint8).transpose(1, 2, 0)

    @cached_property
    def patches(self) -> tuple[int, int] | None:
        """Rows and columns of the model's patches; None if it has none."""
        from consistency.backbone.relevance import patch_grid

        with self._encoder.lock:
            return patch_grid(self._encoder.backbone)

    def cosines(self, versions: Pixels) -> Floats:
        """Cosines of n versions of `pixels` and the hashtag, (n,) float64."""
        return self._encoded(versions) @ self._vectors[0].astype(np.float64)

    def values(self, versions: Pixels) -> Floats:
        """What the system ranks n versions of `pixels` by, (n,) float64: see `Scored.values`."""
        n, m = len(versions), len(self._vectors)
        posts, hashtags = np.divmod(np.arange(n * m), m)
        images = self._encoded(versions).astype(np.float32)
        return self._rank_by(PairEmbeddings(images, self._vectors, posts, hashtags))[::m]

    def relevance(self) -> Grid:
        """The map of `consistency.backbone.relevance.relevance`. Raises BackboneError where there is none."""
        from consistency.backbone.relevance import relevance

        pixels = self.pixels
        with self._encoder.lock:
            return relevance(self._encoder.with_gradients, pixels, self._vectors[0])

    def _encoded(self, versions: Pixels) -> npt.NDArray[np.float64]:
        size = self._encoder.backbone.batch_sizes[0]
        parts = []
        for start in range(0, len(versions), size):
            with self._encoder.lock:
                parts.append(self._encoder.encoded(versions[start : start + size]))
        return np.concatenate(parts).astype(np.float64)
