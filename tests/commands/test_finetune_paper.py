"""The paper preset against the published recipe, written down plainly."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, CLIPModel

from consistency.backbone.model import load_backbone
from consistency.backbone.resolve import resolve_backbone
from consistency.errors import InputError
from finetune.config import FinetuneConfig
from finetune.model import load_finetuned, load_published, save_finetuned
from finetune.train import FinetuneResult
from heads.model import Head
from tests.builders.finetuning import Case, PublishedLoop, answers_of, make_case
from tests.builders.models import change_json

SEED = 3
# Dropout's masks depend on how rows are put together, and the published loop has no seed: compared without.
PAPER = replace(
    FinetuneConfig.paper(), head=replace(FinetuneConfig.paper().head, dropout=0.0), epochs=2, lr=1e-3, head_lr=1e-3
)


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return make_case(tmp_path_factory.mktemp("paper"))


@pytest.fixture(scope="module")
def tuned(case: Case, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FinetuneResult]:
    out = tmp_path_factory.mktemp("tuned")
    result = case.run(PAPER, out, validate=False, class_weights_from=case.table.labels)
    save_finetuned(out, result.model)
    return out, result


@pytest.fixture(scope="module")
def published(case: Case) -> PublishedLoop:
    """The published loop on the rows that ours draws."""
    head = Head(PAPER.head, 32, seed=SEED)
    loop = PublishedLoop(case.model, case.folder / "image", case.table, head, dropout=0.0, lr=1e-3)
    for epoch in range(1, PAPER.epochs + 1):
        order = np.random.default_rng([SEED, 1, epoch]).permutation(case.train)
        assert -(-len(order) // 8) % 2 == 1  # a batch is dropped
        loop.epoch(order)
    return loop


def test_paper_preset_is_the_published_loop(
    case: Case, tuned: tuple[Path, FinetuneResult], published: PublishedLoop
) -> None:
    result = tuned[1]
    expected = dict(published.model.named_parameters())
    untouched = dict(CLIPModel.from_pretrained(case.model).named_parameters())
    for name, value in result.model.backbone.model.named_parameters():
        if "k_proj.bias" in name:
            continue  # softmax cancels it: its gradient is rounding noise, which Adam makes as large as any
        assert (value - expected[name]).abs().max() < 2e-5, name
        if name != "logit_scale":
            assert (value - untouched[name]).abs().max() > 5e-4  # it did learn: 40 times the tolerance
    for name, value in result.model.head.head.state_dict().items():
        torch.testing.assert_close(value, published.classifier.state_dict()[name], atol=2e-5, rtol=0)
    answers = result.probabilities["test"].argmax(axis=1)
    assert answers.tolist() == published.answer(result.rows["test"]).tolist()


def test_last_and_best_epoch_on_the_test_rows(case: Case, tuned: tuple[Path, FinetuneResult]) -> None:
    result = tuned[1]
    assert [(record["epoch"], record["step"], record["measured_on"]) for record in result.history] == [
        (1, 2, "test"),  # of 5 batches 4 count
        (2, 4, "test"),
    ]
    assert result.kept_epoch == 2
    assert result.best_epoch in (1, 2)
    scores = case.table.scores[result.rows["test"]]
    last = result.probabilities["test"].argmax(axis=1) + 1
    assert (last == scores).mean() == pytest.approx(result.history[-1]["accuracy"])
    assert result.best_test is not None
    best = result.best_test.argmax(axis=1) + 1
    assert (best == scores).mean() == pytest.approx(result.history[result.best_epoch - 1]["accuracy"])


def test_published_file(case: Case, tuned: tuple[Path, FinetuneResult]) -> None:
    out, result = tuned
    path = out / "fine_tuned_backbone.pth"
    state = torch.load(path, weights_only=True)
    theirs = CLIPModel.from_pretrained(case.model).state_dict()
    assert set(state) == {f"base_model.{name}" for name in theirs} | {
        f"classifier.{name}" for name in ("0.weight", "0.bias", "3.weight", "3.bias")
    }
    loaded = load_published(path, case.backbone())
    _, probabilities, _ = answers_of(loaded, case.table, case.files)
    np.testing.assert_allclose(probabilities[result.rows["test"]], result.probabilities["test"], atol=1e-6)


def test_published_file_of_an_old_transformers(case: Case, tuned: tuple[Path, FinetuneResult], tmp_path: Path) -> None:
    state = torch.load(tuned[0] / "fine_tuned_backbone.pth", weights_only=True)
    old = {name.replace("base_model.", "clip_model."): value for name, value in state.items()}
    old["clip_model.text_model.embeddings.position_ids"] = torch.arange(77)[None]
    torch.save(old, tmp_path / "old.pth")
    loaded = load_published(tmp_path / "old.pth", case.backbone())
    _, probabilities, _ = answers_of(loaded, case.table, case.files)
    expected = tuned[1].probabilities["test"]
    np.testing.assert_allclose(probabilities[tuned[1].rows["test"]], expected, atol=1e-6)


def test_a_file_that_is_no_fine_tuning(case: Case, tmp_path: Path) -> None:
    torch.save({"0.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match="other.pth is no published fine-tuning of"):
        load_published(tmp_path / "other.pth", case.backbone())


def test_the_run_squashes_pictures_from_now_on(case: Case, tuned: tuple[Path, FinetuneResult]) -> None:
    """Everything that loads the folder prepares images as they were trained on, transformers itself included."""
    picture = Image.open(case.folder / "image" / "2.png").convert("RGB")
    assert picture.width > picture.height
    squashed = np.asarray(picture.resize((32, 32)))
    backbone = load_backbone(resolve_backbone(str(tuned[0])), device="cpu", precision="fp32")
    np.testing.assert_array_equal(backbone.prepare(picture), squashed)
    processor = AutoImageProcessor.from_pretrained(tuned[0] / "model", backend="pil")
    theirs = processor(picture, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(backbone.pixels(np.stack([squashed])), theirs, atol=1e-5, rtol=0)
    assert load_finetuned(tuned[0], device="cpu").config == PAPER


def test_a_source_with_another_filter_is_saved_as_it_was_trained(case: Case, tmp_path: Path) -> None:
    shutil.copytree(case.model, tmp_path / "bilinear")
    change_json(tmp_path / "bilinear" / "preprocessor_config.json", resample=2)
    result = replace(case, model=tmp_path / "bilinear").run(replace(PAPER, epochs=1), tmp_path / "run", validate=False)
    save_finetuned(tmp_path / "run", result.model)
    reloaded = load_finetuned(tmp_path / "run", device="cpu").backbone.spec
    assert reloaded == result.model.backbone.spec
    assert reloaded is not None
    assert reloaded.resample == 3  # Pillow's bicubic, as published
