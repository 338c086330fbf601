import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, CLIPModel, SiglipModel

from consistency.backbone.model import load_backbone
from consistency.backbone.resolve import resolve_backbone
from consistency.data.files import image_identity
from consistency.data.pairs import read_pairs
from consistency.data.trained_on import RECORD, UNKNOWN, TrainedOn
from consistency.errors import BackboneError, InputError
from finetune.model import load_finetuned, save_finetuned
from finetune.train import FinetuneResult
from tests.builders.finetuning import Case, answers_of, make_case, quick
from tests.builders.models import make_siglip_folder


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return make_case(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def saved(case: Case, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FinetuneResult]:
    out = tmp_path_factory.mktemp("run") / "clip"  # called like a backbone of ours
    result = case.run(quick(), out, validate=False)
    save_finetuned(out, result.model)
    return out, result


def test_a_saved_run_answers_as_training_ended(case: Case, saved: tuple[Path, FinetuneResult]) -> None:
    out, result = saved
    rows, probabilities, skipped = answers_of(load_finetuned(out, device="cpu"), case.table, case.files)
    assert rows.tolist() == list(range(len(case.table)))
    assert skipped == ()
    np.testing.assert_allclose(probabilities[result.rows["test"]], result.probabilities["test"], atol=1e-6)


def test_the_run_is_a_backbone(case: Case, saved: tuple[Path, FinetuneResult]) -> None:
    out, result = saved
    backbone = load_backbone(resolve_backbone(str(out)), device="cpu", precision="fp32")
    tuned = result.model.backbone
    assert backbone.spec == tuned.spec
    hashtags = list(case.table.hashtags[:5])
    np.testing.assert_allclose(backbone.encode_texts(hashtags), tuned.encode_texts(hashtags), atol=1e-6)
    assert not np.allclose(backbone.encode_texts(hashtags), case.backbone().encode_texts(hashtags), atol=1e-4)


def test_the_saved_model_carries_what_it_was_trained_on(case: Case, saved: tuple[Path, FinetuneResult]) -> None:
    out, result = saved
    record = TrainedOn.read(out / "model")
    assert record == result.model.trained_on == load_finetuned(out, device="cpu").trained_on
    assert record is not None
    assert record.train.images == set(image_identity(case.table.images, case.files)[case.train])
    assert len(record.train.pairs) == len(case.train)  # every pair of this table is distinct
    assert not record.complete  # tuned from a folder that has no record
    text = (out / "model" / RECORD).read_text()
    assert not any(name in text for name in (*case.table.images, *case.table.hashtags))


def test_a_model_of_unknown_training_leaves_no_record_behind(
    case: Case, saved: tuple[Path, FinetuneResult], tmp_path: Path
) -> None:
    known = saved[1].model
    save_finetuned(tmp_path, known)
    save_finetuned(tmp_path, replace(known, trained_on=None))
    assert not (tmp_path / "model" / RECORD).exists()
    assert resolve_backbone(str(tmp_path)).trained_on == UNKNOWN


def test_model_is_an_ordinary_hugging_face_folder(case: Case, saved: tuple[Path, FinetuneResult]) -> None:
    folder = saved[0] / "model"
    loaded: Any = CLIPModel.from_pretrained(folder, output_loading_info=True)
    model, report = loaded
    assert not any(report[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert model.dtype == torch.float32
    text = AutoTokenizer.from_pretrained(folder)(["#바다"], return_tensors="pt")
    expected = AutoTokenizer.from_pretrained(case.model)(["#바다"], return_tensors="pt")
    assert torch.equal(text["input_ids"], expected["input_ids"])
    assert load_file(folder / "model.safetensors").keys() == load_file(case.model / "model.safetensors").keys()


def test_the_default_recipe_writes_no_published_file(saved: tuple[Path, FinetuneResult]) -> None:
    assert not list(saved[0].glob("*.pth"))  # its features do not fit that layout


def test_siglip(case: Case, tmp_path: Path) -> None:
    """Another family: no causal text tower, an attention pool, no preprocessing by the shortest side."""
    folder = make_siglip_folder(tmp_path / "siglip")
    backbone = load_backbone(resolve_backbone(str(folder)), device="cpu", precision="fp32")
    result = case.run(quick(epochs=1), tmp_path / "run", validate=False, backbone=backbone)
    save_finetuned(tmp_path / "run", result.model)
    before, after = (SiglipModel.from_pretrained(path) for path in (folder, tmp_path / "run" / "model"))
    moved = {
        name
        for (name, old), new in zip(before.named_parameters(), after.parameters(), strict=True)
        if not torch.equal(old, new)
    }
    assert {"vision_model.head.probe", "text_model.head.weight"} < moved
    assert not moved & {"logit_scale", "logit_bias"}
    _, probabilities, _ = answers_of(load_finetuned(tmp_path / "run", device="cpu"), case.table, case.files)
    np.testing.assert_allclose(probabilities[result.rows["test"]], result.probabilities["test"], atol=1e-6)


def test_rows_without_a_picture_are_told(case: Case, saved: tuple[Path, FinetuneResult], tmp_path: Path) -> None:
    from consistency.data.files import find_images

    (tmp_path / "pairs.csv").write_text("Image Filename,Hashtag\n0.png,#x\ngone.png,#y\n", encoding="utf-8")
    table = read_pairs(tmp_path / "pairs.csv", require_scores=False)
    files = find_images(table.images, case.folder / "image")
    rows, probabilities, skipped = answers_of(load_finetuned(saved[0], device="cpu"), table, files)
    assert rows.tolist() == [0]
    assert probabilities.shape == (1, 5)
    assert [(line.row, line.image) for line in skipped] == [(2, "gone.png")]


def test_folders_that_hold_no_fine_tuning(saved: tuple[Path, FinetuneResult], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no fine-tuned model: .*finetune.json is missing"):
        load_finetuned(tmp_path)
    (tmp_path / "finetune.json").write_text("{")
    with pytest.raises(InputError, match="finetune.json cannot be read"):
        load_finetuned(tmp_path)
    (tmp_path / "finetune.json").write_text(json.dumps({"format": 9, "config": {}}))
    with pytest.raises(
        InputError,
        match="newer version of this program .format 9, expected 1.: upgrade",
    ):
        load_finetuned(tmp_path)


def test_damaged_weights_are_refused(case: Case, tmp_path: Path) -> None:
    save_finetuned(tmp_path, case.run(quick(epochs=1), tmp_path).model)
    path = tmp_path / "model" / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    with pytest.raises(BackboneError, match="model.safetensors is damaged"):
        load_finetuned(tmp_path, device="cpu")
