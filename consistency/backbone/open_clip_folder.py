"""The files of an open_clip model folder: configuration, weights, tokenizer and text tower, read without torch."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from consistency.backbone.model_folder import TOKENIZERS, model_type, read_json, refuse_code
from consistency.errors import BackboneError

CONFIG = "open_clip_config.json"
TEXT_TOWERS = ("roberta", "xlm-roberta", "mt5", "bert", "m2m_100")  # types of transformers that open_clip knows
WEIGHT_FILES = (  # in the order in which open_clip itself looks for them
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "model.safetensors",
    "pytorch_model.bin",
)


def model_config(folder: Path) -> dict[str, Any]:
    """The architecture in `open_clip_config.json`. Raises BackboneError if it describes no dual encoder."""
    config = read_json(folder / CONFIG).get("model_cfg")
    if isinstance(config, dict) and all(isinstance(config.get(tower), dict) for tower in ("vision_cfg", "text_cfg")):
        return config
    raise BackboneError(f"{folder / CONFIG} has no model_cfg with vision_cfg and text_cfg; expected an open_clip model")


def preprocessing(folder: Path) -> dict[str, Any]:
    """What `open_clip_config.json` says about images; open_clip fills in the rest."""
    found = read_json(folder / CONFIG).get("preprocess_cfg")
    return found if isinstance(found, dict) else {}


def text_tower(folder: Path) -> str | None:
    """Name of the transformers model whose architecture the text tower has; None if it is open_clip's own."""
    name = model_config(folder)["text_cfg"].get("hf_model_name")
    return str(name) if name else None


def holds_text_tower(folder: Path) -> bool:
    """Whether the folder's own `config.json` is that of a text tower."""
    return (folder / "config.json").is_file() and model_type(folder) in TEXT_TOWERS


def check_configuration(folder: Path) -> None:
    """Check that a folder holds an open_clip dual encoder that needs no code and no further weights.

    Raises
    ------
    BackboneError
        If it does not.
    """
    config = model_config(folder)
    vision, text = config["vision_cfg"], config["text_cfg"]
    refuse_code(folder)
    if ":" in str(vision.get("timm_model_name", "")):
        raise BackboneError(
            f"{folder / CONFIG} takes its image tower from elsewhere ({vision['timm_model_name']}); expected the name "
            "of an architecture of timm"
        )
    if text.get("tokenizer_mode"):
        raise BackboneError(f"{folder / CONFIG} asks for the tokenizer mode {text['tokenizer_mode']!r}; expected none")
    if text.get("hf_tokenizer_name") and not any(path.name.endswith(TOKENIZERS) for path in folder.iterdir()):
        raise BackboneError(
            f"{folder} has no tokenizer; put the tokenizer files of {text['hf_tokenizer_name']} there too"
        )


def weight_names(folder: Path, names: Collection[str]) -> list[str]:
    """The weight file to load, safetensors before pickles. Raises BackboneError if there is none."""
    for name in WEIGHT_FILES:
        if name in names:
            return [name]
    raise BackboneError(f"{folder} has no usable weights; expected {WEIGHT_FILES[0]} or {WEIGHT_FILES[2]}")
