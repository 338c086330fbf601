"""What a head's outputs mean: losses of five ordered classes, and the class probabilities behind the outputs.

Outputs have shape (..., n, k): any number of heads at once in front, n pairs, and k numbers a pair:

    name             k  a pair's outputs                      source
    cross-entropy    5  logits                                the published recipe
    sord             5  logits, against soft labels           Diaz & Marathe, Soft Labels for Ordinal Regression, 2019
    emd              5  logits, by cumulative probability     Hou, Yu & Samaras, Squared EMD loss, arXiv:1611.05916
    corn             4  logits of y > k given y > k - 1       Shi, Cao & Raschka, CORN, arXiv:2111.08851
    cumulative-link  4  logits of y > k, one score for all    McCullagh, Regression Models for Ordinal Data, 1980
    regression       1  the class itself, 0..4                least squares; cut points are fitted afterwards
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from consistency.scale import CLASSES, Floats, Ints

# Rows of the last layer's weight and entries of its bias: one score is shared by the four cuts of cumulative-link.
OUTPUTS: dict[str, tuple[int, int]] = {
    "cross-entropy": (5, 5),
    "sord": (5, 5),
    "emd": (5, 5),
    "corn": (4, 4),
    "cumulative-link": (1, 4),
    "regression": (1, 1),
}
# A regression head has no probabilities of its own: they are those of a logistic error of this scale around the
# value, over the classes' unit intervals, so that the most probable class is the nearest one.
REGRESSION_SPREAD = 0.4


def output_bias(name: str, bias: Tensor) -> Tensor:
    """The bias that is added to a last layer's product, from its parameters (..., k).

    Those of cumulative-link are the first bias and the (softplus) steps down from it: P(y > k) must fall with k.
    """
    if name != "cumulative-link":
        return bias
    return torch.cat([bias[..., :1], -F.softplus(bias[..., 1:])], -1).cumsum(-1)


def constant_bias(name: str, frequencies: Tensor) -> Tensor:
    """Bias parameters (..., k) of the best answer that looks at no features. frequencies: (..., 5) of the classes.

    Of sord and emd it is nearly the best. Training from here need not first find out how common the classes are.
    """
    p = frequencies.clamp(min=1e-3)
    p = p / p.sum(-1, keepdim=True)
    if name == "regression":
        return (p * torch.arange(CLASSES, device=p.device)).sum(-1, keepdim=True)
    reached = p.flip(-1).cumsum(-1).flip(-1)  # of this class or above
    if name == "corn":
        return torch.logit(reached[..., 1:] / reached[..., :-1])
    if name == "cumulative-link":
        above = torch.logit(reached[..., 1:])
        return torch.cat([above[..., :1], torch.log(torch.expm1(-above.diff(dim=-1)))], -1)
    return p.log()


def balanced_weights(labels: Ints) -> Floats:
    """Class weights (5,) as scikit-learn's compute_class_weight("balanced"); 0 for a class that does not occur."""
    counts = np.bincount(labels, minlength=CLASSES)
    return np.where(counts > 0, len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1)), 0.0)


def loss(name: str, outputs: Tensor, labels: Tensor, class_weights: Tensor) -> Tensor:
    """Weighted mean loss of each head, (...). outputs: (..., n, k); labels: int64, 0..4, (n,) or any shape that
    broadcasts to (..., n); class_weights: (..., 5).

    A row counts with its class's weight, and the weights' sum divides, as in torch's cross_entropy. CORN divides by
    the number of binary tasks that the rows take part in, as its authors do.
    """
    total, mass = loss_terms(name, outputs, labels, class_weights)
    return total / mass


def loss_terms(
    name: str, outputs: Tensor, labels: Tensor, class_weights: Tensor, counts: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Dividend and divisor of `loss`, (...) each: those of several parts of the rows may be added up.

    counts: 0 for rows that are not to count, else 1, of the labels' shape.
    """
    every = outputs.shape[:-1]
    weights = class_weights.expand(*every[:-1], CLASSES).gather(-1, labels.expand(every))
    if counts is not None:
        weights = weights * counts
    return (row_losses(name, outputs, labels) * weights).sum(-1), row_masses(name, labels, weights).sum(-1)


def row_masses(name: str, labels: Tensor, weights: Tensor) -> Tensor:
    """What rows of these weights add to the divisor of `loss`, (..., n)."""
    return (labels + 1).clamp(max=CLASSES - 1) * weights if name == "corn" else weights


def row_losses(name: str, outputs: Tensor, labels: Tensor) -> Tensor:
    """Unweighted loss of every row, (..., n)."""
    if name in ("cross-entropy", "cumulative-link"):
        index = labels.expand(outputs.shape[:-1]).unsqueeze(-1)
        return -log_probabilities(name, outputs).gather(-1, index).squeeze(-1)
    classes = torch.arange(CLASSES, device=outputs.device)
    if name == "sord":
        distance = (classes - labels[..., None]).square().to(outputs.dtype)
        return -(torch.softmax(-distance, -1) * F.log_softmax(outputs, -1)).sum(-1)
    if name == "emd":
        reached = (classes >= labels[..., None]).to(outputs.dtype)
        return (torch.softmax(outputs, -1).cumsum(-1) - reached).square().sum(-1)
    if name == "corn":
        tasks = classes[:-1]
        above = (labels[..., None] > tasks).to(outputs.dtype)
        takes_part = (labels[..., None] >= tasks).to(outputs.dtype)
        return ((F.softplus(outputs) - above * outputs) * takes_part).sum(-1)
    if name == "regression":
        return (outputs.squeeze(-1) - labels).square()
    raise ValueError(f"unknown loss {name!r}")


def log_probabilities(name: str, outputs: Tensor) -> Tensor:
    """Log-probabilities of the five classes, (..., n, 5)."""
    if name in ("cross-entropy", "sord", "emd"):
        return F.log_softmax(outputs, -1)
    if name == "corn":
        not_above, above = F.logsigmoid(-outputs), F.logsigmoid(outputs).cumsum(-1)
        return torch.cat([not_above[..., :1], above[..., :-1] + not_above[..., 1:], above[..., -1:]], -1)
    if name == "cumulative-link":
        below = -outputs
        return torch.cat([F.logsigmoid(below[..., :1]), _log_intervals(below), F.logsigmoid(-below[..., -1:])], -1)
    if name == "regression":
        edges = torch.arange(CLASSES + 1, device=outputs.device, dtype=outputs.dtype) - 0.5
        return F.log_softmax(_log_intervals((edges - outputs) / REGRESSION_SPREAD), -1)
    raise ValueError(f"unknown loss {name!r}")


def _log_intervals(edges: Tensor) -> Tensor:
    """log(sigma(b) - sigma(a)) between neighbours of (..., m) ascending edges, (..., m - 1).

    sigma(b) - sigma(a) = sigma(b) sigma(-a) (1 - exp(a - b)): no difference of nearly equal numbers is taken.
    """
    upper, lower = edges[..., 1:], edges[..., :-1]
    gap = (upper - lower).clamp(min=torch.finfo(edges.dtype).tiny)
    return F.logsigmoid(upper) + F.logsigmoid(-lower) + torch.log(-torch.expm1(-gap))
