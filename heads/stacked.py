"""The wide tensors of heads that train together, and their steps: nothing here loops over heads inside a step.

The heads of a stack see the same batches and have the same hidden widths. Their first layers are one wide product with
the shared batch, later layers one batched product, and torch's fused Adam updates slices of the wide tensors, one
slice per group of neighbours that share rate and weight decay. Outputs and losses go by spans of heads that share a
loss. Initial weights and dropout come from the seed and a head's own shape alone, so that company changes nothing
but rounding.

Activations are (heads, width, n), and the way back from the losses is written out: every product then reads and writes
memory as it lies, and gradients stay where they were allocated.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim.adam import adam
from torch.optim.adamw import adamw

from heads.config import HeadConfig, feature_dim
from heads.losses import CLASSES, constant_bias, log_probabilities, loss_terms, output_bias
from heads.model import Head
from heads.pairs import Pairs
from heads.thresholds import Floats, confusion, macro_f1, quadratic_kappa

ACTIVATIONS = 1 << 23  # at once when a stack only answers
DROPOUT_LEVELS = 1 << 16
ALIGNED = 16  # features are padded to a multiple of it: with rows of odd length gradients take twice as long

Span = tuple[str, int, int]


class Stack:
    """Heads in training. Neighbours with the same loss, rate and weight decay cost fewer calls: sort them so.

    class_weights: (n_heads, 5).
    """

    def __init__(
        self, configs: Sequence[HeadConfig], pairs: Pairs, rows: Tensor, class_weights: Floats, *, seed: int
    ) -> None:
        first = configs[0]
        self.configs, self.pairs, self.steps = list(configs), pairs, 0
        self.kind, self.embed_dim, self.depth = first.features, pairs.images.shape[1], len(first.hidden)
        self.padding = -feature_dim(self.kind, self.embed_dim) % ALIGNED
        self.moments = pairs.moments(self.kind, rows) if first.standardise else None
        self.dropout = [np.random.default_rng([seed, 2, layer]) for layer in range(self.depth)]
        self.class_weights = torch.as_tensor(class_weights).to(pairs.images)
        self.spans = _spans(self.configs)
        starts = {c.loss: list(Head(c, self.embed_dim, seed=seed).parameters()) for c in configs}
        for first_weight, *_ in starts.values():
            first_weight.data = F.pad(first_weight.data, (0, self.padding))
        self.parameters = [
            torch.stack([starts[configs[h].loss][p].detach() for h in range(start, end)]).to(pairs.images)
            for p, start, end in self._layout()
        ]
        if self.moments is not None:
            counts = torch.bincount(pairs.labels[rows], minlength=CLASSES) * self.class_weights
            frequencies = counts / counts.sum(-1, keepdim=True)
            for (name, start, end), bias in zip(self.spans, self.parameters[1::2][-len(self.spans) :], strict=True):
                bias.copy_(constant_bias(name, frequencies[start:end]))
        self.means = [torch.zeros_like(p) for p in self.parameters]
        self.squares = [torch.zeros_like(p) for p in self.parameters]
        self.gradients = [torch.empty_like(p) for p in self.parameters]

    def __len__(self) -> int:
        return len(self.configs)

    def epoch(self, batches: Iterable[Tensor], rates: Sequence[float]) -> Floats:
        """One step per batch of rows, under each head's rate; the heads' mean losses, (n_heads,)."""
        updates = self._updates(rates)
        losses = []
        for rows in batches:
            losses.append(self._differentiate(rows))
            for update in updates:
                update()
            self.steps += 1
        return torch.stack(losses).double().mean(0).cpu().numpy()

    def measure(self, rows: Tensor) -> dict[str, Floats]:
        """Loss, accuracy, macro-F1 and QWK of every head on `rows`, (n_heads,) each."""
        widest = max([*self.configs[0].hidden, CLASSES])
        predicted, totals, masses = [], [], []
        for part in rows.split(max(64, ACTIVATIONS // (len(self) * widest))):
            last = self._activations(self._inputs(part))[-1]
            answers, terms = [], []
            for (name, start, end), weight, bias, _, _ in self._outputs():
                outputs = _product(weight, _of(last, start, end)).mT + output_bias(name, bias)[:, None]
                answers.append(log_probabilities(name, outputs).argmax(-1))
                terms.append(loss_terms(name, outputs, self.pairs.labels[part], self.class_weights[start:end]))
            totals.append(torch.cat([total for total, _ in terms]))
            masses.append(torch.cat([mass for _, mass in terms]))
            predicted.append(torch.cat(answers))
        losses = torch.stack(totals).sum(0) / torch.stack(masses).sum(0)
        figures = agreement(self.pairs.labels[rows], torch.cat(predicted, dim=1))
        return {"val_loss": losses.double().cpu().numpy(), **figures}

    def head(self, place: int) -> Head:
        """A copy of one head, which takes plain features: standardisation is folded into its first layer."""
        own = [
            p[place - start].clone()
            for p, (_, start, end) in zip(self.parameters, self._layout(), strict=True)
            if start <= place < end
        ]
        own[0] = own[0][:, : feature_dim(self.kind, self.embed_dim)]
        if self.moments is not None:
            mean, deviation = self.moments
            own[0] = own[0] / deviation
            shift = own[0] @ mean
            own[1][: len(shift)] -= shift  # of cumulative-link's bias, whose rest are steps, only the first moves
        head = Head(self.configs[place], self.embed_dim).to(self.pairs.images.dtype)
        head.load_state_dict(dict(zip(head.state_dict(), own, strict=True)))
        return head.cpu().eval()

    def keep(self, places: Sequence[int]) -> None:
        """Drop all heads but these, ascending."""
        local = [
            torch.tensor([h - start for h in places if start <= h < end], device=self.class_weights.device)
            for _, start, end in self._layout()
        ]
        for tensors in (self.parameters, self.means, self.squares, self.gradients):
            tensors[:] = [t[index.long()] for t, index in zip(tensors, local, strict=True) if len(index)]
        self.class_weights = self.class_weights[list(places)]
        self.configs = [self.configs[h] for h in places]
        self.spans = _spans(self.configs)

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
        """What the first layer reads, (feature_dim + padding, n)."""
        x = self.pairs.features(self.kind, rows)
        if self.moments is not None:
            x = (x - self.moments[0]) / self.moments[1]
        return (F.pad(x, (0, self.padding)) if self.padding else x).T

    def _activations(self, x: Tensor, masks: Sequence[Tensor] = ()) -> list[Tensor]:
        """x and what every hidden layer makes of it, (n_heads, width, n)."""
        activations = [x]
        for layer in range(self.depth):
            weight, bias = self.parameters[2 * layer : 2 * layer + 2]
            x = _product(weight, x).add_(bias[..., None]).relu_()
            activations.append(x.mul_(masks[layer]) if masks else x)
        return activations

    def _differentiate(self, rows: Tensor) -> Tensor:
        """The heads' losses on a batch, (n_heads,), and into `self.gradients` their derivatives."""
        labels = self.pairs.labels[rows]
        dropout = any(config.dropout for config in self.configs)
        masks = [self._dropout_factors(layer, len(rows)) for layer in range(self.depth if dropout else 0)]
        activations = self._activations(self._inputs(rows), masks)
        losses, slopes = [], torch.empty_like(activations[-1])
        for (name, start, end), weight, bias, weight_gradient, bias_gradient in self._outputs():
            inputs = _of(activations[-1], start, end)
            product, bias = _product(weight, inputs).requires_grad_(), bias.detach().requires_grad_()
            outputs = product.mT + output_bias(name, bias)[:, None]
            total, mass = loss_terms(name, outputs, labels, self.class_weights[start:end])
            losses.append((total / mass).detach())
            outer, of_bias = torch.autograd.grad((total / mass).sum(), (product, bias))
            _weight_gradient(outer, inputs, out=weight_gradient)
            bias_gradient.copy_(of_bias)
            if self.depth:
                torch.bmm(weight.mT, outer, out=slopes[start:end])
        for layer in reversed(range(self.depth)):
            if masks:
                slopes.mul_(masks[layer])
            slopes = torch.ops.aten.threshold_backward(slopes, activations[layer + 1], 0)  # the way back through ReLU
            _weight_gradient(slopes, activations[layer], out=self.gradients[2 * layer])
            torch.sum(slopes, -1, out=self.gradients[2 * layer + 1])
            if layer:
                slopes = torch.bmm(self.parameters[2 * layer].mT, slopes)
        return torch.cat(losses)

    def _dropout_factors(self, layer: int, rows: int) -> Tensor:
        """0 or 1 / (1 - dropout), (n_heads or 1, width, rows): every head judges the same draws by its own rate."""
        draws = self.dropout[layer].integers(0, DROPOUT_LEVELS, (rows, self.configs[0].hidden[layer]), dtype=np.uint16)
        rates = sorted({config.dropout for config in self.configs})
        levels = np.array([round(rate * DROPOUT_LEVELS) for rate in rates])[:, None, None]
        kept = (DROPOUT_LEVELS / (DROPOUT_LEVELS - levels)).astype(np.float32)
        masks = torch.from_numpy((levels <= draws.T) * kept).to(self.class_weights)
        return masks if len(rates) == 1 else masks[[rates.index(config.dropout) for config in self.configs]]

    def _updates(self, rates: Sequence[float]) -> list[Any]:
        """One call per group of neighbours with the same update: from the gradients, in place."""
        kinds = [(c.loss, c.optimizer, rate, c.weight_decay) for c, rate in zip(self.configs, rates, strict=True)]
        updates, start = [], 0
        for (_, optimizer, lr, decay), group in groupby(kinds):
            end = start + len(list(group))
            parts = [
                (number, slice(max(start, first) - first, min(end, last) - first))
                for number, (_, first, last) in enumerate(self._layout())
                if start < last and first < end
            ]
            updates.append(self._update(parts, optimizer, lr, decay))
            start = end
        return updates

    def _update(self, parts: list[tuple[int, slice]], optimizer: str, lr: float, decay: float) -> Any:
        parameters, gradients, means, squares = (
            [tensors[number][part] for number, part in parts]
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


def agreement(labels: Tensor, predicted: Tensor) -> dict[str, Floats]:
    """Accuracy, macro-F1 and QWK of predictions (n_heads, n), (n_heads,) each."""
    counts = confusion(labels.cpu().numpy(), predicted.cpu().numpy())
    return {
        "accuracy": np.trace(counts, axis1=1, axis2=2) / len(labels),
        "macro_f1": macro_f1(counts),
        "qwk": quadratic_kappa(counts),
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
    """Those of some heads; features, (feature_dim, n), are the same for all."""
    return activations if activations.dim() == 2 else activations[start:end]


def _product(weight: Tensor, x: Tensor) -> Tensor:
    """(heads, outputs, n) from weight (heads, outputs, inputs) and x: (inputs, n) shared, or (heads, inputs, n)."""
    if x.dim() == 2:
        return (weight.flatten(0, 1) @ x).view(*weight.shape[:2], -1)
    return torch.bmm(weight, x)


def _weight_gradient(outer: Tensor, x: Tensor, *, out: Tensor) -> None:
    """Of `_product`. outer: (heads, outputs, n), the derivative by the product."""
    if x.dim() == 2:
        torch.mm(outer.flatten(0, 1), x.T, out=out.flatten(0, 1))
    else:
        torch.bmm(outer, x.mT, out=out)
