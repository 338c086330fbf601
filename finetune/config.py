"""The settings of a fine-tuning: all that decides its result except the rows, the backbone and the seed."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from consistency.errors import InputError
from consistency.options import Decode
from heads.model import HeadConfig

CHOICES = {
    "decode": ("ours", "fast", "published"),
    "optimizer": ("adam", "adamw"),
    "decay": ("all", "matrices"),
    "schedule": ("step", "cosine"),
    "batch_by": ("row", "image"),
    "select": ("qwk", "macro_f1"),
    "average": ("none", "ema", "interpolate"),
    "autocast": ("none", "fp16", "bf16"),
}
POSITIVE = ("head_lr", "layer_decay", "epochs", "batch_size", "accumulation", "picture_memory")
ONLY_MEMORY = ("micro_batch", "gradient_checkpointing", "picture_memory")  # settings that change no result
# Half the rate of a head that is trained alone: better on the test rows of development draws 101 and 102.
HEAD = HeadConfig(lr=1e-3)


@dataclass(frozen=True)
class FinetuneConfig:
    """How to fine-tune. The defaults are the default recipe.

    Attributes
    ----------
    head : HeadConfig
        Layout, loss and class weights of the head; with `warm_start` also the recipe that trains it on the frozen
        embeddings before anything else moves.
    warm_start : bool
        Train the head on the frozen embeddings first.
    decode : {"ours", "fast", "published"}
        How images are decoded.
    squash : bool
        Resize images without keeping their proportions.
    optimizer : {"adam", "adamw"}
        "adam" adds weight decay to the gradient, "adamw" decays the weights.
    lr : float or None
        Learning rate of a tower's last layer and projection. None for 0.04 / the tower's width, since wide layers need
        small steps, and for ten times that with adapters.
    head_lr : float
        Learning rate of the head.
    layer_decay : float
        Learning rate of each layer relative to the layer above it.
    weight_decay : float
        Strength of the decay.
    decay : {"all", "matrices"}
        What decays: all parameters, or matrices only (no biases, norms or position embeddings).
    schedule : {"step", "cosine"}
        "step" divides the rates by 10 every 5 epochs; "cosine" raises them during the warmup and lowers them to 0.
    warmup : float
        Share of all steps in which the rates rise.
    clip_norm : float or None
        Largest norm of the gradient.
    batch_by : {"row", "image"}
        A batch is `batch_size` rows, or all rows of `batch_size` images.
    batch_size : int
        Rows or images of a batch.
    accumulation : int
        Batches of a step, whose gradients are averaged.
    drop_incomplete : bool
        Leave out a last step with fewer batches, as the published loop does.
    micro_batch : int, "auto" or None
        Images encoded at once. It changes memory and, but for the random numbers of dropout, nothing else. "auto"
        begins with the whole step and halves it when memory is short; None never divides a step.
    epochs, max_steps : int
        When training ends at the latest; `max_steps` may be None.
    patience : int or None
        Epochs with lower scores after which training ends.
    select : {"qwk", "macro_f1"}
        Score on the validation rows. The latest epoch is kept whose score is not lower than the best by more than such
        scores scatter (see `loop`).
    refit : bool
        Then train again from the beginning on training and validation rows, for as many epochs of the same schedule as
        validation chose.
    average : {"none", "ema", "interpolate"}
        "ema" validates and keeps the exponential average of the weights. "interpolate" moves the kept weights back
        towards those before training as far as validation prefers, and half of the way without validation [1]_.
    ema_decay : float
        Decay of the exponential average.
    crop : float
        Smallest share of an image's area that a training crop keeps, 1 for no crops.
    flip : bool
        Mirror half of the images; text in images does not survive it.
    freeze : int, "image" or "text"
        How many of the lowest layers of both towers do not learn, with everything below them; or which tower does not
        learn. With a number, the last norm and the projection of both towers always learn.
    lora : int or None
        Rank of the adapters that learn in place of the encoders.
    gradient_checkpointing : bool
        Use less memory and more time.
    autocast : {"none", "fp16", "bf16"}
        Half precision on a GPU; master weights stay in fp32.
    picture_memory : int
        Bytes of prepared images to keep in memory; others are decoded each time they are used.

    References
    ----------
    .. [1] Wortsman et al., Robust fine-tuning of zero-shot models, arXiv:2109.01903.
    """

    head: HeadConfig = HEAD
    warm_start: bool = True
    decode: Decode = "ours"
    squash: bool = False
    optimizer: Literal["adam", "adamw"] = "adamw"
    lr: float | None = None
    head_lr: float = 2e-4
    layer_decay: float = 0.8
    weight_decay: float = 0.1
    decay: Literal["all", "matrices"] = "matrices"
    schedule: Literal["step", "cosine"] = "cosine"
    warmup: float = 0.1
    clip_norm: float | None = 1.0
    batch_by: Literal["row", "image"] = "image"
    batch_size: int = 4
    accumulation: int = 1
    drop_incomplete: bool = False
    micro_batch: int | Literal["auto"] | None = "auto"
    epochs: int = 12
    max_steps: int | None = None
    patience: int | None = 4
    select: Literal["qwk", "macro_f1"] = "qwk"
    refit: bool = True
    average: Literal["none", "ema", "interpolate"] = "ema"
    ema_decay: float = 0.98
    crop: float = 1.0
    flip: bool = False
    freeze: int | Literal["image", "text"] = 0
    lora: int | None = None
    gradient_checkpointing: bool = False
    autocast: Literal["none", "fp16", "bf16"] = "bf16"
    picture_memory: int = 2 << 30

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise InputError(f"{name} is {getattr(self, name)!r}: expected one of {', '.join(choices)}")
        for name in POSITIVE:
            if not getattr(self, name) > 0:
                raise InputError(f"{name} is {getattr(self, name)}: expected more than 0")
        if self.lr is not None and not self.lr > 0:
            raise InputError(f"lr is {self.lr}: expected more than 0, or none")
        for name in ("micro_batch", "max_steps", "patience", "lora"):
            value = getattr(self, name)
            if not (value is None or (name == "micro_batch" and value == "auto")) and value < 1:
                raise InputError(f"{name} is {value}: expected a whole number of at least 1, or none")
        if not (self.weight_decay >= 0 and 0 <= self.warmup < 1 and 0 < self.crop <= 1):
            raise InputError("expected weight_decay >= 0, warmup from 0 to below 1, crop above 0 and at most 1")
        if not 0 < self.ema_decay < 1:
            raise InputError(f"ema_decay is {self.ema_decay}: expected a number between 0 and 1")
        if not (self.freeze in ("image", "text") or (isinstance(self.freeze, int) and self.freeze >= 0)):
            raise InputError(f"freeze is {self.freeze!r}: expected a number of layers, image or text")
        if self.lora is not None and self.freeze != 0:
            raise InputError("lora leaves all weights of the encoders as they are: ask for lora or freeze, not both")

    @classmethod
    def default(cls) -> "FinetuneConfig":
        return cls()

    @classmethod
    def paper(cls) -> "FinetuneConfig":
        """The published end-to-end recipe; it validates nothing and keeps the last epoch's weights."""
        return cls(
            head=HeadConfig.paper(),
            warm_start=False,
            decode="published",
            squash=True,
            optimizer="adam",
            lr=5e-5,
            head_lr=5e-5,
            layer_decay=1.0,
            weight_decay=1e-4,
            decay="all",
            schedule="step",
            warmup=0.0,
            clip_norm=None,
            batch_by="row",
            batch_size=8,
            accumulation=2,
            drop_incomplete=True,
            epochs=20,
            patience=None,
            refit=False,
            average="none",
            autocast="fp16",
        )

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"head": self.head.as_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "FinetuneConfig":
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise InputError(f"unknown fine-tuning setting {', '.join(unknown)}: expected {', '.join(known)}")
        values = dict(values)
        if isinstance(values.get("head"), Mapping):
            values["head"] = HeadConfig.from_dict(values["head"])
        return cls(**values)
