"""The loop stops, keeps and averages as configured."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import cohen_kappa_score

from consistency.errors import DivergenceError
from finetune.model import load_finetuned
from heads.losses import row_losses
from heads.model import HeadConfig
from tests.builders.finetuning import Case, answers_of, equal_weights, make_case, quick, weights_of


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return make_case(tmp_path_factory.mktemp("train"))


def test_early_stopping(case: Case, tmp_path: Path) -> None:
    """With a rate that destroys everything no epoch comes near the warm start: its weights are kept."""
    linear = HeadConfig(hidden=(), epochs=300, lr=0.05, batch_size=16)
    config = quick(head=linear, epochs=20, patience=2, lr=0.5, head_lr=0.5, average="none", warmup=0.0)
    watched = replace(case, val=case.train)  # which the warm start fits, and a ruined model does not
    result = watched.run(config, tmp_path)
    assert result.history[0]["qwk"] > 0.8
    assert len(result.history) == 3
    assert result.kept_epoch == 0
    assert equal_weights(weights_of(result.model.backbone.model), weights_of(case.backbone().model))


def test_max_steps(case: Case, tmp_path: Path) -> None:
    result = case.run(quick(max_steps=4, batch_size=5), tmp_path)
    assert [record["step"] for record in result.history] == [0, 3, 4]


def test_divergence_keeps_the_last_good_weights(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def explode(name: str, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        calls.append(name)
        return row_losses(name, outputs, labels) * (float("nan") if len(calls) > 8 else 1)

    monkeypatch.setattr("finetune.gradient.row_losses", explode)
    config = quick(batch_size=5, epochs=5)  # 3 steps an epoch
    with pytest.raises(
        DivergenceError,
        match=r"diverged at step 9, epoch 3 \(the loss is nan\) with learning rates from .* are kept in",
    ):
        case.run(config, tmp_path)
    monkeypatch.undo()
    kept = load_finetuned(tmp_path, device="cpu")
    expected = case.run(replace(config, epochs=5, max_steps=6), tmp_path / "other")
    rows, probabilities, _ = answers_of(kept, case.table, case.files)
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
