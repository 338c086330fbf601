"""Quicker encoders give transformers' vectors, and where they can be trained, its gradients."""

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import CLIPConfig, CLIPModel

from consistency.backbone.faster import (
    fold_quick_gelu,
    has_gradients,
    pack_linear,
    trim_last_layer,
    trim_text_tower,
    untrimmed,
)

START, END, LENGTH = 98, 99, 12
ENDS = (END, 2, 50)  # as a configuration knows it, as old ones do, and another model's: not in every text
SHAPE = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}


def small_clip(end: int = END, *, activation: str = "quick_gelu") -> CLIPModel:
    text = {**SHAPE, "vocab_size": 100, "max_position_embeddings": LENGTH, "eos_token_id": end, "bos_token_id": START}
    vision = {**SHAPE, "image_size": 32, "patch_size": 8, "hidden_act": activation}
    config = CLIPConfig(text_config={**text, "hidden_act": activation}, vision_config=vision, projection_dim=8)
    torch.manual_seed(0)
    model = CLIPModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # biases begin at 0, norms at 1: that would hide mistakes
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


MODELS = {end: (small_clip(end).double(), small_clip(end).double()) for end in ENDS}
for _, changed in MODELS.values():
    trim_text_tower(changed)

bodies = st.lists(st.integers(3, 97), max_size=LENGTH - 2)


@settings(max_examples=150, deadline=None)
@given(
    texts=st.lists(bodies, min_size=1, max_size=5),
    common=st.lists(st.integers(3, 97), max_size=4),
    starts=st.booleans(),
    end=st.sampled_from(ENDS),
    filler=st.sampled_from([END, 0]),
)
def test_the_trimmed_text_tower_gives_the_same_vectors(
    texts: list[list[int]], common: list[int], starts: bool, end: int, filler: int
) -> None:
    """Of one text or several, of any length, with any start in common or none, padded with any token."""
    rows = [[START, *common, *text] if starts else [*text, *common] for text in texts]
    rows = [[*row[: LENGTH - 1], END] for row in rows]
    longest = max(map(len, rows))
    ids = torch.tensor([row + [filler] * (longest - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    whole, trimmed = MODELS[end]
    with torch.no_grad():
        wanted = whole.get_text_features(input_ids=ids, attention_mask=mask).pooler_output
        given = trimmed.get_text_features(input_ids=ids, attention_mask=mask).pooler_output
    torch.testing.assert_close(given, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.05)])
def test_layers_for_a_cpu_give_the_same_vectors(activation: str, dtype: torch.dtype, tolerance: float) -> None:
    model = small_clip(activation=activation).to(dtype)
    changed = deepcopy(model)
    fold_quick_gelu(changed)
    kinds = {type(module).__name__ for module in changed.modules()}
    assert ("SiLU" in kinds) == (activation == "quick_gelu")
    pack_linear(changed)
    pixels = torch.randn(3, 3, 32, 32, dtype=dtype)
    with torch.inference_mode():
        wanted = model.get_image_features(pixel_values=pixels).pooler_output
        given = changed.get_image_features(pixel_values=pixels).pooler_output
    torch.testing.assert_close(given, wanted, rtol=tolerance, atol=tolerance)
    assert wanted.std() > 0.1


def test_the_trimmed_image_tower_gives_the_same_vectors_and_gradients() -> None:
    model, pixels = small_clip().double(), torch.randn(3, 3, 32, 32, dtype=torch.float64)
    weights = torch.randn(3, 8, dtype=torch.float64)

    def forward_and_back() -> tuple[torch.Tensor, int, dict[str, torch.Tensor]]:
        model.zero_grad()
        output = model.get_image_features(pixel_values=pixels)
        (output.pooler_output * weights).sum().backward()
        gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        return output.pooler_output.detach(), output.last_hidden_state.shape[1], gradients

    vectors, length, gradients = forward_and_back()
    names = list(model.state_dict())
    trim_last_layer(model)
    trimmed, trimmed_length, trimmed_gradients = forward_and_back()
    assert (length, trimmed_length) == (17, 1)
    torch.testing.assert_close(trimmed, vectors, rtol=0, atol=1e-12)
    assert trimmed_gradients.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(trimmed_gradients[name], gradient, rtol=0, atol=1e-12, msg=name)
    assert list(model.state_dict()) == names


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")
def test_packed_layers_answer_alike_in_batches_of_any_size() -> None:
    """What the packed layers are kept for: a vector does not depend on what else is in its batch."""
    model = small_clip()
    fold_quick_gelu(model)
    pack_linear(model)
    pixels = torch.randn(32, 3, 32, 32)
    with torch.inference_mode():
        whole = model.get_image_features(pixel_values=pixels).pooler_output
        for size in (16, 8, 5):
            parts = [model.get_image_features(pixel_values=part).pooler_output for part in pixels.split(size)]
            torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=1e-6)


def test_a_trimmed_layer_computes_all_tokens_within_the_block() -> None:
    model, pixels = small_clip(), torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        whole = model.vision_model(pixels).last_hidden_state
        trim_last_layer(model)
        assert model.vision_model(pixels).last_hidden_state.shape == (2, 1, 16)
        with untrimmed(model):
            torch.testing.assert_close(model.vision_model(pixels).last_hidden_state, whole, rtol=0, atol=0)
        assert model.vision_model(pixels).last_hidden_state.shape == (2, 1, 16)


@pytest.mark.parametrize("rewrite", [pack_linear, fold_quick_gelu])
def test_gradients_are_not_expected_of_a_rewritten_model(rewrite: Callable[[nn.Module], None]) -> None:
    model = small_clip()
    trim_last_layer(model)
    trim_text_tower(model)
    assert has_gradients(model)
    rewrite(model)
    assert not has_gradients(model)
