"""Two heads of a grid: one reads the whole post, the other answers in its place where a post has few other hashtags."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from consistency.backbone.embeddings import PairEmbeddings
from consistency.durable import make_folder, write_file
from consistency.scale import CLASSES, Floats
from heads.config import HeadConfig
from heads.model import FORMAT, Decision, HeadEnsemble, TrainedHead
from heads.post import others
from heads.post_head import FEW

MEMBERS = ("post", "pair")


@dataclass(frozen=True, eq=False)
class ByPost:
    """A head for whole posts and one for pairs.

    Attributes
    ----------
    post : TrainedHead or HeadEnsemble
        Answers pairs whose post has at least FEW other hashtags.
    pair : TrainedHead or HeadEnsemble
        Answers the other pairs; it does not read the post.
    """

    post: TrainedHead | HeadEnsemble
    pair: TrainedHead | HeadEnsemble

    @property
    def config(self) -> HeadConfig:
        """Configuration of the head for whole posts."""
        return self.post.config

    def reads_post(self, pairs: PairEmbeddings) -> npt.NDArray[np.bool_]:
        """Tell which pairs are answered by the head that reads their post, (n,) bool."""
        return others(pairs) >= FEW

    def predict(self, embeddings: PairEmbeddings) -> Decision:
        """Decide on the classes of pairs."""
        whole, n = self.reads_post(embeddings), len(embeddings)
        said = Decision(np.empty(n, np.int64), np.empty(n), np.empty((n, CLASSES)))
        for head, rows in ((self.post, whole), (self.pair, ~whole)):
            if rows.any():
                part = head.predict(embeddings.take(rows))
                said.predicted[rows], said.values[rows] = part.predicted, part.values
                said.probabilities[rows] = part.probabilities
        return said

    def predict_proba(self, embeddings: PairEmbeddings) -> Floats:
        """Probabilities of the five classes, (n, 5) float64."""
        return self.predict(embeddings).probabilities

    def save(self, folder: Path) -> None:
        """Write both heads into folders of their own, then head.json, which names them."""
        names = {member: f"head-{member}" for member in MEMBERS}
        for member, name in names.items():
            make_folder(folder / name)
            getattr(self, member).save(folder / name)
        write_file(folder / "head.json", (json.dumps({"format": FORMAT, "by_post": names}, indent=2) + "\n").encode())

    @classmethod
    def load(cls, folder: Path, description: dict[str, Any], load: Callable[[Path], Any]) -> Self:
        """Read what `save` wrote; `description` is the content of head.json, and `load` reads the head of a folder."""
        return cls(*(load(folder / Path(description["by_post"][member]).name) for member in MEMBERS))
