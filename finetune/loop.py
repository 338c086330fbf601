"""The training loop of a fine-tuning.

Every random number is derived from the seed and the step number. A checkpoint therefore holds only weights and
positions, and a resumed training draws the same random numbers as an uninterrupted one.
"""

import math
import sys
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from consistency.backbone.resolve import choose_precision
from consistency.durable import write_file
from consistency.errors import DivergenceError, InputError, OutOfMemory, is_out_of_memory
from consistency.evaluation.metrics import METRICS, evaluate
from consistency.progress import Progress
from consistency.scale import SCORES
from consistency.text import to_csv
from finetune.checkpoint import Checkpoints, Parts
from finetune.classifier import (
    PairClassifier,
    choose_weights,
    draw_views,
    embed,
    holding,
    parameter_groups,
    seen,
    top_rate,
)
from finetune.config import FinetuneConfig
from finetune.dataset import Floats, Ints, PairData, Step, epoch_steps, with_images
from heads.config import rate_share
from heads.losses import row_losses, row_masses
from heads.model import TrainedHead

# From epoch to epoch, QWK and macro-F1 on n images vary by about SCATTER / sqrt(n). Among epochs that differ by less,
# the latest is kept: it trained at the lowest learning rates, and the best of many noisy scores is mostly luck.
SCATTER = 0.25
SHARES = (0.2, 0.4, 0.6, 0.8, 1.0)  # fractions of the way from the initial to the kept weights

History = list[dict[str, Any]]
SHOWN = ("epoch", "step", "seconds", "lr", "train_loss", "val_loss", *METRICS, "measured_on")


@dataclass(frozen=True, eq=False)
class Rows:
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


class Training:
    """Training of a classifier: `run` trains to the end, `keep` then loads the kept weights.

    With `chosen` it is a refit: it trains for `chosen.epochs` epochs, measures nothing and keeps the last weights.
    """

    def __init__(
        self,
        classifier: PairClassifier,
        data: PairData,
        rows: Rows,
        config: FinetuneConfig,
        *,
        seed: int,
        out: Path,
        checkpoints: Checkpoints,
        warm: bool,
        chosen: Chosen | None = None,
    ) -> None:
        self.classifier, self.data, self.rows, self.config = classifier, data, rows, config
        self.seed, self.out, self.checkpoints, self.warm, self.chosen = seed, out, checkpoints, warm, chosen
        self.device = torch.device(classifier.backbone.device)
        self.learning = choose_weights(classifier, config)
        kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.optimizer]
        self.optimizer = kind(parameter_groups(classifier, self.learning, config), fused=True)
        self.autocast = autocast_dtype(config, classifier.backbone.device)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.autocast == torch.float16)
        self.average = self._copy(self.device) if config.average == "ema" else None
        self.start = self._copy("cpu") if config.average == "interpolate" else {}
        self.kept: dict[str, Tensor] = {}
        self.best_test: Floats | None = None
        self.share = 1.0
        self.at = Position(micro_batch=None if config.micro_batch == "auto" else config.micro_batch)
        self.row_weights = rows.class_weights[rows.labels]
        labels, weights = torch.from_numpy(rows.labels), torch.from_numpy(self.row_weights)
        self.row_masses = row_masses(config.head.loss, labels, weights).numpy()
        steps = len(self._steps(1))
        self.total = min(config.epochs * steps, config.max_steps or sys.maxsize)
        self.planned = self.total if chosen is None else min(self.total, chosen.epochs * steps)
        if not self.total:
            raise InputError(f"{len(rows.train)} train rows make no step of {config.accumulation} batches: add rows")
        self.labels = labels.to(self.device)
        watched = np.unique(data.image_index[rows.watched[1]])
        self.scatter = SCATTER / len(watched) ** 0.5
        self.warmup = int(config.warmup * self.total)
        if config.gradient_checkpointing:
            model = classifier.model  # transformers renamed it in 5.2x
            enable = getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)
            enable({"use_reentrant": False})

    def run(self, progress: Progress, on_epoch: Callable[[dict[str, Any]], None]) -> None:
        at, begun = self.at, time.monotonic() - self.at.seconds
        name = "Fine-tuning" if self.chosen is None else "The same on all train rows"
        with progress(name, self.planned) as advance:
            advance(at.step, epoch=at.epoch)
            if at.epoch == 0:
                if self.warm:
                    self._end_epoch(on_epoch)
                at.epoch = 1
            while (at.done or at.step < self.planned) and not self._out_of_patience():
                steps = self._steps(at.epoch)[at.done :][: self.planned - at.step]
                for step, numbers, images in with_images(self.data, steps):
                    at.losses += self.update(step, numbers, images)
                    at.step, at.done, at.seconds = at.step + 1, at.done + 1, time.monotonic() - begun
                    advance(1, epoch=at.epoch, loss=f"{at.losses / at.done:.3f}")
                    if self.checkpoints.due(at.step):
                        self.checkpoint()
                self._end_epoch(on_epoch)
                at.epoch, at.done, at.losses = at.epoch + 1, 0, 0.0

    @torch.no_grad()
    def keep(self) -> None:
        """Load the kept weights into the classifier, interpolated with the initial weights if configured."""
        for name, value in self.kept.items():
            self.learning[name].copy_(value)
        if self.config.average == "interpolate" and self.kept:
            self.share = self._best_share() if self.chosen is None else self.chosen.share
            self._mix(self.share)

    def _best_share(self) -> float:
        """Largest share whose validation score is within the scatter of the best; 0.5 if nothing is validated."""
        val = self.rows.val
        if val is None:
            return 0.5
        scores = {}
        for share in SHARES:
            self._mix(share)
            score = self._record("val", val, self._probabilities(val))[self.config.select]
            scores[share] = -math.inf if score is None else score
        return max(share for share, score in scores.items() if score >= max(scores.values()) - self.scatter)

    def _mix(self, share: float) -> None:
        for name, parameter in self.learning.items():
            parameter.copy_(torch.lerp(self.start[name], self.kept[name], share))

    def _probabilities(self, rows: Ints) -> Floats:
        return self.answer().predict_proba(embed(self.classifier.backbone, self.data, rows))

    def answer(self) -> TrainedHead:
        """Return a copy of the current head on the CPU."""
        head = deepcopy(self.classifier.head).cpu().eval()
        return TrainedHead(self.config.head, head, self.classifier.backbone.embed_dim, self.seed)

    def restore(self, state: dict[str, Any], parts: Parts) -> None:
        self.at = Position(**state["position"])
        if self.config.micro_batch != "auto":  # the option may have changed since the checkpoint
            self.at.micro_batch = self.config.micro_batch
        self.scaler.load_state_dict(state["scaler"])
        for name, parameter in self.learning.items():
            parameter.data.copy_(parts["weights"][name])
        for key, value in parts.get("optimizer", {}).items():
            name, _, entry = key.rpartition("/")
            self.optimizer.state[self.learning[name]][entry] = value.to(self.device)
        if self.average is not None:
            self.average = {name: value.to(self.device) for name, value in parts["average"].items()}
        self.kept, self.start = parts.get("kept", {}), parts.get("start", {})
        if "best_test" in parts:
            self.best_test = parts["best_test"]["probabilities"].numpy()

    def checkpoint(self) -> None:
        self._require_finite()
        optimizer = {
            f"{name}/{entry}": value
            for name, parameter in self.learning.items()
            for entry, value in self.optimizer.state[parameter].items()
        }
        parts: Parts = {"weights": dict(self.learning), "optimizer": optimizer, "kept": self.kept}
        if self.start:
            parts["start"] = self.start
        if self.average is not None:
            parts["average"] = self.average
        if self.best_test is not None:
            parts["best_test"] = {"probabilities": torch.from_numpy(self.best_test)}
        state = {"position": asdict(self.at), "scaler": self.scaler.state_dict()}
        if self.chosen is not None:
            state["chosen"], parts["chosen"] = self.chosen.state()
        self.checkpoints.write(self.at.step, state, parts)

    def _steps(self, epoch: int) -> list[Step]:
        return epoch_steps(
            self.config,
            self.data,
            self.rows.train,
            self.row_weights,
            row_masses=self.row_masses,
            seed=self.seed,
            epoch=epoch,
        )

    def _out_of_patience(self) -> bool:
        patience, at = self.config.patience, self.at
        return patience is not None and self.rows.val is not None and at.epoch - 1 - at.kept_epoch >= patience

    def _factor(self) -> float:
        """Factor that warmup and schedule apply to the learning rates of the next step."""
        at = self.at
        if at.step < self.warmup:
            return (at.step + 1) / self.warmup
        return rate_share(self.config.schedule, at.epoch - 1, (at.step - self.warmup) / (self.total - self.warmup))

    def update(self, step: Step, numbers: Ints, images: npt.NDArray[Any]) -> float:
        """Take one optimizer step and return the loss before it."""
        factor = self._factor()
        self.at.lr = top_rate(self.classifier.model, self.config, "image") * factor
        for group in self.optimizer.param_groups:
            group["lr"] = group["rate"] * factor
        loss = self._gradient(step, numbers, images)
        if not math.isfinite(loss):
            self._diverged(f"the loss is {loss}")
        if self.config.clip_norm is not None:
            self.scaler.unscale_(self.optimizer)
            norm = torch.nn.utils.clip_grad_norm_(self.learning.values(), self.config.clip_norm)
            if not self.scaler.is_enabled() and not norm.isfinite():
                self._diverged("the gradient is not finite")
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average is not None:
            decay = min(self.config.ema_decay, (1 + self.at.step) / (10 + self.at.step))
            weights = [self.learning[name].data for name in self.average]
            torch._foreach_lerp_(list(self.average.values()), weights, 1 - decay)
        return loss

    def _gradient(self, step: Step, numbers: Ints, images: npt.NDArray[Any]) -> float:
        """Accumulate the gradient of a step in parts that fit in memory, and return the loss."""
        while True:
            self.optimizer.zero_grad()
            torch.manual_seed(int(np.random.SeedSequence([self.seed, 2, self.at.step]).generate_state(1)[0]))
            views = draw_views(len(numbers), crop=self.config.crop, flip=self.config.flip)
            try:
                parts = step.parts(self.data, self.at.micro_batch)
                return float(sum(self._backward(part, numbers, images, views) for part in parts))
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
            self._shrink(len(numbers))  # outside the handler: its error keeps the step's tensors alive

    def _backward(self, part: Step, numbers: Ints, images: npt.NDArray[Any], views: Tensor | None) -> Tensor:
        """Backpropagate one part. `numbers`, `images` and `views` describe the distinct images of the whole step."""
        classifier, backbone = self.classifier.train(), self.classifier.backbone
        distinct, image_index = np.unique(self.data.image_index[part.rows], return_inverse=True)
        hashtags, hashtag_index = np.unique(self.data.hashtag_index[part.rows], return_inverse=True)
        shown = np.searchsorted(numbers, distinct)
        pixels = backbone.pixels(images[shown])
        if views is not None:
            pixels = seen(pixels, views[shown])
        with torch.autocast(self.device.type, self.autocast, enabled=self.autocast is not None):
            outputs = classifier(
                pixels,
                torch.from_numpy(image_index).to(self.device),
                *backbone.text_batch([self.data.tokens[number] for number in hashtags]),
                torch.from_numpy(hashtag_index).to(self.device),
            )
        losses = row_losses(self.config.head.loss, outputs.float(), self.labels[part.rows])
        loss = (losses * torch.from_numpy(part.weights).to(losses)).sum()
        self.scaler.scale(loss).backward()
        return loss.detach()

    def _shrink(self, images: int) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        now = min(self.at.micro_batch or images, images)
        if now == 1 or self.config.micro_batch != "auto":
            smaller = f"--batch-size auto (the same batches in smaller parts) or --micro-batch {now // 2}, or "
            advice = f"try {smaller if now > 1 else ''}--gradient-checkpointing"
            raise OutOfMemory(f"{self.device} has too little memory for {now} images at once: {advice}")
        self.at.micro_batch = -(-now // 2)

    def _end_epoch(self, on_epoch: Callable[[dict[str, Any]], None]) -> None:
        """Evaluate and record the epoch, and keep its weights if its score qualifies."""
        self._require_finite()
        at, (side, rows) = self.at, self.rows.watched
        if self.chosen is not None:
            if at.step == self.planned:
                with holding(self.learning, self.average):
                    self.kept, at.kept_epoch = self._copy("cpu"), at.epoch
            return
        with holding(self.learning, self.average):
            probabilities = self._probabilities(rows)
            record = self._record(side, rows, probabilities)
            score = record[self.config.select]
            better = score is not None and score > at.best_score
            if better:
                at.best_score, at.best_epoch = score, at.epoch
                self.best_test = probabilities if self.rows.val is None else None
            if not self.kept or self.rows.val is None or (score is not None and score >= at.best_score - self.scatter):
                self.kept, at.kept_epoch = self._copy("cpu"), at.epoch
        at.history.append(record)
        rows_of_csv = ([("" if r[name] is None else r[name]) for name in SHOWN] for r in at.history)
        write_file(self.out / "history.csv", to_csv(SHOWN, rows_of_csv))
        on_epoch(record)

    def _record(self, side: str, rows: Ints, probabilities: Floats) -> dict[str, Any]:
        at, labels = self.at, self.rows.labels[rows]
        weights = self.row_weights[rows]
        surprise = -np.log(np.maximum(probabilities[np.arange(len(rows)), labels], np.finfo(float).tiny))
        metrics = evaluate(labels + 1, probabilities.argmax(axis=1) + 1, probabilities @ SCORES, probabilities)
        return {
            "epoch": at.epoch,
            "step": at.step,
            "seconds": round(at.seconds, 3),
            "lr": at.lr,
            "train_loss": at.losses / at.done if at.done else None,
            "val_loss": float((surprise * weights).sum() / weights.sum()) if weights.any() else None,
            **metrics,
            "measured_on": side,
        }

    def _copy(self, device: torch.device | str) -> dict[str, Tensor]:
        return {name: parameter.detach().to(device, copy=True) for name, parameter in self.learning.items()}

    def _require_finite(self) -> None:
        for name, parameter in self.learning.items():
            if not parameter.isfinite().all():
                self._diverged(f"{name} holds NaN or infinite numbers")

    def _diverged(self, what: str) -> NoReturn:
        rates = sorted({group["rate"] for group in self.optimizer.param_groups})
        raise DivergenceError(
            f"training diverged at step {self.at.step + 1}, epoch {self.at.epoch} ({what}) with learning rates from "
            f"{rates[0]:.1e} to {rates[-1]:.1e}: lower --lr and --head-lr"
        )


def autocast_dtype(config: FinetuneConfig, device: str) -> torch.dtype | None:
    """Autocast dtype: None on a CPU, and for bf16 on a GPU that does not support it."""
    if config.autocast == "none" or not device.startswith("cuda"):
        return None
    if config.autocast == "fp16":
        return torch.float16
    return torch.bfloat16 if choose_precision("auto", device) == "bf16" else None
