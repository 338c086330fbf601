"""Late fusion of several backbones: a head for each, whose mean probabilities decide."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from consistency.backbone.embeddings import PairEmbeddings
from consistency.durable import make_folder, write_file
from consistency.scale import Floats
from heads.config import HeadConfig
from heads.model import FORMAT, Decision, TrainedHead


@dataclass(frozen=True, eq=False)
class FusedHeads:
    """Heads that each read the part of joined embeddings that is their backbone's.

    Attributes
    ----------
    members : tuple of TrainedHead
        The heads, in the order of the backbones.
    """

    members: tuple[TrainedHead, ...]

    @property
    def config(self) -> HeadConfig:
        """Configuration of every member."""
        return self.members[0].config

    def predict(self, embeddings: PairEmbeddings) -> Decision:
        """Decide on the classes of pairs."""
        return Decision.of(self.predict_proba(embeddings))

    def predict_proba(self, embeddings: PairEmbeddings) -> Floats:
        """Probabilities of the five classes, (n, 5) float64.

        Raises
        ------
        InputError
            If the embeddings have another width than those of the training.
        """
        widths = [member.embed_dim for member in self.members]
        embeddings.check_dim(sum(widths))
        parts = zip(self.members, apart(embeddings, widths), strict=True)
        return np.mean([member.predict_proba(part) for member, part in parts], axis=0)

    def save(self, folder: Path) -> None:
        """Write each member into its own folder, then head.json, which names them."""
        names = [f"head-{number}" for number in range(1, len(self.members) + 1)]
        for name, member in zip(names, self.members, strict=True):
            make_folder(folder / name)
            member.save(folder / name)
        write_file(folder / "head.json", (json.dumps({"format": FORMAT, "fused": names}, indent=2) + "\n").encode())

    @classmethod
    def load(cls, folder: Path, description: dict[str, Any], load: Callable[[Path], TrainedHead]) -> Self:
        """Read what `save` wrote; `description` is the content of head.json, and `load` reads the head of a folder."""
        return cls(tuple(load(folder / Path(name).name) for name in description["fused"]))


def apart(embeddings: PairEmbeddings, widths: Sequence[int]) -> list[PairEmbeddings]:
    """Undo `consistency.backbone.embeddings.side_by_side`: the embeddings of each backbone, of unit norm."""
    scale, ends = np.float32(np.sqrt(len(widths))), np.cumsum(widths).tolist()
    return [
        PairEmbeddings(
            embeddings.images[:, end - width : end] * scale,
            embeddings.hashtags[:, end - width : end] * scale,
            embeddings.image_index,
            embeddings.hashtag_index,
            embeddings.context,
        )
        for end, width in zip(ends, widths, strict=True)
    ]
