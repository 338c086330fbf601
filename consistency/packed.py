"""Linear layers as oneDNN multiplies them best, for a model that encodes in fp32 on a CPU and is not trained."""

import torch
from torch import nn


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
