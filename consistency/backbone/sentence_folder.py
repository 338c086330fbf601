"""The files of a sentence-transformers folder: its modules, their weights and what they embed, read without torch."""

import json
from collections.abc import Collection, Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from consistency.backbone import model_folder
from consistency.backbone.model_folder import TOKENIZERS, is_small_file, read_json, refuse_code
from consistency.errors import BackboneError, one_line

MODULES = "modules.json"
OWN = "sentence_transformers."  # modules of any other package are code from the model's repository
INPUTS = ("CLIPModel", "Transformer")  # modules that read images and texts; the others turn vectors into vectors
TEMPLATE = ".jinja"  # how a chat model puts texts and images
PASSIVE = ("Normalize", "Pooling")  # modules that are supported and have no weights
WEIGHTED = ("Dense", "LayerNorm")


def modules(folder: Path) -> list[tuple[str, Path]]:
    """Read the modules of a model in their order: class without its package, and folder.

    Raises
    ------
    BackboneError
        If `modules.json` cannot be read, or names a module that is not tested here or that is code of the repository.
    """
    path = folder / MODULES
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
        found = [(str(module["type"]), str(module["path"])) for module in listed]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BackboneError(
            f"{path} is no list of modules ({one_line(error)[:100]}); download the model again"
        ) from error
    for kind, place in found:
        if not kind.startswith(OWN):
            raise BackboneError(
                f"{path} asks to run code from the model's repository ({kind}), which this program never does; "
                "use a model that sentence-transformers itself implements"
            )
        if PurePosixPath(place).is_absolute() or ".." in PurePosixPath(place).parts:
            raise BackboneError(f"{path} names {place}, which is not in its folder; download the model again")
    named = [(kind.rpartition(".")[2], folder / place) for kind, place in found]
    known = (*INPUTS, *PASSIVE, *WEIGHTED)
    if unknown := [kind for kind, _ in named if kind not in known]:
        raise BackboneError(f"{path} has a module {unknown[0]}; expected {', '.join(known)}")
    if not named or named[0][0] not in INPUTS or any(kind in INPUTS for kind, _ in named[1:]):
        raise BackboneError(f"{path} does not begin with its only {' or '.join(INPUTS)}; expected such a model")
    return named


def is_plain(folder: Path) -> bool:
    """Whether the model is one transformers model in the folder itself, at most with its vectors normalised."""
    first, *others = modules(folder)
    return first[1] == folder and all(kind == "Normalize" for kind, _ in others)


def embeds_images(folder: Path) -> bool:
    """Whether the model embeds images as well as texts; a student of CLIP's text tower does not."""
    kind, place = modules(folder)[0]
    config = module_config(place)
    # Folders of earlier versions say nothing about modalities: they are CLIP, or read texts alone.
    read = config["modality_config"] if isinstance(config.get("modality_config"), dict) else {}
    return "image" in read if read else kind == "CLIPModel"


def module_config(place: Path) -> dict[str, Any]:
    """What sentence-transformers has saved about the module that reads images and texts."""
    path = place / "sentence_bert_config.json"
    return read_json(path) if path.is_file() else {}


def check_configuration(folder: Path) -> None:
    """Check that every module can be loaded without code of its own and without files from elsewhere.

    Raises
    ------
    BackboneError
        If one cannot.
    """
    found = modules(folder)
    for place in {folder, *(place for _, place in found)}:
        refuse_code(place)
        if (place / "adapter_config.json").is_file():
            raise BackboneError(f"{place} is an adapter of another model; merge it into that model and save the result")
    for kind, place in found:
        activation = (
            str(read_json(place / "config.json").get("activation_function", "torch.")) if kind == "Dense" else ""
        )
        if kind == "Dense" and not activation.startswith("torch."):
            raise BackboneError(
                f"{place / 'config.json'} asks for the activation {activation}, which is code from elsewhere; "
                "expected a module of torch"
            )
    reader = found[0][1]
    named = [name for name in ("tokenizer_name_or_path", "processor_name") if module_config(reader).get(name)]
    if named:
        raise BackboneError(f"{reader / 'sentence_bert_config.json'} names another folder ({named[0]}); expected none")
    if not any((reader / name).is_file() for name in TOKENIZERS):
        raise BackboneError(f"{reader} has no tokenizer (tokenizer.json); save the model's tokenizer there too")


def small_files(folder: Path, names: Iterable[str]) -> list[str]:
    """Those of `names`, relative to the folder, that are configuration or tokenizer files of the model's modules."""
    places = {_relative(folder, place) for _, place in modules(folder)} | {"."}
    return [
        name
        for name in names
        if _place(name) in places and (is_small_file(PurePosixPath(name).name) or name.endswith(TEMPLATE))
    ]


def weight_names(folder: Path, names: Collection[str]) -> list[str]:
    """The weight files to load, relative to the folder. Raises BackboneError if those of a module are missing."""
    chosen: list[str] = []
    for kind, place in modules(folder):
        if kind in PASSIVE:
            continue
        within = _relative(folder, place)
        own = [PurePosixPath(name).name for name in names if _place(name) == within]
        chosen += [str(PurePosixPath(within) / name) for name in model_folder.weight_names(place, own)]
    return chosen


def _relative(folder: Path, place: Path) -> str:
    return place.relative_to(folder).as_posix()


def _place(name: str) -> str:
    return PurePosixPath(name).parent.as_posix()
