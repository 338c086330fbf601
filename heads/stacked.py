"""Heads that train together as wide tensors; no step loops over heads.

A stack is parts x heads. Each part has its own rows and seed (a fold, for example), and all parts have the same
configurations, whose hidden widths are equal. The heads of a part see the same batches, so their first layers are one
wide product with the batch, and later layers are one batched product. torch's fused Adam updates slices of the wide
tensors, one for each group of neighbours that share learning rate and weight decay. Outputs and losses are computed for
spans of heads that share a loss. Initial weights and dropout depend only on the seed and the shape of a head, so heads
that train together differ from heads that train alone only by rounding.

The cost of a step is its arithmetic and its number of calls. On a GPU the calls dominate, and a stack has every part.
On a CPU wide products dominate, and parts are combined only if they have few heads.

Activations are (parts, heads, width, n), and backpropagation is written out, so that each product reads and writes
contiguous memory and gradients stay in place.
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

from consistency.backbone.products import multiply
from consistency.scale import CLASSES, Floats, Ints, macro_f1, merit, qwk
from heads.config import HeadConfig, feature_dim
from heads.losses import constant_bias, log_probabilities, loss_terms, output_bias, soft_loss_terms
from heads.model import Head
from heads.pairs import Pairs

ACTIVATIONS = 1 << 23  # numbers at once when a stack is measured
DROPOUT_LEVELS = 1 << 16
ALIGNED = 16  # features are padded to a multiple of this: gradients of rows of odd length take twice as long

Span = tuple[str, int, int]


@dataclass(frozen=True, eq=False)
class Part:
    """The training rows that some heads share.

    Attributes
    ----------
    rows : (n,) int64
        Training rows, on the device of the pairs.
    seed : int
        Random seed.
    class_weights : (n_heads, 5) float64
        Class weights of each head.
    """

    rows: Tensor
    seed: int
    class_weights: Floats


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows of a batch in each part.

    Attributes
    ----------
    rows : (parts, n) int64
        Rows of the pairs.
    lengths : tuple of int
        Number of rows in each part; the rest is padding.
    """

    rows: Tensor
    lengths: tuple[int, ...]

    @classmethod
    def of(cls, parts: Sequence[Tensor]) -> "Batch":
        """Stack the rows of the parts, padded to the longest."""
        lengths = tuple(map(len, parts))
        return cls(torch.stack([F.pad(rows, (0, max(lengths) - len(rows))) for rows in parts]), lengths)

    def split(self, size: int) -> "list[Batch]":
        """Divide into batches of at most `size` rows."""
        starts = range(0, self.rows.shape[1], size)
        return [
            Batch(rows, tuple(min(max(length - start, 0), rows.shape[1]) for length in self.lengths))
            for start, rows in zip(starts, self.rows.split(size, dim=1), strict=True)
        ]

    def counts(self) -> Tensor | None:
        """Return which rows are not padding, (parts, 1, n) bool; None if there is no padding."""
        n = self.rows.shape[1]
        if set(self.lengths) == {n}:
            return None
        return (torch.arange(n) < torch.tensor(self.lengths)[:, None])[:, None].to(self.rows.device)


class Stack:
    """Heads in training. Sorted by loss, learning rate and weight decay they need fewer calls.

    Parameters
    ----------
    configs : sequence of n_heads HeadConfig
        Configurations of the heads of each part.
    pairs : Pairs
        The pairs.
    parts : sequence of Part
        Training rows, seed and class weights of each part.
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
        """Take a step for each batch, with a learning rate for each head; return mean losses, (parts, n_heads)."""
        updates = self._updates(rates)
        losses = []
        for batch in batches:
            losses.append(self._differentiate(batch))
            for update in updates:
                update()
            self.steps += 1
        return torch.stack(losses).double().mean(0).cpu().numpy()

    def measure(self, held: Batch) -> dict[str, Floats]:
        """Compute loss and `agreement` of each head on the rows held out, (parts, n_heads) each."""
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
        """Copy some heads, given as (part, place), with the standardisation folded into their first layer."""
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
            values = values.cpu()  # all at once: a GPU has high latency, not low throughput
            for number, value in zip(own, values, strict=True):
                found[number].append(value)
        if self.moments is not None:
            means = self.moments[0].cpu()
            for (part, _), own_parameters in zip(wanted, found.values(), strict=True):
                shift = own_parameters[0] @ means[part, 0]
                own_parameters[1][: len(shift)] -= shift  # the other biases of cumulative-link are steps: no shift
        return [Head.of(self.configs[place], self.embed_dim, found[n]) for n, (_, place) in enumerate(wanted)]

    def keep(self, places: Sequence[int]) -> None:
        """Drop all heads except these, in ascending order, from every part."""
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
        """Return the wide tensors, (parts, heads, ...) each, as `Head` draws them from each part's seed."""
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
        """Return, for each wide tensor, its number among the parameters of a head, and its first and last + 1 head.

        Hidden layers have one tensor for all heads, outputs one for each span of heads with the same loss.
        """
        hidden = 2 * self.depth
        whole = [(p, 0, len(self)) for p in range(hidden)]
        return whole + [(p, start, end) for _, start, end in self.spans for p in (hidden, hidden + 1)]

    def _outputs(self) -> Iterator[tuple[Span, Tensor, Tensor, Tensor, Tensor]]:
        """Yield each span with the weight and bias of its last layer and their gradients."""
        first = 2 * self.depth
        tensors = (self.parameters[first::2], self.parameters[first + 1 :: 2])
        gradients = (self.gradients[first::2], self.gradients[first + 1 :: 2])
        return zip(self.spans, *tensors, *gradients, strict=True)

    def _inputs(self, rows: Tensor) -> Tensor:
        """Return the inputs of the first layer, (parts, feature_dim + padding, n), for rows (parts, n)."""
        x = self.pairs.features(self.kind, rows.flatten()).unflatten(0, rows.shape)
        if self.moments is not None:
            x = (x - self.moments[0]) / self.moments[1]
        return (F.pad(x, (0, self.padding)) if self.padding else x).mT

    def _activations(self, x: Tensor, masks: Sequence[Tensor] = ()) -> list[Tensor]:
        """Return x and the output of each hidden layer, (parts, n_heads, width, n)."""
        activations = [x]
        for layer in range(self.depth):
            weight, bias = self.parameters[2 * layer : 2 * layer + 2]
            x = _product(weight, x).add_(bias[..., None]).relu_()
            activations.append(x.mul_(masks[layer]) if masks else x)
        return activations

    def _differentiate(self, batch: Batch) -> Tensor:
        """Return the losses on a batch, (parts, n_heads), and write their derivatives into `self.gradients`."""
        labels, counts = self.pairs.labels[batch.rows][:, None], batch.counts()
        shares = None if self.pairs.shares is None else self.pairs.shares[batch.rows][:, None]
        dropout = any(config.dropout for config in self.configs)
        masks = [self._dropout_factors(layer, batch) for layer in range(self.depth if dropout else 0)]
        activations = self._activations(self._inputs(batch.rows), masks)
        losses, slopes = [], torch.empty_like(activations[-1])
        for (name, start, end), weight, bias, weight_gradient, bias_gradient in self._outputs():
            inputs = _of(activations[-1], start, end)
            product, bias = _product(weight, inputs).requires_grad_(), bias.detach().requires_grad_()
            outputs = product.mT + output_bias(name, bias)[..., None, :]
            weights = self.class_weights[:, start:end]
            if shares is None:
                total, mass = loss_terms(name, outputs, labels, weights, counts)
            else:
                total, mass = soft_loss_terms(name, outputs, shares, weights, counts)
            losses.append((total / mass).detach())
            outer, of_bias = torch.autograd.grad((total / mass).sum(), (product, bias))
            _weight_gradient(outer, inputs, out=weight_gradient)
            bias_gradient.copy_(of_bias)
            if self.depth:
                _multiply(weight.mT, outer, out=slopes[:, start:end])
        for layer in reversed(range(self.depth)):
            if masks:
                slopes.mul_(masks[layer])
            slopes = torch.ops.aten.threshold_backward(slopes, activations[layer + 1], 0)  # derivative of ReLU
            _weight_gradient(slopes, activations[layer], out=self.gradients[2 * layer])
            torch.sum(slopes, -1, out=self.gradients[2 * layer + 1])
            if layer:
                slopes = _multiply(self.parameters[2 * layer].mT, slopes, out=torch.empty_like(activations[layer]))
        return torch.cat(losses, dim=1)

    def _dropout_factors(self, layer: int, batch: Batch) -> Tensor:
        """Return 0 or 1 / (1 - dropout), (parts, n_heads or 1, width, n).

        All heads of a part share the draws and compare them with their own rate.
        """
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
        """Return a function for each group of neighbours with the same update, which applies the gradients in place."""
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
    """Compute merit, QWK, macro-F1 and accuracy, (...) each, from confusion counts (..., 5, 5).

    QWK is NaN where it is undefined.
    """
    return {
        "merit": merit(confusions),
        "qwk": qwk(confusions),
        "macro_f1": macro_f1(confusions),
        "accuracy": np.trace(confusions, axis1=-2, axis2=-1) / confusions.sum(axis=(-2, -1)),
    }


def _spans(configs: Sequence[HeadConfig]) -> list[Span]:
    """Return (loss, first head, last + 1) for each run of heads with the same loss."""
    spans, start = [], 0
    for name, group in groupby(config.loss for config in configs):
        end = start + len(list(group))
        spans.append((name, start, end))
        start = end
    return spans


def _of(activations: Tensor, start: int, end: int) -> Tensor:
    """Return the activations of some heads; features, (parts, feature_dim, n), are shared by all heads of a part."""
    return activations if activations.dim() == 3 else activations[:, start:end]


def _product(weight: Tensor, x: Tensor) -> Tensor:
    """Multiply weight (parts, heads, outputs, inputs) by x to (parts, heads, outputs, n).

    x is (parts, inputs, n) if the heads of a part share it, else (parts, heads, inputs, n).
    """
    if x.dim() == 4:
        return _multiply(weight, x, out=weight.new_empty(*weight.shape[:3], x.shape[-1]))
    wide = weight.flatten(1, 2)
    return (multiply(wide[0], x[0]) if len(x) == 1 else torch.bmm(wide, x)).view(*weight.shape[:3], -1)


def _weight_gradient(outer: Tensor, x: Tensor, *, out: Tensor) -> None:
    """Compute the gradient of the weight in `_product` from that of the product, (parts, heads, outputs, n)."""
    if x.dim() == 4:
        _multiply(outer, x.mT, out=out)
    elif len(x) == 1:
        multiply(outer[0].flatten(0, 1), x[0].T, out=out[0].flatten(0, 1))
    else:
        torch.bmm(outer.flatten(1, 2), x.mT, out=out.flatten(1, 2))


def _multiply(a: Tensor, b: Tensor, *, out: Tensor) -> Tensor:
    """Multiply the matrices of every head of every part into `out`, which may be a slice of the heads."""
    if len(a) == 1:
        torch.bmm(a[0], b[0], out=out[0])
    else:
        out.copy_(torch.bmm(a.flatten(0, 1), b.flatten(0, 1)).view(out.shape))
    return out
