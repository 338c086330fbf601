"""The published `classifier` weight file (.pth): a state dict of 0.weight, 0.bias, 3.weight, 3.bias."""

import io
from dataclasses import replace
from pathlib import Path

import torch

from consistency.backbone.state_dict import read_state_dict
from consistency.durable import write_with_digest
from consistency.errors import InputError
from heads.config import HeadConfig
from heads.model import Head, TrainedHead


def import_published(path: Path) -> TrainedHead:
    """Read a published `classifier` file as a head, without executing code in it.

    Raises
    ------
    InputError
        If the file does not exist, cannot be read, or has other weights.
    """
    tensors = read_state_dict(path)
    try:
        width, inputs = tensors["0.weight"].shape
        config = replace(HeadConfig.paper(), hidden=(width,))
        head = Head(config, inputs // 2, seed=None)
        head.load_state_dict(tensors)
    except (KeyError, AttributeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{path} is not a published classifier: expected the tensors 0.weight, 0.bias, 3.weight and 3.bias"
        ) from error
    return TrainedHead(config=config, head=head.eval(), embed_dim=inputs // 2, seed=0)


def export_published(trained: TrainedHead, path: Path) -> None:
    """Write a head as a published `classifier` file.

    The layout has no room for temperature and power. Readers of the file take the most probable score, as published.

    Raises
    ------
    InputError
        If the head does not have the published layout (`HeadConfig.has_published_layout`).
    """
    if not trained.config.has_published_layout:
        raise InputError("only a head on concat features with one hidden layer and five logits has the .pth layout")
    buffer = io.BytesIO()
    torch.save(trained.head.state_dict(), buffer)
    write_with_digest(path, buffer.getvalue())
