"""Dropout whose masks depend on the row alone, not on the batch that the row is in."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from finetune.dataset import Ints

ODD = (-7046029254386353131, -4417276706812531889)  # the constants of splitmix64 and murmur3, as signed numbers


class RowDropout(TorchFunctionMode):
    """While active, torch's dropout draws each mask from the seed, the row and the number of the call.

    torch draws the masks of a batch one after another, so that they change with the rows before them. Rows that are
    divided among processes need masks that do not: however the rows of a step are divided, and padded, a row meets the
    same masks. Applies to `F.dropout` and to the dropout within `F.scaled_dot_product_attention`.

    Parameters
    ----------
    seed : int
        Random seed of the step.
    rows : ndarray of int64, shape (n,)
        Numbers of the rows, which are the first dimension of every input.
    calls : int
        How many calls came before.
    """

    active: "RowDropout | None" = None

    def __init__(self, seed: int, rows: Ints, calls: int = 0) -> None:
        super().__init__()
        self.seed, self.rows, self.calls = seed, rows, calls

    def __enter__(self) -> "RowDropout":
        self._outer, RowDropout.active = RowDropout.active, self
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        RowDropout.active = self._outer
        super().__exit__(*error)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is F.dropout:
            return self._dropout(*args, **(kwargs or {}))
        if func is F.scaled_dot_product_attention and (kwargs or {}).get("dropout_p"):
            return self._attention(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _dropout(self, values: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        if not (training and p):
            return values
        kept = self._kept(values.shape, p, values.device)
        return values * kept.to(values.dtype) / (1 - p) if p < 1 else values * 0

    def _attention(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        **rest: Any,
    ) -> Tensor:
        """Attention in its plain form: the fused ones draw their masks themselves."""
        scores = query @ key.transpose(-2, -1) * (scale or 1 / math.sqrt(query.shape[-1]))
        if is_causal:
            attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        if attn_mask is not None:
            shown = attn_mask.dtype == torch.bool
            scores = scores.masked_fill(~attn_mask, -math.inf) if shown else scores + attn_mask
        return self._dropout(scores.softmax(-1).to(value.dtype), dropout_p) @ value

    def _kept(self, shape: torch.Size, p: float, device: torch.device) -> Tensor:
        """Mask of `shape`. An entry is a hash of its indices, so that padding does not move it."""
        self.calls += 1
        drawn = _mixed(torch.from_numpy(self.rows).to(device) * ODD[0] + (self.seed << 20) + self.calls)
        for length in shape[1:]:
            drawn = _mixed(drawn[..., None] + torch.arange(length, device=device) * ODD[0])
        return _top_bits(drawn) >= int(p * 2**31)


def _mixed(numbers: Tensor) -> Tensor:
    """Scatter int64 numbers: the finalizer of murmur3, with products that wrap."""
    for factor in ODD:
        numbers = (numbers ^ _top_bits(numbers)) * factor
    return numbers ^ _top_bits(numbers)


def _top_bits(numbers: Tensor) -> Tensor:
    """The upper 31 bits of int64 numbers, as numbers from 0 to 2**31 - 1: torch's own shift repeats the sign."""
    return (numbers >> 33) & (2**31 - 1)


def checkpointing_contexts() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
    """`context_fn` of `torch.utils.checkpoint`: the second run of a layer draws the masks of the first."""
    now = RowDropout.active
    return nullcontext(), nullcontext() if now is None else RowDropout(now.seed, now.rows, now.calls)
