import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from consistency.backbone.model import load_backbone
from consistency.backbone.resolve import resolve_backbone
from consistency.data.files import find_images, image_identity
from consistency.data.trained_on import Digests
from consistency.errors import DivergenceError, InputError
from finetune.classifier import (
    PairClassifier,
    choose_weights,
    draw_views,
    embed,
    parameter_groups,
    seen,
    top_rate,
)
from finetune.config import FinetuneConfig
from finetune.dataset import read_pair_data
from finetune.loop import Training
from finetune.model import load_finetuned, save_finetuned
from heads.model import Head, HeadConfig
from heads.train import train_head
from tests.builders.finetuning import Case, answers_of, equal_weights, make_case, quick, weights_of
from tests.builders.models import Tower, make_clip_folder


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return make_case(tmp_path_factory.mktemp("train"))


def test_it_learns(case: Case, tmp_path: Path) -> None:
    linear = HeadConfig(hidden=(), epochs=5, batch_size=16)
    result = case.run(quick(head=linear, epochs=15, lr=1e-3, head_lr=1e-2, average="none"), tmp_path)
    first, last = result.history[1], result.history[-1]
    assert last["train_loss"] < 0.6 * first["train_loss"]
    scores = [record["qwk"] for record in result.history]
    assert result.best_epoch == np.argmax(scores) > 0
    scatter = 0.25 / np.sqrt(len(set(case.table.images[case.val])))
    assert result.kept_epoch == max(epoch for epoch, score in enumerate(scores) if score >= max(scores) - scatter)
    kept = result.history[result.kept_epoch]
    answers = result.probabilities["val"].argmax(axis=1)
    assert (answers == case.table.labels[case.val]).mean() == pytest.approx(kept["accuracy"])


def test_temperature_is_fitted_on_validation_rows_alone(case: Case, tmp_path: Path) -> None:
    config = quick(epochs=4, lr=1e-4, head_lr=1e-2)
    result = case.run(config, tmp_path / "validated")
    temperature = result.model.head.temperature
    labels = case.table.labels[case.val]

    def log_loss(at: float) -> float:
        logits = np.log(result.probabilities["val"]) * temperature / at
        chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        return float(-np.log(chances[np.arange(len(labels)), labels]).mean())

    assert temperature != 1
    assert log_loss(temperature) <= min(map(log_loss, (0.8 * temperature, 0.97 * temperature, 1.03 * temperature, 1)))
    assert case.run(config, tmp_path / "published", validate=False).model.head.temperature == 1


def test_history_is_on_disk_after_every_epoch(case: Case, tmp_path: Path) -> None:
    lengths = []

    def on_epoch(record: dict[str, Any]) -> None:
        lines = (tmp_path / "history.csv").read_text().splitlines()
        lengths.append(len(lines))
        assert lines[-1].startswith(f"{record['epoch']},{record['step']},")

    case.run(quick(), tmp_path, on_epoch=on_epoch)
    assert lengths == [2, 3, 4, 5]


def test_epoch_zero_is_the_warm_started_head(case: Case, tmp_path: Path) -> None:
    """The head that was trained on the frozen embeddings, before anything moved."""
    config = quick()
    result = case.run(config, tmp_path)
    backbone = case.backbone()
    data = read_pair_data(backbone, case.table, case.files, config)
    labels = case.table.labels
    pairs = embed(backbone, data, case.train)
    head, _ = train_head(config.head, pairs, labels[case.train], seed=3)
    answer = head.predict_proba(embed(backbone, data, case.val))
    record = result.history[0]
    assert (record["epoch"], record["step"], record["train_loss"]) == (0, 0, None)
    assert record["accuracy"] == pytest.approx((answer.argmax(axis=1) == labels[case.val]).mean())


def test_the_warm_start_fits_the_train_rows_through_standardised_features(case: Case, tmp_path: Path) -> None:
    """A head on plain features that fits them as if they were centred and scaled."""
    linear = HeadConfig(hidden=(), epochs=200, lr=0.05, weight_decay=0.0, batch_size=36)
    result = replace(case, val=case.train).run(quick(head=linear, epochs=1), tmp_path)
    assert result.history[0]["accuracy"] > 0.95


@pytest.mark.parametrize(
    "kind", [HeadConfig(features="concat", hidden=(7,)), HeadConfig(hidden=(), optimizer="ridge", weight_decay=1.0)]
)
def test_any_kind_of_head_can_begin(case: Case, tmp_path: Path, kind: HeadConfig) -> None:
    result = case.run(quick(head=kind, epochs=1), tmp_path)
    assert result.model.config.head == result.model.head.config == kind
    assert [record["epoch"] for record in result.history] == [0, 1]


def test_same_seed_same_weights_and_the_callers_chance_is_untouched(case: Case, tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one = case.run(quick(), tmp_path)
    assert torch.equal(torch.rand(3), expected)
    other = case.run(quick(), tmp_path)
    third = case.run(quick(), tmp_path, seed=4)
    assert equal_weights(weights_of(one.model.backbone.model), weights_of(other.model.backbone.model))
    assert equal_weights(weights_of(one.model.head.head), weights_of(other.model.head.head))
    assert not equal_weights(weights_of(one.model.head.head), weights_of(third.model.head.head))


def everything(case: Case) -> Case:
    return replace(case, train=np.sort(np.concatenate([case.train, case.val])))


def seen_in(case: Case, rows: Any) -> Digests:
    return Digests.of(image_identity(case.table.images, case.files)[rows], case.table.hashtags[rows])


def test_what_was_trained_and_what_was_validated_on_is_recorded(case: Case, tmp_path: Path) -> None:
    result = case.run(quick(epochs=1), tmp_path)
    record = result.model.trained_on
    assert record is not None
    assert record.train == seen_in(case, case.train)
    assert record.val == seen_in(case, case.val)
    assert not record.train.pairs & record.val.pairs
    test = seen_in(case, case.test)
    assert not test.pairs & (record.train.pairs | record.val.pairs)


def test_a_refit_has_trained_on_what_validated_it_too(case: Case, tmp_path: Path) -> None:
    record = case.run(quick(epochs=1, refit=True), tmp_path).model.trained_on
    before = load_finetuned(tmp_path, device="cpu").trained_on  # saved before the refit
    assert record is not None
    assert before is not None
    assert record.train == seen_in(case, np.concatenate([case.train, case.val]))
    assert before.train == seen_in(case, case.train)
    assert record.val == before.val == seen_in(case, case.val)


def test_tuning_a_tuned_backbone_carries_its_record_on(case: Case, tmp_path: Path) -> None:
    save_finetuned(tmp_path / "first", case.run(quick(epochs=1), tmp_path / "first").model)
    tuned = load_backbone(resolve_backbone(str(tmp_path / "first")), device="cpu", precision="fp32")
    again = replace(case, train=case.test, val=case.train[:5], test=case.val)
    record = again.run(quick(epochs=1), tmp_path / "second", backbone=tuned).model.trained_on
    assert record is not None
    assert record.train == seen_in(case, np.concatenate([case.train, case.test]))
    assert record.val == seen_in(case, np.concatenate([case.val, case.train[:5]]))


def test_a_row_without_a_usable_image_was_not_trained_on(case: Case, tmp_path: Path) -> None:
    shutil.copytree(case.folder / "image", tmp_path / "image")
    broken = case.table.images[case.train[0]]
    (tmp_path / "image" / broken).write_bytes(b"no image")
    files = find_images(case.table.images, tmp_path / "image")
    record = replace(case, files=files).run(quick(epochs=1), tmp_path / "run").model.trained_on
    assert record is not None
    used = [row for row in case.train if case.table.images[row] != broken]
    assert record.train == seen_in(case, used)


def test_a_refit_trains_as_long_on_all_rows_and_measures_nothing(case: Case, tmp_path: Path) -> None:
    """As a training does that is told the number of epochs and has no rows to validate on."""
    config = quick(epochs=6, warm_start=False, schedule="step", warmup=0.0, lr=1e-2, head_lr=3e-2)
    chosen = case.run(config, tmp_path / "chosen")
    backbone = case.backbone()
    refit = case.run(replace(config, refit=True), tmp_path / "refit", backbone=backbone)
    assert refit.model.backbone is backbone  # no second model in memory
    assert 0 < refit.kept_epoch == chosen.kept_epoch
    plain = everything(case).run(replace(config, epochs=chosen.kept_epoch), tmp_path / "plain", validate=False)
    assert equal_weights(weights_of(refit.model.backbone.model), weights_of(plain.model.backbone.model))
    assert equal_weights(weights_of(refit.model.head.head), weights_of(plain.model.head.head))
    assert not equal_weights(weights_of(refit.model.head.head), weights_of(chosen.model.head.head))
    assert refit.model.head.temperature == chosen.model.head.temperature != 1
    assert [{**record, "seconds": 0} for record in refit.history] == [{**r, "seconds": 0} for r in chosen.history]
    np.testing.assert_array_equal(refit.probabilities["val"], chosen.probabilities["val"])
    assert refit.rows.keys() == {"val", "test"}


def test_a_refit_that_diverges_leaves_the_model_that_validation_chose(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Diverging(Training):
        def update(self, *step: Any) -> float:
            if self.chosen is not None and self.at.step == 2:
                self._diverged("the loss is nan")
            return super().update(*step)

    config = quick(epochs=6, warm_start=False, schedule="step", warmup=0.0, lr=1e-2, head_lr=3e-2)
    expected = case.run(config, tmp_path / "expected")
    monkeypatch.setattr("finetune.train.Training", Diverging)
    kept = f"of the training before the refit, the weights of epoch {expected.kept_epoch} are kept in .*run/model"
    with pytest.raises(DivergenceError, match=f"diverged at step 3, .*; {kept}$"):
        case.run(replace(config, refit=True), tmp_path / "run")
    model = load_finetuned(tmp_path / "run", device="cpu")
    assert model.head.temperature == expected.model.head.temperature != 1
    _, probabilities, _ = answers_of(model, case.table, case.files)
    np.testing.assert_allclose(probabilities[case.test], expected.probabilities["test"], atol=1e-6)


def test_where_no_epoch_is_better_a_refit_trains_the_head_alone(case: Case, tmp_path: Path) -> None:
    config = quick(epochs=2, lr=0.5, head_lr=0.5, average="none", warmup=0.0, refit=True)
    config = replace(config, head=HeadConfig(hidden=(), epochs=300, lr=0.05, batch_size=16))
    result = replace(case, val=case.train).run(config, tmp_path)
    assert result.kept_epoch == 0
    assert equal_weights(weights_of(result.model.backbone.model), weights_of(case.backbone().model))


@pytest.mark.parametrize(
    ("freeze", "learns", "rests"),
    [
        ("image", "text_projection.weight", "visual_projection.weight"),
        ("text", "vision_model.encoder.layers.0.mlp.fc1.weight", "text_model.encoder.layers.1.mlp.fc1.weight"),
        (1, "vision_model.encoder.layers.1.mlp.fc1.weight", "vision_model.encoder.layers.0.mlp.fc1.weight"),
        (2, "text_model.final_layer_norm.weight", "text_model.encoder.layers.1.mlp.fc1.weight"),
    ],
)
def test_freeze(case: Case, tmp_path: Path, freeze: int | str, learns: str, rests: str) -> None:
    before = weights_of(case.backbone().model)
    result = case.run(quick(freeze=freeze, epochs=1), tmp_path, validate=False)
    after = weights_of(result.model.backbone.model)
    assert not torch.equal(after[learns], before[learns])
    assert torch.equal(after[rests], before[rests])
    for tower in ("vision_model", "text_model"):
        embedding = next(name for name in after if name.startswith(f"{tower}.embeddings.position"))
        moved = not torch.equal(after[embedding], before[embedding])
        assert moved == (freeze == ("text" if tower == "vision_model" else "image"))


def test_freezing_more_layers_than_there_are(case: Case, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="freeze is 3, but the towers have up to 2 layers"):
        case.run(quick(freeze=3), tmp_path)


def test_rates_fall_from_the_head_to_the_first_layer(case: Case) -> None:
    config = replace(FinetuneConfig.default(), lr=1e-3, head_lr=1e-2, layer_decay=0.5, weight_decay=0.1)
    classifier = PairClassifier(case.backbone(), Head(config.head, 32), config.head.features)
    learning = choose_weights(classifier, config)
    of = {
        id(parameter): (group["rate"], group["weight_decay"])
        for group in parameter_groups(classifier, learning, config)
        for parameter in group["params"]
    }
    named = {name: of[id(parameter)] for name, parameter in learning.items()}
    assert len(of) == len(learning)
    assert "model.logit_scale" not in learning
    assert named["head.0.weight"] == (1e-2, 0.1)
    assert named["head.0.bias"] == (1e-2, 0.0)
    assert named["model.visual_projection.weight"] == (1e-3, 0.1)
    assert named["model.text_model.encoder.layers.1.mlp.fc1.weight"] == (5e-4, 0.1)
    assert named["model.text_model.encoder.layers.0.layer_norm1.weight"] == (2.5e-4, 0.0)
    assert named["model.vision_model.embeddings.class_embedding"] == (1.25e-4, 0.0)
    assert named["model.vision_model.embeddings.position_embedding.weight"] == (1.25e-4, 0.0)


def test_rate_follows_the_width(case: Case, tmp_path: Path) -> None:
    model = case.backbone().model  # both towers are 32 wide
    assert top_rate(model, FinetuneConfig.default(), "image") == pytest.approx(0.04 / 32)
    assert top_rate(model, FinetuneConfig(lora=4), "text") == pytest.approx(0.4 / 32)
    assert top_rate(model, FinetuneConfig(lr=1e-5), "text") == 1e-5


@pytest.mark.parametrize("loss", ["sord", "emd", "corn", "cumulative-link", "regression"])
def test_every_loss_of_the_heads(case: Case, tmp_path: Path, loss: str) -> None:
    linear = HeadConfig(hidden=(), epochs=2, loss=loss)
    result = case.run(quick(head=linear, epochs=8, lr=1e-3, head_lr=1e-2, average="none"), tmp_path)
    assert result.history[-1]["train_loss"] < 0.95 * result.history[1]["train_loss"]
    np.testing.assert_allclose(result.probabilities["test"].sum(axis=1), 1, atol=1e-6)


def test_augmentation(case: Case, tmp_path: Path) -> None:
    pixels = torch.arange(2 * 3 * 8 * 8, dtype=torch.float32).reshape(2, 3, 8, 8)
    assert draw_views(2, crop=1.0, flip=False) is None
    torch.manual_seed(0)
    views = draw_views(2, crop=1.0, flip=True)
    assert views is not None
    flipped = seen(pixels, views)
    for got, picture in zip(flipped, pixels, strict=True):
        mirrored = torch.allclose(got, picture.flip(-1), atol=1e-3)
        assert mirrored or torch.allclose(got, picture, atol=1e-3)
    views = draw_views(2, crop=0.5, flip=False)
    assert views is not None
    cropped = seen(pixels, views)
    assert cropped.shape == pixels.shape
    assert (cropped.amax((1, 2, 3)) <= pixels.amax((1, 2, 3)) + 1e-3).all()
    assert case.run(quick(crop=0.6, flip=True), tmp_path).history


def test_lora_without_peft(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    with pytest.raises(InputError, match=r"lora needs the package peft.*pip install"):
        case.run(quick(lora=4), tmp_path)


def test_lora_trains_few_weights_and_leaves_an_ordinary_model(case: Case, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    before = weights_of(case.backbone().model)
    result = case.run(quick(lora=2, lr=1e-2), tmp_path, validate=False)
    after = weights_of(result.model.backbone.model)
    assert after.keys() == before.keys()
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed
    assert all(name.split(".")[-2] in ("q_proj", "k_proj", "v_proj", "out_proj") for name in changed)


def test_lora_of_a_real_shape_trains_under_two_percent(tmp_path: Path) -> None:
    """ViT-B/32, its embeddings left small to spare time; their full size would only lower the share."""
    pytest.importorskip("peft")
    folder = make_clip_folder(
        tmp_path / "b32", dim=512, image_size=64, patch_size=32, vision=Tower(768, 12, 12), text=Tower(512, 12, 8)
    )
    backbone = load_backbone(resolve_backbone(str(folder)), device="cpu", precision="fp32")
    config = FinetuneConfig(lora=8)
    everything = sum(parameter.numel() for parameter in backbone.model.parameters())
    learning = choose_weights(PairClassifier(backbone, Head(config.head, 512), config.head.features), config)
    adapters = {name: parameter for name, parameter in learning.items() if not name.startswith("head.")}
    assert len(adapters) == 2 * 4 * (12 + 12)
    assert sum(parameter.numel() for parameter in adapters.values()) < 0.02 * everything
