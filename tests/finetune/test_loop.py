"""The loop stops, keeps, averages and shrinks as configured."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import cohen_kappa_score

from consistency.errors import DivergenceError, OutOfMemory
from finetune.classifier import (
    PairClassifier,
    embed,
)
from finetune.dataset import read_pair_data
from finetune.model import load_finetuned
from finetune.train import class_weights
from heads.losses import OUTPUTS, loss, row_losses
from heads.model import Head, HeadConfig, TrainedHead
from tests.builders.finetuning import Case, make_case, quick


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return make_case(tmp_path_factory.mktemp("train"))


def weights_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_early_stopping(case: Case, tmp_path: Path) -> None:
    """With a rate that destroys everything no epoch comes near the warm start: its weights are kept."""
    linear = HeadConfig(hidden=(), epochs=300, lr=0.05, batch_size=16)
    config = quick(head=linear, epochs=20, patience=2, lr=0.5, head_lr=0.5, average="none", warmup=0.0)
    watched = replace(case, val=case.train)  # which the warm start fits, and a ruined model does not
    result = watched.run(config, tmp_path)
    assert result.history[0]["qwk"] > 0.8
    assert len(result.history) == 3
    assert result.kept_epoch == 0
    assert same(weights_of(result.model.backbone.model), weights_of(case.backbone().model))


def test_max_steps(case: Case, tmp_path: Path) -> None:
    result = case.run(quick(max_steps=4, batch_size=5), tmp_path)
    assert [record["step"] for record in result.history] == [0, 3, 4]


@pytest.mark.parametrize("augmentation", [{}, {"crop": 0.5, "flip": True}], ids=["plain", "augmented"])
def test_micro_batches_change_memory_and_nothing_else(case: Case, tmp_path: Path, augmentation: dict[str, Any]) -> None:
    head = HeadConfig(hidden=(16,), epochs=2, dropout=0.0)
    # Plain gradient descent would tell more, but Adam's first steps are steep enough if the rate is small.
    config = quick(head=head, batch_size=6, epochs=1, lr=1e-4, **augmentation)
    whole = case.run(config, tmp_path).history
    parts = case.run(replace(config, micro_batch=2), tmp_path).history
    for one, other in zip(whole, parts, strict=True):
        assert one["val_loss"] == pytest.approx(other["val_loss"], abs=1e-4)
        assert one["train_loss"] == pytest.approx(other["train_loss"], abs=1e-5)


class SmallDevice(PairClassifier):
    """A device that has memory for so many images at once."""

    room = 2

    def forward(self, pixels: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        if len(pixels) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().forward(pixels, *rest)


def test_out_of_memory_halves_the_micro_batch(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = quick(batch_size=6, epochs=2)
    expected = case.run(replace(config, micro_batch=2), tmp_path)
    monkeypatch.setattr("finetune.train.PairClassifier", SmallDevice)
    result = case.run(config, tmp_path)
    assert same(weights_of(result.model.head.head), weights_of(expected.model.head.head))
    with pytest.raises(
        OutOfMemory,
        match="too little memory for 3 images at once: try --batch-size auto .* or --micro-batch 1",
    ):
        case.run(replace(config, micro_batch=3), tmp_path)
    monkeypatch.setattr(SmallDevice, "room", 0)
    with pytest.raises(OutOfMemory, match="for 1 images at once: try --gradient-checkpointing"):
        case.run(config, tmp_path)


def test_divergence_keeps_the_last_good_weights(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def explode(name: str, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        calls.append(name)
        return row_losses(name, outputs, labels) * (float("nan") if len(calls) > 8 else 1)

    monkeypatch.setattr("finetune.loop.row_losses", explode)
    config = quick(batch_size=5, epochs=5)  # 3 steps an epoch
    with pytest.raises(
        DivergenceError,
        match=r"diverged at step 9, epoch 3 \(the loss is nan\) with learning rates from .* are kept in",
    ):
        case.run(config, tmp_path)
    monkeypatch.undo()
    kept = load_finetuned(tmp_path, device="cpu")
    expected = case.run(replace(config, epochs=5, max_steps=6), tmp_path / "other")
    rows, probabilities, _ = kept.predict_proba(case.table, case.files)
    assert len(rows) == len(case.table)
    assert np.isfinite(probabilities).all()
    assert (tmp_path / "model" / "model.safetensors").is_file()
    assert len(expected.history) == 3


def test_average_is_what_is_kept(case: Case, tmp_path: Path) -> None:
    """One step: the average is decayed by (1 + step) / (10 + step), a tenth before the first."""
    config = quick(max_steps=1, warmup=0.0)
    start = weights_of(case.backbone().model)["visual_projection.weight"]
    after = []
    for how in ({"ema_decay": 0.9}, {"ema_decay": 0.05}, {"average": "none"}):
        result = case.run(replace(config, **how), tmp_path, validate=False)
        after.append(weights_of(result.model.backbone.model)["visual_projection.weight"] - start)
    torch.testing.assert_close(after[0], 0.9 * after[2])
    torch.testing.assert_close(after[1], 0.95 * after[2])


def test_interpolation_is_between_the_start_and_the_end(case: Case, tmp_path: Path) -> None:
    """Half the way where nothing is validated."""
    config = quick(lr=1e-3)
    ends = [case.run(replace(config, average=how), tmp_path, validate=False) for how in ("none", "interpolate")]
    assert [result.share for result in ends] == [1.0, 0.5]
    start = weights_of(case.backbone().model)
    end, middle = (weights_of(result.model.backbone.model) for result in ends)
    for name, value in middle.items():
        torch.testing.assert_close(value, (start[name] + end[name]) / 2)


def test_interpolation_goes_as_far_as_validation_likes(case: Case, tmp_path: Path) -> None:
    """The share that is said gives the answers, and no share beyond it scores as well."""
    config = quick(average="interpolate", lr=3e-3, patience=None, epochs=2)
    watched = replace(case, val=case.train)
    result = watched.run(config, tmp_path)
    straight = watched.run(replace(config, average="none"), tmp_path)
    labels, start = case.table.labels, weights_of(case.backbone().model)
    assert result.kept_epoch == straight.kept_epoch > 0
    end = weights_of(straight.model.backbone.model)
    for name, value in weights_of(result.model.backbone.model).items():
        torch.testing.assert_close(value, torch.lerp(start[name], end[name], result.share))
    reached, farthest = (
        cohen_kappa_score(labels[case.train], r.probabilities["val"].argmax(axis=1), weights="quadratic")
        for r in (result, straight)
    )
    assert reached >= farthest - 0.25 / np.sqrt(12)


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_steps_loss_is_that_of_heads(case: Case, tmp_path: Path, name: str) -> None:
    """All train rows in one step, whose loss is measured before anything moves."""
    head = HeadConfig(hidden=(), loss=name, dropout=0.0, class_weights="balanced")
    config = quick(head=head, warm_start=False, batch_size=12, max_steps=1)
    result = case.run(config, tmp_path)
    backbone = case.backbone()
    pairs = embed(backbone, read_pair_data(backbone, case.table, case.files, config), case.train)
    labels = case.table.labels[case.train]
    outputs = TrainedHead(head, Head(head, pairs.dim, seed=3).eval(), pairs.dim, 3).outputs(pairs)
    weights = torch.from_numpy(class_weights(config, labels))
    expected = loss(name, outputs, torch.from_numpy(labels), weights)
    assert result.history[-1]["train_loss"] == pytest.approx(float(expected), rel=1e-5)


def test_gradient_checkpointing_changes_memory_and_nothing_else(case: Case, tmp_path: Path) -> None:
    one = case.run(quick(epochs=1), tmp_path)
    other = case.run(quick(epochs=1, gradient_checkpointing=True), tmp_path)
    np.testing.assert_allclose(one.probabilities["test"], other.probabilities["test"], atol=1e-5)
