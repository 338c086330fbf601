"""Reads a trained head of any kind from its folder."""

import json
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors

from consistency.durable import check_digest
from consistency.errors import InputError
from heads.by_post import ByPost
from heads.config import HeadConfig
from heads.model import FORMAT, Head, HeadEnsemble, TrainedHead
from heads.post_head import TrainedPostHead

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
        if description["format"] != FORMAT:
            raise InputError(f"{folder / 'head.json'} has format {description['format']}, expected {FORMAT}")
        if "reads" in description:
            return TrainedPostHead.load(folder, description)
        if "by_post" in description:
            return ByPost.load(folder, description, load_head)
        if "members" in description:
            members = tuple(_load_member(folder / Path(name).name) for name in description["members"])
            return HeadEnsemble(members, description["power"])
        return _load_member(folder)
    except FileNotFoundError as error:
        raise InputError(f"{folder} has no trained head: {error.filename} is missing") from error
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise InputError(f"{folder} has no head that this version can read ({error}): run its command again") from error


def _load_member(folder: Path) -> TrainedHead:
    description = json.loads((folder / "head.json").read_bytes())
    config = HeadConfig.from_dict(description["config"])
    head = Head(config, description["embed_dim"], seed=None)
    check_digest(folder / "head.safetensors")
    head.load_state_dict(load_tensors((folder / "head.safetensors").read_bytes()))
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
