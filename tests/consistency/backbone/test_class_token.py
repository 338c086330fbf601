"""The trimmed last layer changes neither what comes out of an image tower nor what it learns."""

import torch
from transformers import CLIPConfig, CLIPModel

from consistency.backbone.faster import trim_last_layer


def small_clip() -> CLIPModel:
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    vision = {**shape, "image_size": 32, "patch_size": 8}
    return CLIPModel(CLIPConfig(vision_config=vision, text_config=shape, projection_dim=16)).double()


def test_vectors_and_gradients_are_those_of_the_whole_layer() -> None:
    model, pixels = small_clip(), torch.randn(3, 3, 32, 32, dtype=torch.float64)
    weights = torch.randn(3, 16, dtype=torch.float64)

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
