"""Finds a backbone by name and lists everything that affects its embeddings, without heavy imports."""

import functools
import importlib.util
import json
import operator
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from consistency.backbone import names, open_clip_folder, sentence_folder
from consistency.backbone.libraries import (
    MARKS,
    Library,
    check_configuration,
    embeds_images,
    files_of,
    library_of,
    small_files,
    versions,
    weight_paths,
)
from consistency.backbone.model_folder import (
    TRIMMED,
    digest,
    lowers_text,
    model_type,
    processor_config,
    read_json,
    refuse_code,
)
from consistency.data.trained_on import NOTHING, UNKNOWN, TrainedOn
from consistency.errors import BackboneError, os_reason
from consistency.folders import refuse_pipes

SCHEMA = "1"  # raise it whenever the same fields would give different embeddings
DECODING = {
    "ours": "EXIF orientation applied; transparency on white; 16 bit scaled to 8; first frame; RGB",
    "fast": "EXIF orientation applied; transparency on white; 16 bit scaled to 8; first frame; RGB; "
    "JPEG decoded at reduced size, at least four times the target; resized by torch in 8 bits",
    "published": "converted to RGB as it is: orientation ignored, transparency dropped",
}


@dataclass(frozen=True)
class ResolvedBackbone:
    """A model whose files are on this machine.

    Attributes
    ----------
    name : str
        Name that the user gave.
    model_id : str
        Hugging Face id, or "local".
    revision : str
        Commit, or "sha256:..." over the files of a local folder.
    folder : Path
        Model folder.
    weights : tuple of Path
        Weight files to load, safetensors if there are any.
    library : {"transformers", "open_clip", "sentence-transformers"}
        Library that loads it.
    text_tower : Path or None
        Folder with the `config.json` of the transformers model that is the text tower of an open_clip model.
    texts : ResolvedBackbone or None
        The model that embeds the hashtags, if it is another one.
    members : tuple of ResolvedBackbone
        The backbones whose vectors are joined; empty for a single one. The other fields are those of the first, but
        for names, revisions and the record of fine-tunings.
    trained_on : TrainedOn
        Record of its fine-tunings. Published models and `tiny` have seen nothing that counts; what a local model
        without a record has seen is unknown.
    """

    name: str
    model_id: str
    revision: str
    folder: Path
    weights: tuple[Path, ...]
    library: Library = "transformers"
    text_tower: Path | None = None
    texts: "ResolvedBackbone | None" = None
    members: "tuple[ResolvedBackbone, ...]" = ()
    trained_on: TrainedOn = field(default=NOTHING, repr=False)

    @property
    def fixed(self) -> str | None:
        """What it is if it cannot be trained here: several models, or a model of another library."""
        if self.members:
            return "several backbones"
        if self.texts is not None:
            return "two models"
        return None if self.library == "transformers" else f"a model of {self.library}"

    @property
    def described(self) -> str:
        """Model and revision, shortened, for messages."""
        return described(self.model_id, self.revision)


def resolve_backbone(name: str, *, revision: str | None = None) -> ResolvedBackbone:
    """Find a backbone, downloading it from the hub if needed.

    Parameters
    ----------
    name : str
        "tiny", one of SHORT_NAMES, a model folder, a run folder (its `model/` is used), or a Hugging Face id, which may
        be followed by its revision: HF_ID@REVISION. Write ./clip for a folder with the name of an alias. A model that
        embeds texts alone is named with the model of its images: TEXT_MODEL+IMAGE_MODEL. Names with commas between them
        are several backbones as one.
    revision : str, optional
        Branch, tag or commit of a Hugging Face model, as after @.

    Returns
    -------
    ResolvedBackbone

    Raises
    ------
    BackboneError
        If there is no such backbone or it is not supported; within 5 s if the hub cannot be reached.
    StorageError
        If the hub's cache cannot be written.
    """
    if len(members := names.members_of(name)) > 1:
        if revision is not None:
            raise BackboneError(f"{name} is {len(members)} backbones: write each revision as HF_ID@REVISION")
        return _joined(name, tuple(map(resolve_backbone, members)))
    parts = names.parts_of(name)
    if len(parts) == 1:
        found = _resolve_one(*names.pinned(parts[0], revision))
        if not embeds_images(found.folder):
            raise BackboneError(
                f"{name} embeds texts alone; name the model of its images too, with a plus sign: "
                f"{name}{names.BESIDE}IMAGE_MODEL, for example {name}{names.BESIDE}openai/clip-vit-base-patch32"
            )
        return found
    if revision is not None:
        raise BackboneError(f"{name} is two models: write the revision of each behind it, as HF_ID@REVISION")
    if len(parts) > 2:
        raise BackboneError(f"{name} names {len(parts)} models; expected TEXT_MODEL{names.BESIDE}IMAGE_MODEL")
    return _pair(name, *(_resolve_one(*names.pinned(part, None)) for part in parts))


def _resolve_one(name: str, revision: str | None) -> ResolvedBackbone:
    folder = _packaged() if name == "tiny" else Path(os.path.expanduser(name))
    if name not in names.SHORT_NAMES and os.path.exists(folder):
        if revision is not None:
            raise BackboneError(f"{name} is local and has no revision {revision!r}; leave the revision out")
        return _local(name, folder)
    model_id = names.SHORT_NAMES.get(name, name)
    names.refuse_impossible(model_id)
    from consistency.backbone.hub import fetch  # takes a third of a second, which local folders do not need

    folder = fetch(model_id, revision)
    return _resolved(name, model_id, folder.name, folder, weight_paths(folder), TrainedOn.read(folder) or NOTHING)


def _pair(name: str, first: ResolvedBackbone, second: ResolvedBackbone) -> ResolvedBackbone:
    """Two models as one: hashtags are embedded by the one that embeds texts alone, images by the other."""
    texts, images = sorted((first, second), key=lambda one: embeds_images(one.folder))
    if embeds_images(texts.folder) or not embeds_images(images.folder):
        what = "both embed images: name one of them" if embeds_images(texts.folder) else "neither embeds images"
        raise BackboneError(f"{first.name} and {second.name}: {what}; expected TEXT_MODEL{names.BESIDE}IMAGE_MODEL")
    return replace(
        images,
        name=name,
        model_id=f"{texts.model_id}{names.BESIDE}{images.model_id}",
        revision=f"{texts.revision}{names.BESIDE}{images.revision}",
        texts=texts,
    )


def _joined(name: str, members: tuple[ResolvedBackbone, ...]) -> ResolvedBackbone:
    """Several backbones as one. A test image that any of them was trained on counts as seen."""
    return replace(
        members[0],
        name=name,
        model_id=names.JOINED.join(member.model_id for member in members),
        revision=names.JOINED.join(member.revision for member in members),
        members=members,
        trained_on=functools.reduce(operator.or_, (member.trained_on for member in members)),
    )


def is_here(name: str, revision: str | None = None) -> bool:
    """Tell whether `resolve_backbone` would find a backbone on this machine, without a download."""
    parts = [part for member in names.members_of(name) for part in names.parts_of(member)]
    return all(_is_here(*names.pinned(part, revision)) for part in parts)


def _is_here(name: str, revision: str | None) -> bool:
    if name not in names.SHORT_NAMES and (name == "tiny" or os.path.exists(os.path.expanduser(name))):
        return True
    from consistency.backbone.hub import held

    return held(names.SHORT_NAMES.get(name, name), revision) is not None


def _resolved(
    name: str, model_id: str, revision: str, folder: Path, weights: tuple[Path, ...], trained_on: TrainedOn
) -> ResolvedBackbone:
    library = library_of(folder)
    tower = _text_tower(folder) if library == "open_clip" else None
    return ResolvedBackbone(name, model_id, revision, folder, weights, library, tower, trained_on=trained_on)


def _text_tower(folder: Path) -> Path | None:
    """Folder of the configuration of an open_clip model's text tower: the model's own, a folder, or that of the hub."""
    named = open_clip_folder.text_tower(folder)
    if named is None or open_clip_folder.holds_text_tower(folder):
        tower = None if named is None else folder
    elif os.path.isabs(named) and os.path.isdir(named):
        tower = Path(named)
    else:
        from consistency.backbone.hub import fetch_configuration

        tower = fetch_configuration(named)
    if tower is not None:
        refuse_code(tower)
    return tower


def described(model: str, revision: str) -> str:
    """A model and its revision in a few words: "kim/clip@75de2d55ec2d"; several models as they are named."""
    for between in (names.JOINED, names.BESIDE):
        if between in model:
            both = zip(model.split(between), revision.split(between), strict=True)
            return between.join(described(*each) for each in both)
    return f"{model}{names.PINNED}{revision.removeprefix('sha256:')[:12]}"


def fingerprint_fields(resolved: ResolvedBackbone, *, decode: str, precision: str) -> dict[str, str]:
    """List everything that affects embeddings.

    Parameters
    ----------
    resolved : ResolvedBackbone
        The model.
    decode : str
        Key of DECODING.
    precision : str
        "fp32", "bf16" or "fp16".

    Returns
    -------
    dict of str to str
        Plain text by field name.
    """
    if resolved.members:
        of_members = [fingerprint_fields(member, decode=decode, precision=precision) for member in resolved.members]
        every = dict.fromkeys(name for fields in of_members for name in fields)
        shared = {"schema": SCHEMA, "decoding": DECODING[decode], "precision": precision}
        # A field of all members is that of each in turn.
        return {name: " | ".join(fields.get(name, "none") for fields in of_members) for name in every} | {
            "model": resolved.model_id,
            "revision": resolved.revision,
            **shared,
        }
    fields = {
        "schema": SCHEMA,
        "model": resolved.model_id,
        "revision": resolved.revision,
        "weights": _names(resolved),
        "decoding": DECODING[decode],
        "libraries": versions(resolved.library),
        "precision": precision,
    }
    if resolved.library == "transformers" and precision != "fp32":
        fields["rounding"] = "quick GELU, if the model has it, is folded into the weights"
    own = {"transformers": _transformers, "open_clip": _open_clip, "sentence-transformers": _sentence_transformers}
    fields |= own[resolved.library](resolved)
    if (texts := resolved.texts) is not None:
        packages = dict.fromkeys([*fields["libraries"].split(", "), *versions(texts.library).split(", ")])
        fields |= {
            "libraries": ", ".join(packages),
            "text_weights": _names(texts),
            "text": own[texts.library](texts)["text"],
        }
    return fields


def _names(resolved: ResolvedBackbone) -> str:
    return " ".join(path.relative_to(resolved.folder).as_posix() for path in resolved.weights)


def _transformers(resolved: ResolvedBackbone) -> dict[str, str]:
    processor = processor_config(resolved.folder)
    padding = "the longest of its batch" if model_type(resolved.folder) in TRIMMED else "the model's length"
    case = "lower-cased" if lowers_text(resolved.folder) else "as in the table"
    return {
        "processor": str(processor.get("image_processor_type") or processor.get("feature_extractor_type")),
        "preprocessing": _json(processor),
        "text": f"{case}; truncated to the model's length, its end kept; padded to {padding}",
        "pooling": "the model's projected image_embeds and text_embeds, L2-normalised in fp32",
    }


def _open_clip(resolved: ResolvedBackbone) -> dict[str, str]:
    tower = resolved.text_tower
    of = f"; text tower of {_json(read_json(tower / 'config.json'))}" if tower else ""
    return {
        "processor": "open_clip",
        "preprocessing": _json(open_clip_folder.preprocessing(resolved.folder)),
        "text": f"open_clip's tokenizer; NLLB: in the language of its script{of}",
        "pooling": "open_clip's encode_image and encode_text, L2-normalised in fp32",
    }


def _sentence_transformers(resolved: ResolvedBackbone) -> dict[str, str]:
    kinds = ", ".join(kind for kind, _ in sentence_folder.modules(resolved.folder))
    reader = sentence_folder.modules(resolved.folder)[0][1]
    images = processor_config(reader) if sentence_folder.embeds_images(resolved.folder) else {}
    return {
        "processor": "sentence-transformers with transformers' Pillow backend",
        "preprocessing": _json(images),
        "text": f"sentence-transformers' tokenizer and default prompt; modules {kinds}",
        "pooling": "sentence-transformers' encode, L2-normalised in fp32",
    }


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _packaged() -> Path:
    spec = importlib.util.find_spec("demo")  # finds the package without importing it
    for root in (spec and spec.submodule_search_locations) or ():
        if (config := Path(root) / "tiny" / "config.json").is_file():
            return config.parent
    raise BackboneError(
        "the tiny backbone is not in this installation; make it with 'python -m demo.train_backbone --out demo/tiny'"
    )


def _is_packaged(folder: Path) -> bool:
    try:
        return folder.samefile(_packaged())
    except BackboneError:  # an installation without it
        return False


def _model_folder(path: Path) -> Path:
    """`path` itself, or the model of the run folder `path`."""
    for folder in (path, path / "model"):
        if any((folder / name).is_file() for name in MARKS):
            return folder
    if not path.is_dir():
        raise BackboneError(f"{path} is a file; expected the folder that holds config.json and the weights")
    below = sorted(config.parent for config in path.glob("*/config.json"))
    hint = f"; did you mean {below[0]}?" if below else "; expected a Hugging Face model folder or a run folder"
    raise BackboneError(f"{path} has neither config.json nor model/config.json{hint}")


def _local(name: str, path: Path) -> ResolvedBackbone:
    try:
        refuse_pipes(path, BackboneError)
        folder = _model_folder(path)
        check_configuration(folder)
        weights = weight_paths(folder)
        # The path is left out: a model that is moved keeps its fingerprint.
        revision = f"sha256:{digest(folder, small_files(folder, files_of(folder)), weights)}"
        recorded = TrainedOn.read(folder)
        if recorded is None:
            recorded = NOTHING if _is_packaged(folder) else UNKNOWN
        return _resolved(name, "local", revision, folder, weights, recorded)
    except OSError as error:
        raise BackboneError(f"{error.filename or path} cannot be read: {os_reason(error)}; check the folder") from error
