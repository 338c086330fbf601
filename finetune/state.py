"""What a training knows besides its weights: its rows, where it stands, and what it chose."""

import math
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from finetune.dataset import Floats, Ints

History = list[dict[str, Any]]


@dataclass(frozen=True, eq=False)
class LabelledRows:
    """Labels and split of the rows.

    Attributes
    ----------
    labels : ndarray of int64, shape (n,)
        Classes from 0 to 4 of all rows of the table.
    train, val, test : ndarray of int64, shape (k,)
        Usable rows of each side; `val` is None if nothing is validated.
    class_weights : ndarray of float64, shape (5,)
        Weight of each class in the loss.
    """

    labels: Ints
    train: Ints
    val: Ints | None
    test: Ints
    class_weights: Floats

    @property
    def watched(self) -> tuple[str, Ints]:
        return ("test", self.test) if self.val is None else ("val", self.val)


@dataclass(frozen=True, eq=False)
class Chosen:
    """Outcome of a training, before an optional refit on all training rows.

    Attributes
    ----------
    epochs, best_epoch : int
        Epoch of the kept weights, and epoch with the highest score.
    share : float
        Fraction of the way from the initial to the kept weights (see `Training.keep`).
    temperature : float
        Temperature of the head.
    history : list of dict
        One record per epoch.
    probabilities : ndarray of float64, shape (n_val, 5), or None
        Class probabilities of the validation rows; None if nothing is validated.
    """

    epochs: int
    share: float
    best_epoch: int
    temperature: float
    history: History
    probabilities: Floats | None

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Plain values and tensors for a checkpoint."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return values, {"probabilities": torch.from_numpy(values.pop("probabilities"))}

    @classmethod
    def of(cls, values: dict[str, Any], tensors: dict[str, Tensor]) -> "Chosen":
        return cls(**values, probabilities=tensors["probabilities"].numpy())


@dataclass
class Position:
    """Progress of a training. `done` counts the steps of the current epoch; `losses` is the sum of their losses."""

    epoch: int = 0
    step: int = 0
    done: int = 0
    losses: float = 0.0
    lr: float | None = None
    seconds: float = 0.0
    micro_batch: int | None = None
    kept_epoch: int = 0
    best_epoch: int = 0
    best_score: float = -math.inf
    history: History = field(default_factory=list)
