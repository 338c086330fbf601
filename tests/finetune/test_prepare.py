"""What a fine-tuning refuses before it starts, and what a second training shares with the first."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from consistency.backbone.model import load_backbone
from consistency.backbone.resolve import resolve_backbone
from consistency.data.files import find_images
from consistency.errors import BackboneError, InputError
from finetune.config import FinetuneConfig
from finetune.train import finetune
from tests.builders.finetuning import Case, equal_weights, make_case, quick, weights_of


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return make_case(tmp_path_factory.mktemp("prepare"))


@pytest.mark.parametrize("config", [quick(refit=True), FinetuneConfig.paper()], ids=["default", "paper"])
def test_a_training_again_is_the_training_of_a_fresh_start(case: Case, tmp_path: Path, config: FinetuneConfig) -> None:
    """Other rows and another seed, after the backbone was tuned in place: the bits of a process of its own."""
    config = replace(config, epochs=2)
    validate = config.refit
    other = replace(case, train=case.test, val=case.train, test=case.val)
    fresh = other.prepare(config, seed=8, validate=validate)
    expected = finetune(fresh, out=tmp_path / "fresh")

    first = case.prepare(config, validate=validate)
    finetune(first, out=tmp_path / "first")
    second = first.again(other.sides(validate=validate), seed=8)
    assert second.data is first.data  # nothing is decoded twice
    assert second.identity == fresh.identity != first.identity
    found = finetune(second, out=tmp_path / "second")
    np.testing.assert_array_equal(found.probabilities["test"], expected.probabilities["test"])
    assert found.model.trained_on == expected.model.trained_on
    assert equal_weights(weights_of(found.model.backbone.model), weights_of(expected.model.backbone.model))


def test_a_backbone_in_half_precision_is_refused(case: Case, tmp_path: Path) -> None:
    half = load_backbone(resolve_backbone(str(case.model)), device="cpu", precision="bf16")
    with pytest.raises(BackboneError, match="fine-tuning needs weights in fp32, not bf16"):
        case.run(quick(), tmp_path, backbone=half)


def test_no_usable_picture(case: Case, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(case.folder / "image", folder)
    for name in set(case.table.images[case.val]):
        (folder / name).unlink()
    gone = replace(case, files=find_images(case.table.images, folder))
    with pytest.raises(InputError, match=f"none of the {len(case.val)} val rows has an image that can be used"):
        gone.run(quick(), tmp_path)
