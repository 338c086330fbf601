"""Which weights learn, and how fast, in every supported kind of model."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from PIL import Image
from torch import nn

from consistency.backbone.model import Backbone, load_backbone
from consistency.backbone.resolve import resolve_backbone
from consistency.errors import InputError
from finetune.classifier import (
    PairClassifier,
    add_adapters,
    check_choice,
    checkpointed,
    choose_weights,
    merge_adapters,
    parameter_groups,
)
from finetune.config import FinetuneConfig
from heads.model import Head
from tests.builders.models import KINDS, Tower, make_other_folder

TOWERS = ("vision_model", "text_model")
ALL = (*KINDS, "roberta", "vit")  # towers that a vision-text-dual-encoder may have too


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Backbone]:
    made: dict[str, Path] = {}

    def load(kind: str) -> Backbone:
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp("models") / "model"
            KINDS[kind](made[kind]) if kind in KINDS else make_other_folder(made[kind], kind)
        return load_backbone(resolve_backbone(str(made[kind])), device="cpu", precision="fp32")

    return load


def classifier_of(backbone: Backbone, config: FinetuneConfig) -> PairClassifier:
    return PairClassifier(backbone, Head(config.head, backbone.embed_dim), config.head.features)


def layers_of(tower: nn.Module) -> nn.ModuleList:
    return next(module for module in tower.modules() if isinstance(module, nn.ModuleList))


@pytest.mark.parametrize("freeze", [0, 1, "most"])
@pytest.mark.parametrize("kind", ALL)
def test_rates_and_freezing_by_layer(kind: str, freeze: int | str, load: Callable[[str], Backbone]) -> None:
    """By the order in which the modules are defined, not by their names."""
    backbone = load(kind)
    frozen = max(len(layers_of(getattr(backbone.model, tower))) for tower in TOWERS) if freeze == "most" else freeze
    config = replace(FinetuneConfig.default(), lr=1.0, layer_decay=0.5, freeze=frozen)
    check_choice(backbone.model, config)
    classifier = classifier_of(backbone, config)
    groups = parameter_groups(classifier, choose_weights(classifier, config), config)
    rates = {id(parameter): group["rate"] for group in groups for parameter in group["params"]}
    for tower in TOWERS:
        depth, layers = 0, layers_of(getattr(backbone.model, tower))
        depths = {id(parameter): n for n, layer in enumerate(layers, start=1) for parameter in layer.parameters()}
        top = len(layers) + 1
        for name, parameter in getattr(backbone.model, tower).named_parameters():
            depth = depths.get(id(parameter), top if depth else 0)
            learns = frozen == 0 or depth > int(frozen) or depth == top
            assert rates.get(id(parameter)) == (0.5 ** (top - depth) if learns else None), name
    for name, parameter in backbone.model.named_parameters():
        if "projection" in name and not name.startswith(TOWERS):
            assert rates[id(parameter)] == 1.0, name


@pytest.mark.parametrize("kind", ALL)
def test_lora_adapts_every_layer_of_both_towers(kind: str, load: Callable[[str], Backbone]) -> None:
    pytest.importorskip("peft")
    backbone, config = load(kind), FinetuneConfig(lora=2)
    names = list(backbone.model.state_dict())
    check_choice(backbone.model, config)
    learning = {id(parameter) for parameter in choose_weights(classifier_of(backbone, config), config).values()}
    for tower in TOWERS:
        for layer in layers_of(getattr(backbone.model, tower)):
            adapters = [parameter for parameter in layer.parameters() if id(parameter) in learning]
            assert len(adapters) == 2 * 4  # query, key, value, output
    merge_adapters(backbone.model)
    assert list(backbone.model.state_dict()) == names
    add_adapters(backbone.model, 2)  # as a refit does; peft warns of a model that has some


def test_lora_without_a_place_is_told() -> None:
    pytest.importorskip("peft")
    towers = (
        transformers.CLIPVisionConfig(**Tower().config(), image_size=32, patch_size=16),
        transformers.DistilBertConfig(dim=32, n_layers=2, n_heads=2, hidden_dim=64, vocab_size=50),
    )
    config = transformers.VisionTextDualEncoderConfig.from_vision_text_configs(*towers, projection_dim=32)
    model = transformers.VisionTextDualEncoderModel(config)
    with pytest.raises(InputError, match="lora finds no attention in the text tower that it knows"):
        check_choice(model, FinetuneConfig(lora=2))


@pytest.mark.parametrize(("freeze", "same"), [("text", True), ("image", False)])
def test_a_frozen_tower_drops_nothing_out(freeze: Any, same: bool, load: Callable[[str], Backbone]) -> None:
    backbone, config = load("vision-text-dual-encoder"), FinetuneConfig(freeze=freeze)  # BERT has dropout
    expected = backbone.encode_texts(["#바다"])
    classifier = classifier_of(backbone, config)
    choose_weights(classifier, config)
    classifier.train()
    assert classifier.head.training
    assert np.allclose(backbone.encode_texts(["#바다"]), expected, atol=1e-6) == same


@pytest.mark.parametrize("kind", ALL)
def test_every_kind_can_compute_its_layers_again(kind: str, load: Callable[[str], Backbone]) -> None:
    """The first layer of both towers runs a second time for the gradient; a last one keeps little, and does not."""
    folder = Path(load(kind).resolved.folder)
    backbone = load_backbone(resolve_backbone(str(folder)), device="cpu", precision="fp32", trainable=True)
    check_choice(backbone.model, replace(FinetuneConfig.default(), gradient_checkpointing=True))
    for part in checkpointed(backbone.model):
        part.activation_checkpointing_enable({"use_reentrant": False})
    runs: Counter[str] = Counter()
    for name in TOWERS:
        within = next(part for part in layers_of(getattr(backbone.model, name))[0].modules() if type(part) is nn.Linear)
        within.register_forward_pre_hook(lambda *_, name=name: runs.update([name]))  # type: ignore[misc]
    backbone.model.train()
    image = backbone.prepare(Image.new("RGB", (40, 40), "red"))
    images = backbone.image_embeds(backbone.pixels(np.stack([image])))
    texts = backbone.text_embeds(*backbone.text_batch(backbone.token_ids(["바다"])))
    assert runs == dict.fromkeys(TOWERS, 1)
    (images * texts).sum().backward()
    assert runs == {name: 1 if len(layers_of(getattr(backbone.model, name))) == 1 else 2 for name in TOWERS}
