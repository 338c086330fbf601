"""Finetuned holds tuned encoders and their head; this module also saves and loads them."""

import json
import re
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import torch
from safetensors.torch import save as save_tensors
from torch import Tensor

from consistency.backbone.model import Backbone, load_backbone
from consistency.backbone.model_folder import is_small_file, processor_config, read_json
from consistency.backbone.preprocess import squash
from consistency.backbone.resolve import resolve_backbone
from consistency.backbone.state_dict import read_state_dict
from consistency.data.trained_on import RECORD, TrainedOn
from consistency.durable import make_folder, write_file, write_with_digest
from consistency.errors import InputError, one_line
from consistency.format_version import check_format
from finetune.classifier import embed
from finetune.config import FinetuneConfig
from finetune.dataset import Floats, Ints, PairData
from heads.load import load_head
from heads.model import Head, TrainedHead

FORMAT = 1
NOT_COPIED = (
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "model.safetensors.index.json",
    RECORD,
)
OLD_BUFFER = "position_ids"  # earlier versions of transformers stored this constant


@dataclass(frozen=True, eq=False)
class Finetuned:
    """A fine-tuned backbone, its head, and the configuration that made them.

    Attributes
    ----------
    backbone : Backbone
        The tuned encoders.
    head : TrainedHead
        Trained together with them.
    config : FinetuneConfig
        How they were trained.
    trained_on : TrainedOn or None
        What the backbone has seen in this training and in earlier ones; None if that is unknown.
    """

    backbone: Backbone
    head: TrainedHead
    config: FinetuneConfig
    trained_on: TrainedOn | None = None

    def probabilities(self, data: PairData, rows: Ints) -> Floats:
        """Class probabilities of usable rows, shape (m, 5), float64."""
        return self.head.predict_proba(embed(self.backbone, data, rows))


def save_finetuned(folder: Path, model: Finetuned) -> None:
    """Write model/ (a Hugging Face folder), head.safetensors, head.json and finetune.json into `folder`.

    If the head has the published layout, also write the whole model as fine_tuned_<backbone>.pth, as published.

    Parameters
    ----------
    folder : Path
        Folder to write into; it is created if it does not exist.
    model : Finetuned
        Model to save.
    """
    make_folder(folder / "model")
    # First, so that an interruption cannot leave new weights beside an old record.
    if model.trained_on is None:
        (folder / "model" / RECORD).unlink(missing_ok=True)
    else:
        model.trained_on.write(folder / "model")
    save_backbone(folder / "model", model.backbone)
    model.head.save(folder)
    if model.head.config.has_published_layout:
        name = re.sub(r"[^\w.-]+", "-", model.backbone.resolved.name.rstrip("/").rsplit("/", 1)[-1])
        buffer = BytesIO()
        torch.save(published_state(model), buffer)
        write_with_digest(folder / f"fine_tuned_{name}.pth", buffer.getvalue())
    description = {"format": FORMAT, "config": model.config.as_dict()}
    write_file(folder / "finetune.json", (json.dumps(description, indent=2) + "\n").encode())


def load_finetuned(folder: Path, *, device: str = "auto") -> Finetuned:
    """Load a model that `save_finetuned` wrote.

    Parameters
    ----------
    folder : Path
        Folder of the model.
    device : str, default "auto"
        Device of the backbone.

    Returns
    -------
    Finetuned
        The model, with fp32 weights.

    Raises
    ------
    InputError
        If the folder holds no fine-tuned model, or one that cannot be read.
    """
    try:
        description = json.loads((folder / "finetune.json").read_bytes())
        check_format(folder / "finetune.json", description["format"], FORMAT, instead="fine-tune again")
        config = FinetuneConfig.from_dict(description["config"])
    except FileNotFoundError as error:
        raise InputError(f"{folder} holds no fine-tuned model: {error.filename} is missing") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder / 'finetune.json'} cannot be read ({error}): fine-tune again") from error
    resolved = resolve_backbone(str(folder.absolute()))  # absolute: a folder may have the name of a backbone
    backbone = load_backbone(resolved, device=device, precision="fp32", decode=config.decode)
    head = load_head(folder)
    if not isinstance(head, TrainedHead):
        raise InputError(f"{folder / 'head.json'} is of several heads, a fine-tuned model has one: fine-tune again")
    return Finetuned(backbone, head, config, resolved.trained_on)


def save_backbone(folder: Path, backbone: Backbone) -> None:
    """Write an ordinary Hugging Face folder: fp32 weights, configuration, tokenizer and preprocessing."""
    source = backbone.resolved.folder
    config = {key: value for key, value in read_json(source / "config.json").items() if key != "torch_dtype"}
    preprocessing = processor_config(source)
    if backbone.spec is not None and squash(backbone.spec) == backbone.spec:
        height, width = backbone.spec.size
        size = {"height": height, "width": width}
        preprocessing |= {"do_resize": True, "do_center_crop": False, "size": size, "resample": backbone.spec.resample}
        preprocessing.pop("crop_size", None)
    for path in sorted(source.iterdir()):
        if path.is_file() and is_small_file(path.name) and path.name not in NOT_COPIED:
            write_file(folder / path.name, path.read_bytes())
    write_file(folder / "preprocessor_config.json", _json(preprocessing))
    state = {name: value.detach().cpu().contiguous() for name, value in backbone.model.state_dict().items()}
    write_with_digest(folder / "model.safetensors", save_tensors(state, {"format": "pt"}))
    write_file(folder / "config.json", _json(config | {"dtype": "float32"}))


def published_state(model: Finetuned) -> dict[str, Tensor]:
    """Return all weights under their published names."""
    prefix = published_prefix(model.backbone)
    state = {f"{prefix}.{name}": value.detach().cpu() for name, value in model.backbone.model.state_dict().items()}
    return state | {f"classifier.{name}": value.detach().cpu() for name, value in model.head.head.state_dict().items()}


def published_prefix(backbone: Backbone) -> str:
    return "clip_model" if backbone.resolved.name == "clip" else "base_model"


def load_published(path: Path, backbone: Backbone) -> Finetuned:
    """Load a published fine_tuned_*.pth into `backbone`, without running code from the file.

    The published script for a frozen backbone saves its whole model under the same names but does not squash images,
    so a file with unchanged encoders is refused.

    Parameters
    ----------
    path : Path
        The published file.
    backbone : Backbone
        Backbone of the same architecture with its original weights; it is changed in place.

    Returns
    -------
    Finetuned
        The published model.

    Raises
    ------
    InputError
        If the weights do not fit such a model, or the encoders equal those of `backbone`.
    """
    config = FinetuneConfig.paper()
    state = read_state_dict(path)
    try:
        parts: dict[str, dict[str, Tensor]] = {"clip_model": {}, "base_model": {}, "classifier": {}}
        for name, value in state.items():
            prefix, _, rest = name.partition(".")
            if not rest.endswith(OLD_BUFFER):
                parts[prefix][rest] = value
        width, features = parts["classifier"]["0.weight"].shape
        head = Head(config.head, features // 2)
        head.load_state_dict(parts["classifier"])
        encoders, own = parts["clip_model"] or parts["base_model"], backbone.model.state_dict()
        frozen = all(name in encoders and torch.equal(encoders[name], own[name].to(encoders[name])) for name in own)
        backbone.model.load_state_dict(encoders)
    except (KeyError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{path} is no published fine-tuning of {backbone.resolved.name} (clip_model.* or base_model.*, and "
            f"classifier.0.* and classifier.3.*): {one_line(error)[:200]}"
        ) from error
    if frozen:
        raise InputError(
            f"{path} holds the encoders of {backbone.resolved.name} as they are, not fine-tuned: name the published "
            "classifier file that was saved with it"
        )
    if backbone.spec is not None:
        backbone.spec = squash(backbone.spec)
    return Finetuned(backbone, TrainedHead(config.head, head.eval(), features // 2, seed=0), config)


def _json(value: object) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=2) + "\n").encode()
