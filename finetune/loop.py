"""The training loop of a fine-tuning.

Every random number is derived from the seed and the step number. A checkpoint therefore holds only weights and
positions, and a resumed training draws the same random numbers as an uninterrupted one.
"""

import math
import sys
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from consistency.durable import write_file
from consistency.errors import DivergenceError, InputError
from consistency.evaluation.metrics import METRICS, evaluate
from consistency.progress import Progress
from consistency.scale import SCORES
from consistency.text import to_csv
from finetune import parallel
from finetune.checkpoint import Checkpoints, Parts
from finetune.classifier import (
    PairClassifier,
    checkpointed,
    choose_weights,
    embed,
    holding,
    parameter_groups,
    top_rate,
)
from finetune.config import FinetuneConfig
from finetune.dataset import Floats, Ints, PairData, Step, epoch_steps, with_images
from finetune.gradient import Gradient
from finetune.row_dropout import checkpointing_contexts
from finetune.state import Chosen, LabelledRows, Position
from heads.config import rate_share
from heads.losses import row_masses
from heads.model import TrainedHead

# From epoch to epoch, QWK and macro-F1 on n images vary by about SCATTER / sqrt(n). Among epochs that differ by less,
# the latest is kept: it trained at the lowest learning rates, and the best of many noisy scores is mostly luck.
SCATTER = 0.25
SHARES = (0.2, 0.4, 0.6, 0.8, 1.0)  # fractions of the way from the initial to the kept weights

SHOWN = ("epoch", "step", "seconds", "lr", "train_loss", "val_loss", *METRICS, "measured_on")


class Training:
    """Training of a classifier: `run` trains to the end, `keep` then loads the kept weights.

    With `chosen` it is a refit: it trains for `chosen.epochs` epochs, measures nothing and keeps the last weights.
    """

    def __init__(
        self,
        classifier: PairClassifier,
        data: PairData,
        rows: LabelledRows,
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
        self.gradient = Gradient(classifier, data, rows.labels, config, self.optimizer)
        self.scaler = self.gradient.scaler
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
        watched = np.unique(data.image_index[rows.watched[1]])
        self.scatter = SCATTER / len(watched) ** 0.5
        self.warmup = int(config.warmup * self.total)
        if config.gradient_checkpointing:
            for tower in checkpointed(classifier.model):  # transformers renamed it in 5.2x
                enable = getattr(tower, "activation_checkpointing_enable", tower.gradient_checkpointing_enable)
                enable({"use_reentrant": False, "context_fn": checkpointing_contexts})
        parallel.copy_lead([parameter.data for parameter in self.learning.values()])

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
                    if parallel.leads() and self.checkpoints.due(at.step):
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
        seed = int(np.random.SeedSequence([self.seed, 2, self.at.step]).generate_state(1)[0])
        loss = self.gradient.accumulate(step, numbers, images, at=self.at, seed=seed)
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
        if parallel.leads():
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
