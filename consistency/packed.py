"""Layers as a CPU works through them best, for a model that encodes in fp32 and is not trained."""

import torch
from torch import nn
from transformers.activations import QuickGELUActivation

QUICK_GELU = 1.702  # x sigmoid(1.702 x), Hendrycks and Gimpel, arXiv:1606.08415, section 2


class PackedLinear(nn.Module):
    """`linear` with its weights in oneDNN's own layout, which a plain layer would leave to a slower product.

    (..., in) to (..., out) float32; equal to `linear` but for the order of its sums. It has no parameters.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self._weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach())
        self._bias = None if linear.bias is None else linear.bias.detach()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return torch.ops.mkldnn._linear_pointwise(inputs, self._weight, self._bias, "none", [], "")


def pack_linear(model: nn.Module) -> None:
    """Put a PackedLinear in the place of every linear layer of `model`, where this build of torch has oneDNN.

    The operators are those that torch's own compiler emits; without them the model stays as it is.
    """
    if not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Linear:  # a subclass may be used otherwise than called
                setattr(parent, name, PackedLinear(child))


def fold_quick_gelu(model: nn.Module) -> None:
    """Let every MLP of `model` with a quick GELU take SiLU, x sigmoid(x), in place: one pass over memory, not three.

    The factor goes into the weights before the activation and out of those after it, which changes their rounding.
    """
    for module in model.modules():
        first, activation, last = (getattr(module, name, None) for name in ("fc1", "activation_fn", "fc2"))
        if type(activation) is QuickGELUActivation and isinstance(first, nn.Linear) and isinstance(last, nn.Linear):
            with torch.no_grad():
                for tensor in first.parameters():
                    tensor.mul_(QUICK_GELU)
                last.weight.div_(QUICK_GELU)
            module.activation_fn = nn.SiLU(inplace=True)
