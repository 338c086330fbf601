"""The gradient of a step: the same in parts, in less memory, and of the heads' own loss."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from consistency.errors import OutOfMemory
from finetune.classifier import (
    PairClassifier,
    embed,
)
from finetune.dataset import read_pair_data
from finetune.prepare import class_weights
from heads.losses import OUTPUTS, loss
from heads.model import Head, HeadConfig, TrainedHead
from tests.builders.finetuning import Case, equal_weights, make_case, quick, weights_of


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return make_case(tmp_path_factory.mktemp("train"))


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
    assert equal_weights(weights_of(result.model.head.head), weights_of(expected.model.head.head))
    with pytest.raises(
        OutOfMemory,
        match="too little memory for 3 images at once: try --batch-size auto .* or --micro-batch 1",
    ):
        case.run(replace(config, micro_batch=3), tmp_path)
    monkeypatch.setattr(SmallDevice, "room", 0)
    with pytest.raises(OutOfMemory, match="for 1 images at once: try --gradient-checkpointing"):
        case.run(config, tmp_path)


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
