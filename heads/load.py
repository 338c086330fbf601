"""Reads a trained head of any kind from its folder."""

import json
import math
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors

from consistency.durable import check_digest
from consistency.errors import InputError, one_line
from consistency.format_version import check_format
from heads.by_post import ByPost
from heads.config import HeadConfig, parameter_count
from heads.model import FORMAT, Head, HeadEnsemble, TrainedHead
from heads.post_head import TrainedPostHead
from heads.select import POWERS
from heads.thresholds import check_thresholds

AnyHead = TrainedHead | HeadEnsemble | TrainedPostHead | ByPost


def load_head(folder: Path) -> AnyHead:
    """Read what the `save` of a head wrote into a folder.

    Raises
    ------
    InputError
        If the folder has no trained head, or one that this version cannot read.
    StorageError
        If the weights do not match their digest.
    """
    try:
        description = json.loads((folder / "head.json").read_bytes())
        check_format(folder / "head.json", description["format"], FORMAT, instead="train again")
        if "reads" in description:
            return TrainedPostHead.load(folder, description)
        if "by_post" in description:
            return ByPost.load(folder, description, load_head)
        if "members" in description:
            members = tuple(_load_member(folder / Path(name).name) for name in description["members"])
            _check_power(description["power"])
            if not members:
                raise ValueError("it has no members")
            return HeadEnsemble(members, description["power"])
        return _load_member(folder)
    except FileNotFoundError as error:
        raise InputError(f"{folder} has no trained head: {error.filename} is missing") from error
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RuntimeError) as error:
        raise InputError(
            f"{folder} has no head that this version can read ({one_line(error)}): run its command again"
        ) from error


def _load_member(folder: Path) -> TrainedHead:
    description = json.loads((folder / "head.json").read_bytes())
    check_format(folder / "head.json", description["format"], FORMAT, instead="train again")
    _check(description)
    config = HeadConfig.from_dict(description["config"])
    check_digest(folder / "head.safetensors")
    weights = load_tensors((folder / "head.safetensors").read_bytes())
    # Before a network of that size is made: head.json may claim any.
    if parameter_count(config, description["embed_dim"]) > sum(tensor.numel() for tensor in weights.values()):
        raise ValueError("the network that it describes is larger than its weights")
    head = Head(config, description["embed_dim"], seed=None)
    head.load_state_dict(weights)
    thresholds = description["thresholds"]
    return TrainedHead(
        config=config,
        head=head.eval(),
        embed_dim=description["embed_dim"],
        seed=description["seed"],
        power=description["power"],
        thresholds=None if thresholds is None else tuple(thresholds),
        temperature=description["temperature"],
        fingerprint=description["fingerprint"],
    )


def _check(description: dict[str, Any]) -> None:
    """Raise ValueError if head.json has a decision rule that no training gives."""
    thresholds, temperature = description["thresholds"], description["temperature"]
    _check_power(description["power"])
    if not (math.isfinite(temperature) and temperature > 0):
        raise ValueError(f"temperature is {temperature}, expected a number above 0")
    if thresholds is not None:
        check_thresholds(thresholds)


def _check_power(power: object) -> None:
    if power not in POWERS:
        raise ValueError(f"power is {power}, expected one of {', '.join(map(str, POWERS))}")
