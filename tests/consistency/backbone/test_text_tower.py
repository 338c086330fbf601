"""The trimmed text tower gives transformers' vectors, whatever the texts have in common."""

from copy import deepcopy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import CLIPConfig, CLIPModel

from consistency.backbone.faster import fold_quick_gelu, pack_linear, trim_text_tower

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
def test_vectors_are_those_of_the_whole_tower(
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
def test_layers_for_a_cpu_give_the_same_vectors(activation: str) -> None:
    model = small_clip(activation=activation)
    changed = deepcopy(model)
    fold_quick_gelu(changed)
    kinds = {type(module).__name__ for module in changed.modules()}
    assert ("SiLU" in kinds) == (activation == "quick_gelu")
    pack_linear(changed)
    pixels = torch.randn(3, 3, 32, 32)
    with torch.inference_mode():
        wanted = model.get_image_features(pixel_values=pixels).pooler_output
        given = changed.get_image_features(pixel_values=pixels).pooler_output
    torch.testing.assert_close(given, wanted, rtol=1e-5, atol=1e-5)
    assert wanted.std() > 0.1
