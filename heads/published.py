"""The published `classifier` weight file (.pth): a state dict of 0.weight, 0.bias, 3.weight, 3.bias."""

import io
from dataclasses import replace
from pathlib import Path

import torch

from consistency.durable import write_with_digest
from consistency.errors import InputError
from heads.config import HeadConfig
from heads.losses import CLASSES, OUTPUTS
from heads.model import Head, TrainedHead


def import_published(path: Path) -> TrainedHead:
    """A published `classifier` (.pth state dict: 0.weight, 0.bias, 3.weight, 3.bias) as a head. No code is run."""
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
        width, inputs = tensors["0.weight"].shape
        config = replace(HeadConfig.paper(), hidden=(width,))
        head = Head(config, inputs // 2)
        head.load_state_dict(tensors)
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist") from error
    except Exception as error:  # torch reports a file it cannot read in many ways
        raise InputError(f"{path} is no published classifier (0.weight, 0.bias, 3.weight, 3.bias)") from error
    return TrainedHead(config=config, head=head.eval(), embed_dim=inputs // 2, seed=0)


def export_published(trained: TrainedHead, path: Path) -> None:
    """Write the published `classifier` layout; only concat features, one hidden layer and five logits fit it."""
    config = trained.config
    if config.features != "concat" or len(config.hidden) != 1 or OUTPUTS[config.loss] != (CLASSES, CLASSES):
        raise InputError("only a head on concat features with one hidden layer and five logits has the .pth layout")
    buffer = io.BytesIO()
    torch.save(trained.head.state_dict(), buffer)
    write_with_digest(path, buffer.getvalue())
