"""The configuration of a head: its features, layers, loss and optimizer, without its training rows and seed."""

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from math import cos, inf, pi
from typing import Any

from consistency.errors import InputError
from consistency.scale import CLASSES
from heads.losses import OUTPUTS

LARGEST = sys.float_info.max  # a whole number may be larger, but is then no number of torch
PARTS = {
    "concat": ("image", "text"),
    "full": ("image", "text", "product", "difference", "cosine"),
    "product": ("product",),
    "image": ("image",),
    "text": ("text",),
    "full+post": ("image", "text", "product", "difference", "cosine", "post"),
    "product+post": ("product", "post"),
}
FEATURES = tuple(PARTS)
POST = ("mean", "maximum", "centroid", "weighted")  # columns of `heads.post.CONTEXT` that are the part "post"
CHOICES = {
    "features": FEATURES,
    "loss": tuple(OUTPUTS),
    "class_weights": ("balanced", "none"),
    "optimizer": ("adam", "adamw", "ridge"),
    "schedule": ("constant", "step", "cosine"),
}


@dataclass(frozen=True)
class HeadConfig:
    """Everything that determines a head's training except the rows and the seed. The defaults are the default head.

    Attributes
    ----------
    features : {"full", "concat", "product", "image", "text", "full+post", "product+post"}
        "concat" is the image's and the hashtag's embedding side by side. "full" adds their product, their absolute
        difference and their cosine. "product" is the product alone; "image" and "text" are one embedding alone.
        "+post" adds the context of the post: the columns POST of `heads.post.CONTEXT`.
    hidden : tuple of int
        Widths of the hidden layers, at most two; () is a linear head.
    dropout : float
        Share of hidden units that are dropped in training, from 0 to below 1.
    loss : str
        One of `heads.losses.OUTPUTS`.
    class_weights : {"none", "balanced"}
        Whether rare classes weigh more in the loss.
    standardise : bool
        Whether features are centred and scaled by their mean and standard deviation over the training rows. The last
        bias then starts at the best constant prediction.
    optimizer : {"adamw", "adam", "ridge"}
        "adam" adds weight decay to the gradient, "adamw" decays the weights. "ridge" is the closed form of
        `heads.ridge`: `weight_decay` is its strength, and it uses no learning rate, dropout, batches or epochs.
    lr : float
        Learning rate.
    weight_decay : float
        Strength of the weight decay.
    schedule : {"cosine", "step", "constant"}
        How the learning rate falls: see `rate_share`.
    batch_size : int
        Pairs in a batch.
    epochs : int
        Largest number of passes over the training rows.
    patience : int or None
        Epochs without a better validation score after which training stops, if there are validation rows.

    Raises
    ------
    InputError
        If a value is not usable.
    """

    features: str = "full"
    hidden: tuple[int, ...] = (128,)
    dropout: float = 0.5
    loss: str = "cross-entropy"
    class_weights: str = "none"
    standardise: bool = True
    optimizer: str = "adamw"
    lr: float = 2e-3
    weight_decay: float = 0.1
    schedule: str = "cosine"
    batch_size: int = 128
    epochs: int = 20
    patience: int | None = None

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise InputError(f"{name} is {getattr(self, name)!r}: expected one of {', '.join(choices)}")
        if not isinstance(self.hidden, list | tuple):
            raise InputError(f"hidden is {self.hidden!r}: expected a list of widths")
        object.__setattr__(self, "hidden", tuple(self.hidden))
        if len(self.hidden) > 2 or not all(_is(int, width) and width > 0 for width in self.hidden):
            raise InputError(f"hidden is {list(self.hidden)}: expected at most two positive widths")
        if not _is(bool, self.standardise):
            raise InputError(f"standardise is {self.standardise!r}: expected true or false")
        for name, low, high in (("dropout", 0, 1), ("lr", 0, inf), ("weight_decay", 0, inf)):
            value = getattr(self, name)
            if not (_is((int, float), value) and low <= value < high and value <= LARGEST):
                raise InputError(f"{name} is {value!r}: expected a number of at least {low} and below {high}")
        if self.optimizer == "ridge" and (self.hidden or self.loss not in ("regression", "cross-entropy")):
            raise InputError("optimizer ridge is for linear heads (hidden = []) of loss regression or cross-entropy")
        if self.optimizer == "ridge" and not self.weight_decay:
            raise InputError("optimizer ridge needs a weight_decay above 0")
        for name in ("batch_size", "epochs", "patience"):
            value = getattr(self, name)
            if not (_is(int, value) and value >= 1) and not (name == "patience" and value is None):
                raise InputError(f"{name} is {value!r}: expected a whole number of at least 1")

    @classmethod
    def paper(cls) -> "HeadConfig":
        """Return the published recipe for a frozen backbone."""
        return cls(
            features="concat",
            hidden=(256,),
            dropout=0.3,
            loss="cross-entropy",
            class_weights="balanced",
            standardise=False,
            optimizer="adam",
            lr=5e-5,
            weight_decay=1e-4,
            schedule="step",
            batch_size=32,
            epochs=10,
        )

    @property
    def shape(self) -> str:
        """The hidden widths as text: "linear", "64", "128x64"."""
        return "x".join(map(str, self.hidden)) or "linear"

    @property
    def reads_post(self) -> bool:
        """Whether the context of the post is among the features."""
        return "post" in PARTS[self.features]

    @property
    def has_published_layout(self) -> bool:
        """Whether the weights fit the published `classifier`: concat features, one hidden layer, five logits."""
        return self.features == "concat" and len(self.hidden) == 1 and OUTPUTS[self.loss] == (CLASSES, CLASSES)

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as plain JSON values."""
        return asdict(self) | {"hidden": list(self.hidden)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "HeadConfig":
        """Make a configuration from some of its settings; the others keep their defaults.

        Raises
        ------
        InputError
            If a setting is unknown or its value is not usable.
        """
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise InputError(f"unknown head setting {', '.join(unknown)}: expected {', '.join(known)}")
        return cls(**values)


def _is(kind: type | tuple[type, ...], value: object) -> bool:
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def feature_dim(kind: str, embed_dim: int) -> int:
    """Count the features that `kind` makes of two embeddings of `embed_dim` numbers each."""
    return sum(part_width(part, embed_dim) for part in PARTS[kind])


def part_width(part: str, embed_dim: int) -> int:
    """Count the features of one part."""
    return {"cosine": 1, "post": len(POST)}.get(part, embed_dim)


def parameter_count(config: HeadConfig, embed_dim: int) -> int:
    """Count the trained numbers of a head on embeddings of `embed_dim` numbers."""
    widths = [feature_dim(config.features, embed_dim), *config.hidden]
    rows, biases = OUTPUTS[config.loss]
    return sum((a + 1) * b for a, b in zip(widths, widths[1:], strict=False)) + widths[-1] * rows + biases


def rate_share(schedule: str, epoch: int, done: float) -> float:
    """Return the factor by which a schedule multiplies the learning rate.

    Parameters
    ----------
    schedule : {"step", "cosine", "constant"}
        "step" divides the rate by 10 every 5 epochs, "cosine" lets it fall to 0, "constant" keeps it.
    epoch : int
        Number of finished epochs.
    done : float
        Finished share of the training, from 0 to 1.

    References
    ----------
    Loshchilov & Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts, arXiv:1608.03983; used without restarts.
    """
    if schedule == "step":
        return 0.1 ** (epoch // 5)
    return (1 + cos(pi * done)) / 2 if schedule == "cosine" else 1.0
