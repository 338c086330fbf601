"""Linear heads in closed form: ridge regression for any number of strengths from one eigendecomposition.

The target is the class, 0 to 4 (loss "regression"), or its one-hot code (loss "cross-entropy", where the outputs serve
as logits and a temperature turns them into probabilities). With row weights w that sum to 1, a head minimises

    sum_i w_i |y_i - W x_i - b|^2 + weight_decay |W|^2

over centred features, which are divided by their standard deviation if the configuration standardises. See Hastie,
Tibshirani & Friedman, The Elements of Statistical Learning, 3.4.1 (primal form) and 18.3.5 (dual form).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from consistency.scale import CLASSES
from heads.config import HeadConfig
from heads.model import Head
from heads.pairs import Pairs

PART = 2048  # rows at once, so that 1,537 features in double precision stay near the caches
COLUMNS = {"cross-entropy": slice(0, CLASSES), "regression": slice(CLASSES, CLASSES + 1)}  # of the targets


def ridge_heads(configs: Sequence[HeadConfig], pairs: Pairs, rows: Tensor, class_weights: Tensor) -> list[Head]:
    """Solve heads that differ only in loss and weight decay.

    Parameters
    ----------
    configs : sequence of HeadConfig
        Their configurations.
    pairs : Pairs
        The pairs.
    rows : (n,) int64
        Training rows.
    class_weights : (5,) float
        Weight of each class.

    Returns
    -------
    list of Head
        In the order of `configs`.
    """
    config, labels = configs[0], pairs.labels[rows]
    weights = class_weights.double()[labels]
    weights = weights / weights.sum()
    codes = torch.eye(CLASSES, dtype=torch.float64, device=rows.device)[labels]
    targets = torch.cat([codes, labels.double()[:, None]], dim=1)
    _, scale = pairs.moments(config.features, rows)
    scale = scale.double() if config.standardise else torch.ones_like(scale).double()
    centre = torch.zeros_like(scale)
    for part, w in zip(rows.split(PART), weights.split(PART), strict=True):
        centre += w @ pairs.features(config.features, part).double()
    average = weights @ targets
    residual = (targets - average) * weights.sqrt()[:, None]

    dtype = pairs.images.dtype
    shift, stretch = centre.to(dtype), scale.to(dtype)

    def design(part: Tensor, w: Tensor) -> Tensor:
        return (pairs.features(config.features, part) - shift) / stretch * w.sqrt().to(dtype)[:, None]

    if len(centre) <= len(rows):  # part by part: products in the precision of the tables, sums in double
        gram = torch.zeros(len(centre), len(centre), dtype=torch.float64, device=rows.device)
        moment = torch.zeros(len(centre), targets.shape[1], dtype=torch.float64, device=rows.device)
        for part, w, r in zip(rows.split(PART), weights.split(PART), residual.split(PART), strict=True):
            x = design(part, w)
            gram += x.T @ x
            moment += x.T @ r.to(dtype)
        strengths, basis = torch.linalg.eigh(gram)
        projected = basis.T @ moment
    else:
        x = design(rows, weights).double()
        strengths, dual = torch.linalg.eigh(x @ x.T)
        basis, projected = x.T @ dual, dual.T @ residual
    heads = []
    for c in configs:
        slopes = basis @ (projected[:, COLUMNS[c.loss]] / (strengths + c.weight_decay)[:, None])
        heads.append(_head(c, slopes, scale, centre, average[COLUMNS[c.loss]], pairs))
    return heads


def _head(config: HeadConfig, slopes: Tensor, scale: Tensor, centre: Tensor, average: Tensor, pairs: Pairs) -> Head:
    """Build a head for plain features from slopes, (feature_dim, k), for centred and scaled ones."""
    weight = (slopes / scale[:, None]).T
    bias = average - weight @ centre
    return Head.of(config, pairs.images.shape[1], [weight.to(pairs.images), bias.to(pairs.images)])
