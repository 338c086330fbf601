"""The losses of heads over five ordered classes, and the class probabilities that their outputs stand for.

Outputs have shape (..., n, k): any number of heads, n pairs, and k numbers for each pair:

    name             k  a pair's outputs                      source
    cross-entropy    5  logits                                the published recipe
    sord             5  logits, against soft labels           Diaz & Marathe, Soft Labels for Ordinal Regression, 2019
    emd              5  logits, by cumulative probability     Hou, Yu & Samaras, Squared EMD loss, arXiv:1611.05916
    corn             4  logits of y > k given y > k - 1       Shi, Cao & Raschka, CORN, arXiv:2111.08851
    cumulative-link  4  logits of y > k, one score for all    McCullagh, Regression Models for Ordinal Data, 1980
    regression       1  the class itself, 0 to 4              least squares; thresholds are fitted afterwards
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from consistency.scale import CLASSES, Floats, Ints

# Rows of the last layer's weight and entries of its bias. The four outputs of cumulative-link share one weight row.
OUTPUTS: dict[str, tuple[int, int]] = {
    "cross-entropy": (5, 5),
    "sord": (5, 5),
    "emd": (5, 5),
    "corn": (4, 4),
    "cumulative-link": (1, 4),
    "regression": (1, 1),
}
# A regression head predicts one number. Its probabilities assume a logistic error of this scale around that number,
# integrated over a unit interval for each class, so that the most probable class is the nearest one.
REGRESSION_SPREAD = 0.4


def output_bias(name: str, bias: Tensor) -> Tensor:
    """Return the bias of the last layer, (..., k), from its parameters, (..., k).

    For cumulative-link the parameters are the first bias and the steps down from it (through softplus), so that
    P(y > k) falls with k. For all other losses they are the bias itself.
    """
    if name != "cumulative-link":
        return bias
    return torch.cat([bias[..., :1], -F.softplus(bias[..., 1:])], -1).cumsum(-1)


def constant_bias(name: str, frequencies: Tensor) -> Tensor:
    """Return the bias parameters of the best prediction without features (for sord and emd, nearly the best).

    Training that starts there need not first learn how frequent the classes are.

    Parameters
    ----------
    name : str
        The loss.
    frequencies : (..., 5) float
        Relative frequencies of the classes.

    Returns
    -------
    (..., k) float
        Parameters for `output_bias`.
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
    """Return class weights, (5,), like scikit-learn's compute_class_weight("balanced").

    A class without labels has weight 0.
    """
    counts = np.bincount(labels, minlength=CLASSES)
    return np.where(counts > 0, len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1)), 0.0)


def loss(name: str, outputs: Tensor, labels: Tensor, class_weights: Tensor) -> Tensor:
    """Compute the weighted mean loss of each head.

    Each row counts with the weight of its class, and the sum is divided by the sum of the weights, as in torch's
    cross_entropy. For CORN, as published, the divisor counts the binary tasks that each row takes part in.

    Parameters
    ----------
    name : str
        The loss.
    outputs : (..., n, k) float
        Outputs of the heads.
    labels : (n,) int64, or any shape that broadcasts to (..., n)
        Classes, 0 to 4.
    class_weights : (..., 5) float
        Weight of each class.

    Returns
    -------
    (...) float
        The losses.
    """
    total, mass = loss_terms(name, outputs, labels, class_weights)
    return total / mass


def loss_terms(
    name: str, outputs: Tensor, labels: Tensor, class_weights: Tensor, counts: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Compute the dividend and the divisor of `loss`, (...) each, so that they can be summed over parts of the rows.

    Rows count as often as `counts`, of the labels' shape, says: 0 leaves them out.
    """
    every = outputs.shape[:-1]
    weights = class_weights.expand(*every[:-1], CLASSES).gather(-1, labels.expand(every))
    if counts is not None:
        weights = weights * counts
    return (row_losses(name, outputs, labels) * weights).sum(-1), row_masses(name, labels, weights).sum(-1)


def soft_loss_terms(
    name: str, outputs: Tensor, shares: Tensor, class_weights: Tensor, counts: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Compute `loss_terms` for labels that are distributions: the mean over the scores that people gave.

    Every loss has such a mean. For cross-entropy it is the cross-entropy with the distribution, and for regression and
    emd it differs by a constant from the loss of the mean score and of the mean cumulative distribution.

    Parameters
    ----------
    name, outputs, class_weights, counts
        As for `loss_terms`.
    shares : (..., n, 5) float
        Share of the people who gave each score; the leading dimensions broadcast to those of the labels.
    """
    totals, masses = [], []
    for score in range(CLASSES):
        share = shares[..., score]
        labels = torch.full(share.shape, score, dtype=torch.int64, device=share.device)
        total, mass = loss_terms(name, outputs, labels, class_weights, share if counts is None else share * counts)
        totals.append(total)
        masses.append(mass)
    return torch.stack(totals).sum(0), torch.stack(masses).sum(0)


def row_masses(name: str, labels: Tensor, weights: Tensor) -> Tensor:
    """Return what each row adds to the divisor of `loss`, (..., n), from its weight."""
    return (labels + 1).clamp(max=CLASSES - 1) * weights if name == "corn" else weights


def row_losses(name: str, outputs: Tensor, labels: Tensor) -> Tensor:
    """Compute the unweighted loss of each row, (..., n)."""
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
    """Compute the log-probabilities of the five classes, (..., n, 5), from outputs (..., n, k)."""
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
    """Compute log(sigma(b) - sigma(a)) for neighbouring edges a < b of (..., m), (..., m - 1).

    sigma(b) - sigma(a) = sigma(b) sigma(-a) (1 - exp(a - b)) avoids the difference of nearly equal numbers.
    """
    upper, lower = edges[..., 1:], edges[..., :-1]
    gap = (upper - lower).clamp(min=torch.finfo(edges.dtype).tiny)
    return F.logsigmoid(upper) + F.logsigmoid(-lower) + torch.log(-torch.expm1(-gap))
