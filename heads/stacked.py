"""The wide tensors of heads that train together, and their steps: nothing here loops over heads inside a step.

The heads of a stack see the same batches and have the same hidden widths. Their first layers are one wide product with
the shared batch, later layers one batched product, and torch's fused Adam updates slices of the wide tensors, one
slice per group of neighbours that share rate and weight decay. Outputs and losses go by spans of heads that share a
loss. Initial weights and dropout come from the seed and a head's own shape alone, so that company changes nothing
but rounding.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim.adam import adam
from torch.optim.adamw import adamw

from heads.config import HeadConfig
from heads.losses import CLASSES, constant_bias, log_probabilities, loss_terms, output_bias
from heads.model import Head
from heads.pairs import Pairs
from heads.thresholds import Floats, confusion, macro_f1, quadratic_kappa

ACTIVATIONS = 1 << 23  # at once when a stack only answers
DROPOUT_LEVELS = 1 << 16


class Stack:
    """Heads in training. Neighbours with the same loss, rate and weight decay cost fewer calls: sort them so.

    class_weights: (n_heads, 5).
    """

    def __init__(
        self, configs: Sequence[HeadConfig], pairs: Pairs, rows: Tensor, class_weights: Floats, *, seed: int
    ) -> None:
        first = configs[0]
        self.configs, self.pairs, self.steps = list(configs), pairs, 0
        self.kind, self.embed_dim = first.features, pairs.images.shape[1]
        self.moments = pairs.moments(self.kind, rows) if first.standardise else None
        self.dropout = [np.random.default_rng([seed, 2, layer]) for layer in range(len(first.hidden))]
        self.class_weights = torch.as_tensor(class_weights).to(pairs.images)
        self.spans = _spans(self.configs)
        starts = {c.loss: list(Head(c, self.embed_dim, seed=seed).parameters()) for c in configs}
        self.parameters = [
            torch.stack([starts[configs[h].loss][p].detach() for h in range(start, end)]).to(pairs.images)
            for p, start, end in self._layout()
        ]
        if self.moments is not None:
            counts = torch.bincount(pairs.labels[rows], minlength=CLASSES) * self.class_weights
            frequencies = counts / counts.sum(-1, keepdim=True)
            for (name, start, end), bias in zip(self.spans, self.parameters[1::2][-len(self.spans) :], strict=True):
                bias.copy_(constant_bias(name, frequencies[start:end]))
        for parameter in self.parameters:
            parameter.requires_grad_()
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
            outputs = self._outputs(self._inputs(rows), train=True)
            terms = self._terms(outputs, self.pairs.labels[rows])
            each = torch.cat([total / mass for total, mass in terms])
            # The fused optimizer takes memory as it lies, and gradients of batched products lie transposed.
            gradients = [g.contiguous() for g in torch.autograd.grad(each.sum(), self.parameters)]
            for update in updates:
                update(gradients)
            self.steps += 1
            losses.append(each.detach())
        return torch.stack(losses).double().mean(0).cpu().numpy()

    def measure(self, rows: Tensor) -> dict[str, Floats]:
        """Loss, accuracy, macro-F1 and QWK of every head on `rows`, (n_heads,) each."""
        widest = max([*self.configs[0].hidden, CLASSES])
        predicted, totals, masses = [], [], []
        with torch.no_grad():
            for part in rows.split(max(64, ACTIVATIONS // (len(self) * widest))):
                outputs = self._outputs(self._inputs(part), train=False)
                terms = self._terms(outputs, self.pairs.labels[part])
                totals.append(torch.cat([total for total, _ in terms]))
                masses.append(torch.cat([mass for _, mass in terms]))
                likeliest = [
                    log_probabilities(name, o).argmax(-1) for (name, _, _), o in zip(self.spans, outputs, strict=True)
                ]
                predicted.append(torch.cat(likeliest))
        losses = torch.stack(totals).sum(0) / torch.stack(masses).sum(0)
        figures = agreement(self.pairs.labels[rows], torch.cat(predicted, dim=1))
        return {"val_loss": losses.double().cpu().numpy(), **figures}

    def head(self, place: int) -> Head:
        """A copy of one head, which takes plain features: standardisation is folded into its first layer."""
        own = [
            p[place - start].detach().clone()
            for p, (_, start, end) in zip(self.parameters, self._layout(), strict=True)
            if start <= place < end
        ]
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
            tensors[:] = [t.detach()[index.long()] for t, index in zip(tensors, local, strict=True) if len(index)]
        for parameter in self.parameters:
            parameter.requires_grad_()
        self.class_weights = self.class_weights[list(places)]
        self.configs = [self.configs[h] for h in places]
        self.spans = _spans(self.configs)

    def _layout(self) -> list[tuple[int, int, int]]:
        """(parameter of a head, first and last + 1 head) of every wide tensor: hidden layers whole, outputs by loss."""
        hidden = 2 * len(self.configs[0].hidden)
        whole = [(p, 0, len(self)) for p in range(hidden)]
        return whole + [(p, start, end) for _, start, end in self.spans for p in (hidden, hidden + 1)]

    def _inputs(self, rows: Tensor) -> Tensor:
        x = self.pairs.features(self.kind, rows)
        return x if self.moments is None else (x - self.moments[0]) / self.moments[1]

    def _outputs(self, x: Tensor, *, train: bool) -> list[Tensor]:
        """Outputs (heads of the span, n, k), span by span. x: (n, feature_dim)."""
        layers = iter(zip(self.parameters[::2], self.parameters[1::2], self.gradients[::2], strict=True))
        for layer in range(len(self.configs[0].hidden)):
            weight, bias, gradient = next(layers)
            x = F.relu(_product(x, weight, gradient) + bias[:, None])
            if train and any(config.dropout for config in self.configs):
                x = x * self._dropout_factors(layer, *x.shape[1:])
        shared = x.dim() == 2  # no hidden layer: all heads read the same features
        parts = [x] * len(self.spans) if shared else x.split([end - start for _, start, end in self.spans])
        outputs = []
        for (name, _, _), part in zip(self.spans, parts, strict=True):
            weight, bias, gradient = next(layers)
            outputs.append(_product(part, weight, gradient) + output_bias(name, bias)[:, None])
        return outputs

    def _terms(self, outputs: list[Tensor], labels: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Dividends and divisors of the losses, span by span."""
        return [
            loss_terms(name, output, labels, self.class_weights[start:end])
            for (name, start, end), output in zip(self.spans, outputs, strict=True)
        ]

    def _dropout_factors(self, layer: int, rows: int, width: int) -> Tensor:
        """0 or 1 / (1 - dropout), (n_heads or 1, rows, width): every head judges the same draws by its own rate."""
        draws = self.dropout[layer].integers(0, DROPOUT_LEVELS, (rows, width), dtype=np.uint16)
        rates = sorted({config.dropout for config in self.configs})
        levels = [round(rate * DROPOUT_LEVELS) for rate in rates]
        factors = np.stack([(draws >= level) * (DROPOUT_LEVELS / (DROPOUT_LEVELS - level)) for level in levels])
        masks = torch.as_tensor(factors).to(self.class_weights)
        return masks if len(rates) == 1 else masks[[rates.index(config.dropout) for config in self.configs]]

    def _updates(self, rates: Sequence[float]) -> list[Any]:
        """One call per group of neighbours with the same update: takes the gradients, changes the wide tensors."""
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
        def slices(tensors: Sequence[Tensor]) -> list[Tensor]:
            return [tensors[number].detach()[part] for number, part in parts]

        parameters, means, squares = slices(self.parameters), slices(self.means), slices(self.squares)
        counts = [torch.tensor(float(self.steps), device=p.device) for p in parameters]
        step = adam if optimizer == "adam" else adamw

        def update(gradients: Sequence[Tensor]) -> None:
            step(
                parameters,
                slices(gradients),
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


def _spans(configs: Sequence[HeadConfig]) -> list[tuple[str, int, int]]:
    """(loss, first head, last + 1) of every run of heads with the same loss."""
    spans, start = [], 0
    for name, group in groupby(config.loss for config in configs):
        end = start + len(list(group))
        spans.append((name, start, end))
        start = end
    return spans


def _product(x: Tensor, weight: Tensor, gradient: Tensor) -> Tensor:
    """(heads, n, outputs) from weight (heads, outputs, inputs) and x: (n, inputs) shared, or (heads, n, inputs)."""
    if x.dim() == 2:
        return _Wide.apply(x, weight, gradient)
    return torch.bmm(x, weight.transpose(1, 2))


class _Wide(torch.autograd.Function):
    """All heads' first layers as one product with the shared batch.

    The gradient of the wide weight is written where it was written last time: allocating it anew in every step
    costs more than computing it.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        ctx.gradient = gradient
        heads, outputs, inputs = weight.shape
        return (x @ weight.view(-1, inputs).T).view(len(x), heads, outputs).transpose(0, 1)

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[None, Tensor, None]:
        (x,) = ctx.saved_tensors
        flat = outer[0].transpose(0, 1).reshape(len(x), -1)
        torch.mm(flat.T, x, out=ctx.gradient.view(-1, x.shape[1]))
        return None, ctx.gradient, None
