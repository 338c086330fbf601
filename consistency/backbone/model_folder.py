"""The files of a Hugging Face model folder: configuration, weights and their digest, read without torch."""

import hashlib
import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from consistency.data.trained_on import RECORD
from consistency.durable import check_digest
from consistency.errors import BackboneError, StorageError, one_line

# Dual encoders whose embeddings are tested to equal those of transformers. The text towers of `TRIMMED` are causal or
# mask their padding, so padding to the longest text of a batch gives the same as padding to the model's length.
TRIMMED = ("clip", "metaclip_2", "altclip", "chinese_clip", "vision-text-dual-encoder")
SUPPORTED = (*TRIMMED, "siglip", "siglip2")

# Dual encoders that are of no use here, and why.
REFUSED = {"align": "an ALIGN, whose text tower has an English vocabulary and so cannot tell Korean hashtags apart"}

WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
TOKENIZERS = ("tokenizer.json", "vocab.json", "vocab.txt", "spiece.model", "tokenizer.model")
FLAX = "flax_model.msgpack"
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
SMALL_FILES = (".json", ".txt", ".model")  # every configuration and tokenizer file that transformers reads
# What `export` puts beside a model, and what affects none of its embeddings.
BESIDE = ("export.json", "finetune.json", "head.json", "metrics.json", "sets.json", "thresholds.json")


def is_small_file(name: str) -> bool:
    """Whether a file, named relative to the model's folder, is a configuration or tokenizer file."""
    return "/" not in name and name.endswith(SMALL_FILES) and name not in BESIDE


def read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BackboneError(f"{path.parent} has no {path.name}; expected a Hugging Face model folder") from None
    except (OSError, ValueError) as error:
        raise BackboneError(f"{path} cannot be read as JSON ({one_line(error)}); download the model again") from error
    if not isinstance(value, dict):
        raise BackboneError(f"{path} holds a JSON {type(value).__name__}; expected an object")
    return value


def model_type(folder: Path) -> str:
    return str(read_json(folder / "config.json").get("model_type"))


def lowers_text(folder: Path) -> bool:
    """Whether a folder is a SigLIP 2, which was trained on lower-cased text; others leave that to their tokenizer.

    Those of fixed resolution have the type and classes of SigLIP, and the tokenizer of Gemma, which keeps case.
    """
    kind, path = model_type(folder), folder / "tokenizer_config.json"
    tokenizer = str(read_json(path).get("tokenizer_class")) if path.is_file() else ""
    return kind == "siglip2" or (kind == "siglip" and tokenizer.startswith(("Gemma", "Siglip2")))


def processor_config(folder: Path) -> dict[str, Any]:
    """Configuration of the image processor, from the file that transformers reads it from."""
    nested = folder / "processor_config.json"
    if nested.is_file() and isinstance(config := read_json(nested).get("image_processor"), dict):
        return config
    return read_json(folder / "preprocessor_config.json")


def check_configuration(folder: Path) -> None:
    """Check that a model folder holds a supported dual encoder that needs no code of its own.

    Parameters
    ----------
    folder : Path
        Hugging Face model folder; the weights may be missing.

    Raises
    ------
    BackboneError
        If it does not.
    """
    if (kind := model_type(folder)) in REFUSED:
        raise BackboneError(f"{folder} is {REFUSED[kind]}; use a multilingual model, such as siglip2")
    if kind not in SUPPORTED:
        raise BackboneError(
            f"{folder} is a model of type {kind!r}; expected a CLIP-family dual encoder ({', '.join(SUPPORTED)})"
        )
    processor_config(folder)
    refuse_code(folder)
    if not any((folder / name).is_file() for name in TOKENIZERS):
        raise BackboneError(f"{folder} has no tokenizer (tokenizer.json); save the model's processor there too")


def refuse_code(folder: Path) -> None:
    """Raise BackboneError if a configuration in the folder asks for code from the model's repository."""
    for path in sorted(folder.glob("*.json")):
        if path.name.endswith("config.json") and "auto_map" in read_json(path):
            raise BackboneError(
                f"{path} asks to run code from the model's repository (auto_map), which this program never does; "
                "use a model that transformers itself implements"
            )


def weight_names(folder: Path, names: Collection[str]) -> list[str]:
    """Choose the weight files to load, safetensors before pickles.

    Parameters
    ----------
    folder : Path
        Folder that holds the index of the shards, if there is one.
    names : collection of str
        Names of all files of the model.

    Returns
    -------
    list of str

    Raises
    ------
    BackboneError
        If there are no usable weights.
    """
    for name in WEIGHT_FILES:
        if name not in names:
            continue
        if not name.endswith(".json"):
            return [name]
        mapping = read_json(folder / name).get("weight_map")
        shards = sorted({str(shard) for shard in mapping.values()}) if isinstance(mapping, dict) else []
        if not shards or any("/" in shard or "\\" in shard for shard in shards):
            raise BackboneError(f"{folder / name} names no files in its own folder; download the model again")
        if absent := [shard for shard in shards if shard not in names]:
            raise BackboneError(f"{folder} lacks {absent[0]}, which {name} names")
        return shards
    if FLAX in names:
        convert = (
            "from transformers import AutoConfig as C, AutoModel as M, modeling_flax_pytorch_utils as u; "
            f"u.load_flax_checkpoint_in_pytorch_model(M.from_config(C.from_pretrained('{folder}')), "
            f"'{folder}/{FLAX}').save_pretrained('{folder}')"
        )
        raise BackboneError(
            f"{folder} has weights of Flax only ({FLAX}); expected model.safetensors: convert them once, in a folder "
            f"on this machine and an environment with 'transformers<5', torch and flax: python -c \"{convert}\""
        )
    raise BackboneError(f"{folder} has no usable weights; expected model.safetensors or pytorch_model.bin")


def digest(folder: Path, small: Iterable[str], weights: tuple[Path, ...]) -> str:
    """Hash the names and contents of all files that affect embeddings: weights, configurations, tokenizer.

    The record of what a backbone was trained on does not affect any: with or without it the digest is the same.

    Parameters
    ----------
    folder : Path
        Model folder.
    small : iterable of str
        Its configuration and tokenizer files, relative to the folder.
    weights : tuple of Path
        Its weight files.

    Returns
    -------
    str
        SHA-256 in hexadecimal.

    Raises
    ------
    BackboneError
        If a weight file does not match the `.sha256` file beside it.
    """
    whole = hashlib.sha256()
    for path in sorted({folder / name for name in small if name != RECORD} | set(weights)):
        if path in weights and path.with_name(path.name + ".sha256").is_file():
            try:
                found = check_digest(path)
            except StorageError as error:
                raise BackboneError(str(error)) from error
        else:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        name = path.relative_to(folder).as_posix()
        whole.update(f"{len(name.encode())}:{name}:{found}\n".encode())
    return whole.hexdigest()
