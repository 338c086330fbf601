"""Which library a model folder belongs to, and what each library asks of its folders."""

from collections.abc import Collection, Iterable
from importlib import metadata
from pathlib import Path
from typing import Literal

from consistency.backbone import model_folder, open_clip_folder, sentence_folder
from consistency.backbone.model_folder import FLAX, LFS_POINTER, SUPPORTED, is_small_file
from consistency.errors import BackboneError

Library = Literal["transformers", "open_clip", "sentence-transformers"]
# A model folder has at least one of these files.
MARKS = ("config.json", open_clip_folder.CONFIG, sentence_folder.MODULES)
# Packages between a file and the model's input, by library. torch is not among them: between its versions, as between
# processors, embeddings differ in the last bits only.
PACKAGES: dict[Library, tuple[str, ...]] = {
    "transformers": ("pillow", "tokenizers", "transformers"),
    "open_clip": ("pillow", "tokenizers", "transformers", "open_clip_torch", "timm", "torchvision"),
    "sentence-transformers": ("pillow", "tokenizers", "transformers", "sentence-transformers"),
}
EXTRAS: dict[Library, str] = {"open_clip": "openclip", "sentence-transformers": "st"}


def library_of(folder: Path) -> Library:
    """The library that loads a folder; transformers if it can, since such models can also be fine-tuned."""
    marks: dict[str, Library] = {sentence_folder.MODULES: "sentence-transformers", open_clip_folder.CONFIG: "open_clip"}
    for mark, library in marks.items():
        if (folder / mark).is_file():
            readable = (folder / "config.json").is_file() and model_folder.model_type(folder) in SUPPORTED
            whole = library == "open_clip" or sentence_folder.is_plain(folder)
            return "transformers" if readable and whole else library
    return "transformers"


def check_configuration(folder: Path) -> None:
    """Check that a model folder, whose weights may be missing, can be used. Raises BackboneError if not."""
    library = library_of(folder)
    if library == "open_clip":
        open_clip_folder.check_configuration(folder)
    elif library == "sentence-transformers":
        sentence_folder.check_configuration(folder)
    else:
        model_folder.check_configuration(folder)


def embeds_images(folder: Path) -> bool:
    """Whether a model embeds images; if not, it embeds texts alone and needs another model beside it."""
    return library_of(folder) != "sentence-transformers" or sentence_folder.embeds_images(folder)


def small_files(folder: Path, names: Iterable[str]) -> list[str]:
    """The configuration and tokenizer files among `names`, which are relative to the folder."""
    if library_of(folder) == "sentence-transformers":
        return sentence_folder.small_files(folder, names)
    return list(filter(is_small_file, names))


def files_of(folder: Path) -> list[str]:
    """The names of all files that a model in this folder may have, relative to it."""
    below = folder.rglob("*") if library_of(folder) == "sentence-transformers" else folder.iterdir()
    return [path.relative_to(folder).as_posix() for path in below if path.is_file()]


def weight_names(folder: Path, names: Collection[str]) -> list[str]:
    """Choose the weight files to load of those in `names`. Raises BackboneError if there are no usable ones."""
    library = library_of(folder)
    if library == "open_clip":
        return open_clip_folder.weight_names(folder, names)
    if library == "sentence-transformers":
        return sentence_folder.weight_names(folder, names)
    return model_folder.weight_names(folder, names)


def weight_paths(folder: Path) -> tuple[Path, ...]:
    """The weight files of a folder on this machine; see `weight_names`.

    Raises
    ------
    BackboneError
        If there are none, or they are not all there; the message has the command that completes the folder.
    """
    present = files_of(folder)
    try:
        paths = tuple(folder / name for name in weight_names(folder, present))
    except BackboneError as error:
        if FLAX in present:
            raise
        unfinished = "its download is unfinished: " * any(folder.glob(".cache/huggingface/download/*.incomplete"))
        raise BackboneError(
            f"{error}; {unfinished}complete it with 'hf download MODEL_ID --local-dir {folder}'"
        ) from error
    for path in paths:
        with path.open("rb") as file:
            if file.read(len(LFS_POINTER)) == LFS_POINTER:
                raise BackboneError(
                    f"{path} is a pointer of Git LFS and not the weights; fetch them with 'git -C {folder} lfs pull'"
                )
    return paths


def versions(library: Library) -> str:
    """The packages of a library, each with its version up to the first nonzero number; results differ no further.

    Raises
    ------
    BackboneError
        If one of them is not installed.
    """
    found = []
    for name in PACKAGES[library]:
        try:
            parts = metadata.version(name).split(".")
        except metadata.PackageNotFoundError as error:
            raise BackboneError(
                f"models of {library} need {name}, which is not installed: "
                f"pip install 'koclip-consistency[{EXTRAS[library]}]'"
            ) from error
        found.append(f"{name} {'.'.join(parts[: 2 if parts[0] == '0' else 1])}")
    return ", ".join(found)
