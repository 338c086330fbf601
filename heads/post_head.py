"""The head that reads the whole post, and the one that answers in its place where a post has few other hashtags."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from consistency.backbone.embeddings import PairEmbeddings
from consistency.durable import check_digest, write_file, write_with_digest
from consistency.scale import CLASSES, Floats, Ints
from heads import boosting, kernel
from heads.blend import COMPONENTS, COSINE, Blend, below
from heads.model import FORMAT, Decision
from heads.post import others

FEW = 3  # other hashtags below which the context is not read: benchmarks/RESULTS.md has the measurement
FILE = "post.safetensors"


@dataclass(frozen=True)
class PostConfig:
    """How a post head is trained, except for its rows and seed.

    Attributes
    ----------
    sees_image : bool
        Whether images are seen; without them it is the control of the head that sees them.
    ordered : bool
        Whether the position of a hashtag in its post is read. In a table that is sorted by score this is the label.
    """

    sees_image: bool = True
    ordered: bool = False

    @property
    def reads_post(self) -> bool:
        """True, as for a `HeadConfig` with the context of the post among its features."""
        return True

    @property
    def columns(self) -> tuple[str, ...]:
        """The context that the head for whole posts reads."""
        read = ("mean", "maximum", "weighted", COSINE) if self.sees_image else ("mean", "maximum", "centroid")
        return (*read, "position") if self.ordered else read

    def as_dict(self) -> dict[str, Any]:
        """Return the settings and the constants of the recipe as plain JSON values."""
        return {
            "context": list(self.columns),
            "sees_image": self.sees_image,
            "ordered": self.ordered,
            "few": FEW,
            "components": COMPONENTS,
            "boosting": {"iterations": boosting.ITERATIONS, **boosting.SETTINGS},
            "kernel": {
                "strength": kernel.STRENGTH,
                "hashtags": kernel.HASHTAG_WIDTH,
                "images": kernel.IMAGE_WIDTH,
                "context": kernel.CONTEXT_WIDTH,
            },
        }


@dataclass(frozen=True, eq=False)
class TrainedPostHead:
    """A trained head that reads the whole post.

    Attributes
    ----------
    config : PostConfig
        How it was trained.
    post : Blend
        Answers pairs whose post has at least FEW other hashtags.
    pair : Blend
        Answers the other pairs; it was trained on the same rows without their context.
    embed_dim : int
        Width of the embeddings that it reads.
    seed : int
        Random seed of its training.
    fingerprint : str or None
        Fingerprint of the embeddings that it was trained on.
    """

    config: PostConfig
    post: Blend
    pair: Blend
    embed_dim: int
    seed: int
    fingerprint: str | None = None

    @classmethod
    def fit(
        cls,
        pairs: PairEmbeddings,
        labels: Ints,
        *,
        seed: int,
        config: PostConfig | None = None,
        fingerprint: str | None = None,
    ) -> Self:
        """Train on pairs with a context.

        Parameters
        ----------
        pairs : PairEmbeddings
            The n training pairs; `heads.post.with_context` gives them a context.
        labels : (n,) int64
            Classes 0 to 4.
        seed : int
            Random seed.
        config : PostConfig, optional
            The default head if None.
        fingerprint : str, optional
            Fingerprint of the embeddings, which is stored.

        Raises
        ------
        InputError
            If the pairs have no context.
        """
        config = config or PostConfig()
        alone = (COSINE,) if config.sees_image else ()
        post, pair = (
            Blend.fit(pairs, labels, context=context, sees_image=config.sees_image, seed=seed)
            for context in (config.columns, alone)
        )
        return cls(config, post, pair, pairs.dim, seed, fingerprint)

    def reads_post(self, pairs: PairEmbeddings) -> npt.NDArray[np.bool_]:
        """Tell which pairs are answered by the model that reads their post, (n,) bool."""
        return others(pairs) >= FEW

    def predict_proba(self, pairs: PairEmbeddings) -> Floats:
        """Predict the probabilities of the five classes, (n, 5) float64.

        Raises
        ------
        InputError
            If the embeddings have another width than those of the training.
        """
        pairs.check_dim(self.embed_dim)
        whole = self.reads_post(pairs)
        probabilities = np.empty((len(pairs), CLASSES))
        for model, rows in ((self.post, whole), (self.pair, ~whole)):
            if rows.any():
                probabilities[rows] = model.predict_proba(pairs.take(rows))
        return probabilities

    def predict(self, pairs: PairEmbeddings) -> Decision:
        """Decide on the classes of pairs."""
        return Decision.of(self.predict_proba(pairs))

    def save(self, folder: Path) -> None:
        """Write post.safetensors with its digest, then head.json, without which the head counts as unfinished."""
        models = {"post.": self.post, "pair.": self.pair}
        arrays = {
            prefix + name: np.ascontiguousarray(array)
            for prefix, model in models.items()
            for name, array in model.arrays().items()
        }
        description = {
            "format": FORMAT,
            "reads": "post",
            "sees_image": self.config.sees_image,
            "ordered": self.config.ordered,
            "columns": {"post": list(self.post.context), "pair": list(self.pair.context)},
            "embed_dim": self.embed_dim,
            "seed": self.seed,
            "fingerprint": self.fingerprint,
        }
        write_with_digest(folder / FILE, save_arrays(arrays))
        write_file(folder / "head.json", (json.dumps(description, indent=2) + "\n").encode())

    @classmethod
    def load(cls, folder: Path, description: Mapping[str, Any]) -> Self:
        """Read what `save` wrote; `description` is the content of head.json."""
        check_digest(folder / FILE)
        arrays = load_arrays((folder / FILE).read_bytes())
        post, pair = (
            Blend.of_arrays(tuple(description["columns"][name]), below(f"{name}.", arrays)) for name in ("post", "pair")
        )
        config = PostConfig(description["sees_image"], description["ordered"])
        return cls(config, post, pair, description["embed_dim"], description["seed"], description["fingerprint"])
