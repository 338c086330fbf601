"""The options of `finetune` make its recipe."""

from pathlib import Path

import pytest

from consistency.options import Encoding, FinetuneOptions
from finetune.config import FinetuneConfig
from heads.config import HeadConfig
from heads.model import Head, TrainedHead
from koclip_consistency.workflows.finetune import config_of


def test_without_options_the_recipe_is_the_preset() -> None:
    assert config_of(FinetuneOptions()) == FinetuneConfig.default()
    published = Encoding(decode="published")
    assert config_of(FinetuneOptions(preset="paper", encoding=published)) == FinetuneConfig.paper()


def test_options_replace_settings_of_the_recipe_and_of_its_head() -> None:
    config = config_of(FinetuneOptions(epochs=3, patience=1, refit=False, lora=4, loss="emd", class_weights="balanced"))
    assert (config.epochs, config.patience, config.refit, config.lora) == (3, 1, False, 4)
    assert (config.head.loss, config.head.class_weights) == ("emd", "balanced")
    assert config.head.hidden == FinetuneConfig.default().head.hidden


@pytest.mark.parametrize(("precision", "autocast"), [("auto", "bf16"), ("fp32", "none"), ("fp16", "fp16")])
def test_precision_names_the_autocast(precision: str, autocast: str) -> None:
    options = FinetuneOptions(encoding=Encoding(precision=precision))  # type: ignore[arg-type]
    assert config_of(options).autocast == autocast


def test_a_batch_size_that_is_given_is_not_divided() -> None:
    assert config_of(FinetuneOptions()).micro_batch == "auto"
    config = config_of(FinetuneOptions(batch_size=6))
    assert (config.batch_size, config.micro_batch) == (6, None)


def test_the_kind_of_head_of_another_run_is_taken_over(tmp_path: Path) -> None:
    kind = HeadConfig(features="concat", hidden=(7,), loss="corn")
    TrainedHead(kind, Head(kind, 16, seed=1), 16, seed=1).save(tmp_path)
    config = config_of(FinetuneOptions(preset="paper", like=tmp_path))
    assert config.head == kind
    assert config.warm_start
