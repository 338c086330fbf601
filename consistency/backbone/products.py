"""Products of float32 matrices on a CPU, where training spends its time.

torch leaves them to MKL, which on AMD's processors is half as fast as oneDNN, another library within torch. There these
functions use oneDNN for what is large, and elsewhere MKL as ever. Results differ by the order of sums. oneDNN compiles
code for every new shape, which small products do not repay (benchmarks/RESULTS.md).
"""

from functools import cache
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LARGE_PRODUCT = 1 << 27  # multiplications
LARGE_LAYER = 1 << 18  # weights


@cache
def mkl_is_slow() -> bool:
    """Whether this is a processor of AMD, and torch has oneDNN's product, which is not public API."""
    told: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # not in every supported version of torch
    has_onednn = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    return has_onednn and "AMD" in str(told.get("cpu_name"))


def multiply(a: Tensor, b: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Multiply matrices (m, k) and (k, n), into `out`, (m, n), if it is given; no gradient passes."""
    if a.shape[0] * b.numel() < LARGE_PRODUCT or not _by_onednn(a, b):
        return torch.mm(a, b, out=out)
    product = _linear(a, b.T)
    return product if out is None else out.copy_(product)


def train_quickly(model: nn.Module) -> None:
    """Let the large linear layers of `model` and their gradients be computed by oneDNN, if MKL is slow.

    Parameters
    ----------
    model : nn.Module
        The model, whose layers keep their parameters and names.
    """
    if mkl_is_slow():
        for module in model.modules():
            if type(module) is nn.Linear and module.weight.numel() >= LARGE_LAYER:
                module.forward = MethodType(_forward, module)  # type: ignore[method-assign]


def _by_onednn(*tensors: Tensor) -> bool:
    return mkl_is_slow() and all(t.device.type == "cpu" and t.dtype == torch.float32 and t.numel() for t in tensors)


def _linear(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(inputs, weight, bias, "none", [], "")


def _forward(layer: nn.Linear, inputs: Tensor) -> Tensor:
    if _by_onednn(inputs, layer.weight):
        return _Linear.apply(inputs, layer.weight, layer.bias)
    return F.linear(inputs, layer.weight, layer.bias)


class _Linear(torch.autograd.Function):
    """inputs (..., k), weight (n, k) and bias (n,) or None to (..., n)."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        return _linear(inputs, weight, bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        inputs, weight = ctx.saved_tensors
        rows = gradient.flatten(0, -2)
        of_inputs, of_weight, of_bias = ctx.needs_input_grad
        return (
            _linear(rows, weight.T).view(inputs.shape) if of_inputs else None,
            _linear(rows.T, inputs.flatten(0, -2).T) if of_weight else None,
            rows.sum(0) if of_bias else None,
        )
