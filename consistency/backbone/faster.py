"""Rewrites a loaded model to encode faster; its embeddings change only by the order of floating-point sums.

`trim_last_layer`
    Computes the last layer of CLIP's image tower for the class token only. Gradients do not change, so models that
    are trained use it as well.
`trim_text_tower`
    Computes tokens that all texts of a batch start with once, and the last layer of CLIP's text tower at the end
    tokens only.
`fold_quick_gelu`
    Computes quick GELU in one pass over memory, with its factor folded into the weights.
`pack_linear`
    Stores the weights of linear layers in oneDNN's own layout.

The last three are only for models that are not trained, the last one only for fp32 and bf16 on a CPU.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from types import MethodType
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.activations import QuickGELUActivation
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.clip.modeling_clip import CLIPEncoderLayer, CLIPTextModel, CLIPVisionModel


def trim_last_layer(model: nn.Module) -> None:
    """Compute the last layer of CLIP's image tower for the class token only; other towers are unchanged.

    The layer returns (n, 1, width) instead of (n, patches + 1, width). Keys and values still come from all patches,
    so embeddings and gradients are equal up to the order of sums. This saves ten twelfths of the layer's products: 7 %
    of the time of a ViT-B, 3 % of a ViT-L.

    Parameters
    ----------
    model : nn.Module
        A transformers dual encoder, changed in place.
    """
    tower = getattr(model, "vision_model", None)
    if isinstance(tower, CLIPVisionModel) and tower.config.attention_dropout == 0:
        layer = tower.encoder.layers[-1]
        layer.forward = MethodType(_class_token, layer)


@contextmanager
def untrimmed(model: nn.Module) -> Iterator[None]:
    """Let the last layer of the image tower compute all tokens within the block, as transformers does."""
    trimmed = [layer for layer in model.modules() if isinstance(vars(layer).get("forward"), MethodType)]
    trimmed = [layer for layer in trimmed if vars(layer)["forward"].__func__ is _class_token]
    for layer in trimmed:
        del layer.forward
    try:
        yield
    finally:
        for layer in trimmed:
            layer.forward = MethodType(_class_token, layer)


def _class_token(layer: CLIPEncoderLayer, hidden_states: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
    """`CLIPEncoderLayer.forward` for the first position, in a tower without a mask."""
    attention, normed = layer.self_attn, layer.layer_norm1(hidden_states)

    def by_head(x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)

    mixed = F.scaled_dot_product_attention(
        by_head(attention.q_proj(normed[:, :1])),
        by_head(attention.k_proj(normed)),
        by_head(attention.v_proj(normed)),
        scale=attention.scale,
    )
    first = hidden_states[:, :1] + attention.out_proj(mixed.transpose(1, 2).flatten(2))
    return first + layer.mlp(layer.layer_norm2(first))


def trim_text_tower(model: nn.Module) -> None:
    """Compute only what CLIP's text tower needs for its pooled output; other towers are unchanged.

    The tower is causal and pools at the end token. The tokens that all texts of a batch start with (at least the start
    token) therefore have the same hidden states and are computed once, and the last layer is needed at the end tokens
    only. A hashtag of nine tokens costs a sixth less. The rewritten tower has no dropout.

    Parameters
    ----------
    model : nn.Module
        A transformers dual encoder, changed in place.
    """
    tower = getattr(model, "text_model", None)
    if isinstance(tower, CLIPTextModel):
        tower.forward = MethodType(_forward, tower)


def _forward(tower: CLIPTextModel, input_ids: Tensor, *_: Any, **__: Any) -> BaseModelOutputWithPooling:
    """`CLIPTextModel.forward` for (n, length) token ids; padding, if any, follows the end token."""
    n, length = input_ids.shape
    ends = _ends(input_ids, cast(int, tower.eos_token_id))
    same = (input_ids == input_ids[0]).all(dim=0).cumprod(dim=0).sum()
    shared = int(torch.minimum(same, ends.min()))  # the shared tokens never include an end token
    own, places = length - shared, torch.arange(length, device=ends.device)

    embedded = tower.embeddings(input_ids=input_ids)
    tokens = torch.cat([embedded[0, :shared], embedded[:, shared:].flatten(0, 1)])  # (shared + n * own, width)
    *layers, last = cast("list[CLIPEncoderLayer]", list(tower.encoder.layers))
    for layer in layers:
        tokens = _layer(layer, tokens, n, shared, places <= places[shared:, None])
    rows = shared + torch.arange(n, device=ends.device) * own + (ends - shared)
    tokens = _last_layer(last, tokens, n, shared, rows, (places <= ends[:, None])[:, None, None])
    return BaseModelOutputWithPooling(pooler_output=tower.final_layer_norm(tokens))


def _ends(input_ids: Tensor, eos_token_id: int) -> Tensor:
    """(n,) positions at which the tower pools; in old configurations an end token of 2 means the largest id."""
    return (input_ids if eos_token_id == 2 else (input_ids == eos_token_id).int()).argmax(dim=-1)


def _layer(layer: CLIPEncoderLayer, tokens: Tensor, n: int, shared: int, mask: Tensor) -> Tensor:
    attention, normed = layer.self_attn, layer.layer_norm1(tokens)
    of_shared, of_own = _by_head(attention.q_proj(normed), attention.head_dim, n, shared)
    keys, values = _keys_and_values(layer, normed, n, shared)
    mixed = F.scaled_dot_product_attention(of_own, keys, values, mask, scale=attention.scale)
    mixed = mixed.transpose(1, 2).flatten(0, 1)
    if shared:
        keys, values = keys[:1, :, :shared], values[:1, :, :shared]
        first = F.scaled_dot_product_attention(of_shared, keys, values, is_causal=True, scale=attention.scale)
        mixed = torch.cat([first[0].transpose(0, 1), mixed])
    return _after_attention(layer, tokens, mixed)


def _last_layer(layer: CLIPEncoderLayer, tokens: Tensor, n: int, shared: int, rows: Tensor, mask: Tensor) -> Tensor:
    """The layer's output, (n, width), at one token per text: `rows` are their places in `tokens`."""
    attention, normed = layer.self_attn, layer.layer_norm1(tokens)
    queries = attention.q_proj(normed[rows]).unflatten(-1, (-1, 1, attention.head_dim))
    keys, values = _keys_and_values(layer, normed, n, shared)
    mixed = F.scaled_dot_product_attention(queries, keys, values, mask, scale=attention.scale)
    return _after_attention(layer, tokens[rows], mixed)


def _keys_and_values(layer: CLIPEncoderLayer, normed: Tensor, n: int, shared: int) -> tuple[Tensor, ...]:
    """Keys and values, (n, heads, length, head_dim) each: of the shared tokens, then of each text's own."""
    attention = layer.self_attn
    projected = [attention.k_proj(normed), attention.v_proj(normed)]
    split = [_by_head(tokens, attention.head_dim, n, shared) for tokens in projected]
    return tuple(torch.cat([first.expand(n, -1, -1, -1), own], dim=2) for first, own in split)


def _by_head(tokens: Tensor, head_dim: int, n: int, shared: int) -> tuple[Tensor, Tensor]:
    """(1, heads, shared, head_dim) and (n, heads, own, head_dim)."""
    heads = tokens.unflatten(-1, (-1, head_dim))
    return heads[:shared].transpose(0, 1)[None], heads[shared:].unflatten(0, (n, -1)).transpose(1, 2)


def _after_attention(layer: CLIPEncoderLayer, tokens: Tensor, mixed: Tensor) -> Tensor:
    """The rest of the layer, for attention output `mixed` of (n_tokens, heads, head_dim)."""
    tokens = tokens + layer.self_attn.out_proj(mixed.flatten(1))
    return tokens + layer.mlp(layer.layer_norm2(tokens))


def has_gradients(model: nn.Module) -> bool:
    """Whether gradients pass through `model`: neither `fold_quick_gelu` nor `pack_linear` has rewritten it."""
    return not any(isinstance(m, PackedLinear) or (isinstance(m, nn.SiLU) and m.inplace) for m in model.modules())


QUICK_GELU = 1.702  # x sigmoid(1.702 x), Hendrycks and Gimpel, arXiv:1606.08415, section 2


class PackedLinear(nn.Module):
    """A linear layer whose weights have oneDNN's own layout, equal to the plain layer up to the order of sums.

    It maps (..., in) to (..., out), of the type of its weights. It has no parameters and so cannot be trained.

    Parameters
    ----------
    linear : nn.Linear
        The layer on the CPU to copy, float32 or bfloat16.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self._weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach())
        self._bias = None if linear.bias is None else linear.bias.detach()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return torch.ops.mkldnn._linear_pointwise(inputs, self._weight, self._bias, "none", [], "")


def pack_linear(model: nn.Module) -> None:
    """Replace the linear layers of `model` by PackedLinear if oneDNN has products of their type on this machine.

    The operators are not public API; torch's own compiler emits them. Without them the model is unchanged. In fp32 they
    serve reproducibility rather than speed: on an Intel processor an image's embedding is bit-equal in batches of 5 to
    64 images (tiny and ViT-B/32), whereas with plain layers every embedding of tiny changes by up to 7e-8 between
    batches of 64 and batches of 8. In bf16 they save a twelfth of the time (benchmarks/RESULTS.md).

    Parameters
    ----------
    model : nn.Module
        A model on the CPU, changed in place.
    """
    if not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return
    types = {torch.float32}
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        types.add(torch.bfloat16)
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            # The owner of a subclass may use its weights directly, as NaFlex does with those of its patch embedding.
            if type(child) is nn.Linear and child.weight.dtype in types and name != "patch_embedding":
                setattr(parent, name, PackedLinear(child))


def fold_quick_gelu(model: nn.Module) -> None:
    """Replace quick GELU in every MLP of `model` by an in-place SiLU, x sigmoid(x): one pass over memory, not three.

    The factor is multiplied into the weights before the activation and divided out of the weights after it, which
    changes their rounding.

    Parameters
    ----------
    model : nn.Module
        The model, changed in place. With weights in bf16, vectors are as close to those of fp32 as without it
        (benchmarks/RESULTS.md).
    """
    for module in model.modules():
        first, activation, last = (getattr(module, name, None) for name in ("fc1", "activation_fn", "fc2"))
        if type(activation) is QuickGELUActivation and isinstance(first, nn.Linear) and isinstance(last, nn.Linear):
            with torch.no_grad():
                for tensor in first.parameters():
                    tensor.mul_(QUICK_GELU)
                last.weight.div_(QUICK_GELU)
            module.activation_fn = nn.SiLU(inplace=True)
