"""The wide tensors of heads that train together, and their steps: nothing here loops over heads inside a step.

A stack is parts x heads: every part has rows and a seed of its own (a fold, say), and in it the same configurations,
which have the same hidden widths. The heads of a part see the same batches, so their first layers are one wide product
with the batch; later layers are one batched product, and torch's fused Adam updates slices of the wide tensors, one
slice per group of neighbours that share rate and weight decay. Outputs and losses go by spans of heads that share a
loss. Initial weights and dropout come from the seed and a head's own shape alone, so that company changes nothing
but rounding.

A step's cost is its arithmetic and its number of calls. On a GPU calls are all that counts, and a stack holds every
part; on a CPU wide products do, and parts are put together only where their heads are few.

Activations are (parts, heads, width, n), and the way back from the losses is written out: every product then reads and
writes memory as it lies, and gradients stay where they were allocated.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim.adam import adam
from torch.optim.adamw import adamw

from consistency.scale import CLASSES, Floats, Ints, macro_f1, merit, qwk
from heads.config import HeadConfig, feature_dim
from heads.losses import constant_bias, log_probabilities, loss_terms, output_bias
from heads.model import Head
from heads.pairs import Pairs

ACTIVATIONS = 1 << 23  # at once when a stack only answers
DROPOUT_LEVELS = 1 << 16
ALIGNED = 16  # features are padded to a multiple of it: with rows of odd length gradients take twice as long

Span = tuple[str, int, int]


@dataclass(frozen=True, eq=False)
class Part:
    """Training rows (n,) int64 on the pairs' device, their seed, and class weights (n_heads, 5) of its heads."""

    rows: Tensor
    seed: int
    class_weights: Floats


@dataclass(frozen=True, eq=False)
class Batch:
    """rows: (parts, n) int64. lengths: how many of them count in each part; the others only fill up."""

    rows: Tensor
    lengths: tuple[int, ...]

    @classmethod
    def of(cls, parts: Sequence[Tensor]) -> "Batch":
        """Each part's rows, filled up to the longest."""
        lengths = tuple(map(len, parts))
        return cls(torch.stack([F.pad(rows, (0, max(lengths) - len(rows))) for rows in parts]), lengths)

    def split(self, size: int) -> "list[Batch]":
        starts = range(0, self.rows.shape[1], size)
        return [
            Batch(rows, tuple(min(max(length - start, 0), rows.shape[1]) for length in self.lengths))
            for start, rows in zip(starts, self.rows.split(size, dim=1), strict=True)
        ]

    def counts(self) -> Tensor | None:
        """(parts, 1, n) bool: which rows count; None where all do."""
        n = self.rows.shape[1]
        if set(self.lengths) == {n}:
            return None
        return (torch.arange(n) < torch.tensor(self.lengths)[:, None])[:, None].to(self.rows.device)


class Stack:
    """Heads in training. Neighbours with the same loss, rate and weight decay cost fewer calls: sort them so.

    configs: of the heads of every part, which number n_heads.
    """

    def __init__(self, configs: Sequence[HeadConfig], pairs: Pairs, parts: Sequence[Part]) -> None:
        first = configs[0]
        self.configs, self.pairs, self.steps = list(configs), pairs, 0
        self.kind, self.embed_dim, self.depth = first.features, pairs.images.shape[1], len(first.hidden)
        self.padding = -feature_dim(self.kind, self.embed_dim) % ALIGNED
        self.moments: tuple[Tensor, Tensor] | None = None
        if first.standardise:
            means, deviations = zip(*[pairs.moments(self.kind, part.rows) for part in parts], strict=True)
            self.moments = torch.stack(means)[:, None], torch.stack(deviations)[:, None]
        self.dropout = [[np.random.default_rng([part.seed, 2, layer]) for part in parts] for layer in range(self.depth)]
        self.class_weights = torch.as_tensor(np.stack([part.class_weights for part in parts])).to(pairs.images)
        self.spans = _spans(self.configs)
        self.parameters = self._first_parameters(parts)
        if self.moments is not None:
            counts = torch.stack([torch.bincount(pairs.labels[part.rows], minlength=CLASSES) for part in parts])
            weighted = counts[:, None] * self.class_weights
            frequencies = weighted / weighted.sum(-1, keepdim=True)
            for (name, start, end), bias in zip(self.spans, self.parameters[1::2][-len(self.spans) :], strict=True):
                bias.copy_(constant_bias(name, frequencies[:, start:end]))
        self.means = [torch.zeros_like(p) for p in self.parameters]
        self.squares = [torch.zeros_like(p) for p in self.parameters]
        self.gradients = [torch.empty_like(p) for p in self.parameters]

    def __len__(self) -> int:
        return len(self.configs)

    def epoch(self, batches: Sequence[Batch], rates: Sequence[float]) -> Floats:
        """One step per batch, under each head's rate; the heads' mean losses, (parts, n_heads)."""
        updates = self._updates(rates)
        losses = []
        for batch in batches:
            losses.append(self._differentiate(batch))
            for update in updates:
                update()
            self.steps += 1
        return torch.stack(losses).double().mean(0).cpu().numpy()

    def measure(self, held: Batch) -> dict[str, Floats]:
        """Loss and `agreement` of every head on the rows held out, (parts, n_heads) each."""
        of_heads = len(self) * max([*self.configs[0].hidden, CLASSES])
        widest = len(self.class_weights) * max(of_heads, feature_dim(self.kind, self.embed_dim))
        totals, masses = [], []
        confusions = torch.zeros(*self.class_weights.shape[:2], CLASSES**2, dtype=torch.int64, device=held.rows.device)
        for part in held.split(max(64, ACTIVATIONS // widest)):
            last = self._activations(self._inputs(part.rows))[-1]
            labels, counts = self.pairs.labels[part.rows][:, None], part.counts()
            answers, terms = [], []
            for (name, start, end), weight, bias, _, _ in self._outputs():
                outputs = _product(weight, _of(last, start, end)).mT + output_bias(name, bias)[..., None, :]
                answers.append(log_probabilities(name, outputs).argmax(-1))
                terms.append(loss_terms(name, outputs, labels, self.class_weights[:, start:end], counts))
            totals.append(torch.cat([total for total, _ in terms], dim=1))
            masses.append(torch.cat([mass for _, mass in terms], dim=1))
            cells = CLASSES * labels + torch.cat(answers, dim=1)
            once = torch.ones_like(cells) if counts is None else counts.expand_as(cells).long()
            confusions.scatter_add_(-1, cells, once)
        losses = torch.stack(totals).sum(0) / torch.stack(masses).sum(0)
        figures = agreement(confusions.unflatten(-1, (CLASSES, CLASSES)).cpu().numpy())
        return {"val_loss": losses.double().cpu().numpy(), **figures}

    def heads(self, wanted: Sequence[tuple[int, int]]) -> list[Head]:
        """Copies of some heads, by (part, place), which take plain features: standardisation is folded into their first
        layer."""
        found: dict[int, list[Tensor]] = {number: [] for number in range(len(wanted))}
        for tensor, (p, start, end) in zip(self.parameters, self._layout(), strict=True):
            own = [number for number, (_, place) in enumerate(wanted) if start <= place < end]
            if not own:
                continue
            parts, places = zip(*(wanted[number] for number in own), strict=True)
            values = tensor[list(parts), [place - start for place in places]]
            if p == 0:
                values = values[..., : feature_dim(self.kind, self.embed_dim)]
                if self.moments is not None:
                    values = values / self.moments[1][list(parts)]
            values = values.cpu()  # all at once: a GPU is slow to answer, not to copy
            for number, value in zip(own, values, strict=True):
                found[number].append(value)
        if self.moments is not None:
            means = self.moments[0].cpu()
            for (part, _), own_parameters in zip(wanted, found.values(), strict=True):
                shift = own_parameters[0] @ means[part, 0]
                own_parameters[1][: len(shift)] -= shift  # cumulative-link's others are steps, and stay
        return [Head.of(self.configs[place], self.embed_dim, found[n]) for n, (_, place) in enumerate(wanted)]

    def keep(self, places: Sequence[int]) -> None:
        """Drop all heads but these, ascending, from every part."""
        local = [
            torch.tensor([h - start for h in places if start <= h < end], device=self.class_weights.device)
            for _, start, end in self._layout()
        ]
        for tensors in (self.parameters, self.means, self.squares, self.gradients):
            tensors[:] = [t[:, index.long()] for t, index in zip(tensors, local, strict=True) if len(index)]
        self.class_weights = self.class_weights[:, list(places)]
        self.configs = [self.configs[h] for h in places]
        self.spans = _spans(self.configs)

    def _first_parameters(self, parts: Sequence[Part]) -> list[Tensor]:
        """The wide tensors, (parts, heads, ...) each, as `Head` draws the heads of each part's seed."""
        drawn = {}
        for seed in {part.seed for part in parts}:
            for config in {config.loss: config for config in self.configs}.values():
                own = [p.detach().to(self.pairs.images) for p in Head(config, self.embed_dim, seed=seed).parameters()]
                drawn[seed, config.loss] = [F.pad(own[0], (0, self.padding)), *own[1:]]
        losses = [config.loss for config in self.configs]
        return [
            torch.stack([torch.stack([drawn[part.seed, name][p] for name in losses[start:end]]) for part in parts])
            for p, start, end in self._layout()
        ]

    def _layout(self) -> list[tuple[int, int, int]]:
        """(parameter of a head, first and last + 1 head) of every wide tensor: hidden layers whole, outputs by loss."""
        hidden = 2 * self.depth
        whole = [(p, 0, len(self)) for p in range(hidden)]
        return whole + [(p, start, end) for _, start, end in self.spans for p in (hidden, hidden + 1)]

    def _outputs(self) -> Iterator[tuple[Span, Tensor, Tensor, Tensor, Tensor]]:
        """Every span with its last layer's weight and bias and the gradients of the two."""
        first = 2 * self.depth
        tensors = (self.parameters[first::2], self.parameters[first + 1 :: 2])
        gradients = (self.gradients[first::2], self.gradients[first + 1 :: 2])
        return zip(self.spans, *tensors, *gradients, strict=True)

    def _inputs(self, rows: Tensor) -> Tensor:
        """What the first layer reads, (parts, feature_dim + padding, n), of rows (parts, n)."""
        x = self.pairs.features(self.kind, rows.flatten()).unflatten(0, rows.shape)
        if self.moments is not None:
            x = (x - self.moments[0]) / self.moments[1]
        return (F.pad(x, (0, self.padding)) if self.padding else x).mT

    def _activations(self, x: Tensor, masks: Sequence[Tensor] = ()) -> list[Tensor]:
        """x and what every hidden layer makes of it, (parts, n_heads, width, n)."""
        activations = [x]
        for layer in range(self.depth):
            weight, bias = self.parameters[2 * layer : 2 * layer + 2]
            x = _product(weight, x).add_(bias[..., None]).relu_()
            activations.append(x.mul_(masks[layer]) if masks else x)
        return activations

    def _differentiate(self, batch: Batch) -> Tensor:
        """The heads' losses on a batch, (parts, n_heads), and into `self.gradients` their derivatives."""
        labels, counts = self.pairs.labels[batch.rows][:, None], batch.counts()
        dropout = any(config.dropout for config in self.configs)
        masks = [self._dropout_factors(layer, batch) for layer in range(self.depth if dropout else 0)]
        activations = self._activations(self._inputs(batch.rows), masks)
        losses, slopes = [], torch.empty_like(activations[-1])
        for (name, start, end), weight, bias, weight_gradient, bias_gradient in self._outputs():
            inputs = _of(activations[-1], start, end)
            product, bias = _product(weight, inputs).requires_grad_(), bias.detach().requires_grad_()
            outputs = product.mT + output_bias(name, bias)[..., None, :]
            total, mass = loss_terms(name, outputs, labels, self.class_weights[:, start:end], counts)
            losses.append((total / mass).detach())
            outer, of_bias = torch.autograd.grad((total / mass).sum(), (product, bias))
            _weight_gradient(outer, inputs, out=weight_gradient)
            bias_gradient.copy_(of_bias)
            if self.depth:
                _multiply(weight.mT, outer, out=slopes[:, start:end])
        for layer in reversed(range(self.depth)):
            if masks:
                slopes.mul_(masks[layer])
            slopes = torch.ops.aten.threshold_backward(slopes, activations[layer + 1], 0)  # the way back through ReLU
            _weight_gradient(slopes, activations[layer], out=self.gradients[2 * layer])
            torch.sum(slopes, -1, out=self.gradients[2 * layer + 1])
            if layer:
                slopes = _multiply(self.parameters[2 * layer].mT, slopes, out=torch.empty_like(activations[layer]))
        return torch.cat(losses, dim=1)

    def _dropout_factors(self, layer: int, batch: Batch) -> Tensor:
        """0 or 1 / (1 - dropout), (parts, n_heads or 1, width, n): all heads of a part judge the same draws, each by
        its own rate."""
        width, n = self.configs[0].hidden[layer], batch.rows.shape[1]
        draws = np.zeros((len(batch.lengths), 1, width, n), np.uint16)
        for own, generator, length in zip(draws, self.dropout[layer], batch.lengths, strict=True):
            own[0, :, :length] = generator.integers(0, DROPOUT_LEVELS, (length, width), dtype=np.uint16).T
        rates = sorted({config.dropout for config in self.configs})
        levels = np.array([round(rate * DROPOUT_LEVELS) for rate in rates])[:, None, None]
        kept = (DROPOUT_LEVELS / (DROPOUT_LEVELS - levels)).astype(np.float32)
        masks = torch.from_numpy((levels <= draws) * kept).to(self.class_weights)
        return masks if len(rates) == 1 else masks[:, [rates.index(config.dropout) for config in self.configs]]

    def _updates(self, rates: Sequence[float]) -> list[Any]:
        """One call per group of neighbours with the same update: from the gradients, in place."""
        kinds = [(c.loss, c.optimizer, rate, c.weight_decay) for c, rate in zip(self.configs, rates, strict=True)]
        updates, start = [], 0
        for (_, optimizer, lr, decay), group in groupby(kinds):
            end = start + len(list(group))
            slices = [
                (number, part, slice(max(start, first) - first, min(end, last) - first))
                for number, (_, first, last) in enumerate(self._layout())
                if start < last and first < end
                for part in range(len(self.class_weights))
            ]
            updates.append(self._update(slices, optimizer, lr, decay))
            start = end
        return updates

    def _update(self, slices: list[tuple[int, int, slice]], optimizer: str, lr: float, decay: float) -> Any:
        parameters, gradients, means, squares = (
            [tensors[number][part, heads] for number, part, heads in slices]
            for tensors in (self.parameters, self.gradients, self.means, self.squares)
        )
        counts = [torch.tensor(float(self.steps), device=p.device) for p in parameters]
        step = adam if optimizer == "adam" else adamw

        def update() -> None:
            step(
                parameters,
                gradients,
                means,
                squares,
                [],
                counts,
                fused=True,
                amsgrad=False,
                beta1=0.9,
                beta2=0.999,
                lr=lr,
                weight_decay=decay,
                eps=1e-8,
                maximize=False,
            )

        return update


def agreement(confusions: Ints) -> dict[str, Floats]:
    """Merit, QWK, macro-F1 and accuracy, (...) each, of confusion counts (..., 5, 5); QWK is NaN where undefined."""
    return {
        "merit": merit(confusions),
        "qwk": qwk(confusions),
        "macro_f1": macro_f1(confusions),
        "accuracy": np.trace(confusions, axis1=-2, axis2=-1) / confusions.sum(axis=(-2, -1)),
    }


def _spans(configs: Sequence[HeadConfig]) -> list[Span]:
    """(loss, first head, last + 1) of every run of heads with the same loss."""
    spans, start = [], 0
    for name, group in groupby(config.loss for config in configs):
        end = start + len(list(group))
        spans.append((name, start, end))
        start = end
    return spans


def _of(activations: Tensor, start: int, end: int) -> Tensor:
    """Those of some heads; features, (parts, feature_dim, n), are the same for all heads of a part."""
    return activations if activations.dim() == 3 else activations[:, start:end]


def _product(weight: Tensor, x: Tensor) -> Tensor:
    """(parts, heads, outputs, n) from weight (parts, heads, outputs, inputs) and x, which is (parts, inputs, n) where a
    part's heads share it, else (parts, heads, inputs, n)."""
    if x.dim() == 4:
        return _multiply(weight, x, out=weight.new_empty(*weight.shape[:3], x.shape[-1]))
    wide = weight.flatten(1, 2)
    return (torch.mm(wide[0], x[0]) if len(x) == 1 else torch.bmm(wide, x)).view(*weight.shape[:3], -1)


def _weight_gradient(outer: Tensor, x: Tensor, *, out: Tensor) -> None:
    """Of `_product`. outer: (parts, heads, outputs, n), the derivative by the product."""
    if x.dim() == 4:
        _multiply(outer, x.mT, out=out)
    elif len(x) == 1:
        torch.mm(outer[0].flatten(0, 1), x[0].T, out=out[0].flatten(0, 1))
    else:
        torch.bmm(outer.flatten(1, 2), x.mT, out=out.flatten(1, 2))


def _multiply(a: Tensor, b: Tensor, *, out: Tensor) -> Tensor:
    """The matrix product of every head of every part, into `out`, which may be a slice of the heads."""
    if len(a) == 1:
        torch.bmm(a[0], b[0], out=out[0])
    else:
        out.copy_(torch.bmm(a.flatten(0, 1), b.flatten(0, 1)).view(out.shape))
    return out
