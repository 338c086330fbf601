"""Warm start: a head trained on the embeddings of the untouched encoders, so that fine-tuning begins with sense.

Linear-probing before fine-tuning keeps the first gradients of a random head from distorting the encoders
(Kumar et al., Fine-Tuning can Distort Pretrained Features, ICLR 2022).
"""

import numpy as np
import torch
from torch import Tensor

from consistency.backbone.embeddings import PairEmbeddings
from finetune.dataset import Floats, Ints
from heads.config import rate_share
from heads.losses import loss
from heads.model import Head, HeadConfig, pair_features


def probe_head(
    config: HeadConfig, pairs: PairEmbeddings, labels: Ints, class_weights: Floats, *, seed: int, device: str
) -> Head:
    """A head of `config` trained by its recipe. labels: (n_pairs,) int64 0..4. class_weights: (5,)."""
    head = Head(config, pairs.dim, seed=seed).to(device).train()
    images, hashtags = torch.from_numpy(pairs.images).to(device), torch.from_numpy(pairs.hashtags).to(device)
    image_index, hashtag_index = torch.from_numpy(pairs.image_index), torch.from_numpy(pairs.hashtag_index)
    targets = torch.from_numpy(labels).to(device)
    weights = torch.from_numpy(class_weights).float().to(device)

    def features(rows: Tensor) -> Tensor:
        return pair_features(config.features, images[image_index[rows]], hashtags[hashtag_index[rows]])

    mean, deviation = _moments(features(torch.arange(len(pairs)))) if config.standardise else (0.0, 1.0)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.optimizer]
    optimizer = kind(head.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    rng = np.random.default_rng([seed, 3])
    for epoch in range(config.epochs):
        for group in optimizer.param_groups:
            group["lr"] = config.lr * rate_share(config.schedule, epoch, epoch / config.epochs)
        for rows in torch.from_numpy(rng.permutation(len(pairs))).split(config.batch_size):
            optimizer.zero_grad()
            outputs = head((features(rows) - mean) / deviation)
            loss(config.loss, outputs, targets[rows], weights).backward()
            optimizer.step()
    if config.standardise:
        first = head.affine()[0]
        with torch.no_grad():
            first.weight.div_(deviation)
            shift = first.weight @ mean
            first.bias[: len(shift)] -= shift
    return head


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    deviation, mean = torch.std_mean(features, dim=0, correction=0)
    return mean, torch.where(deviation > 1e-6, deviation, 1.0)
