"""`export`: a trained system with its backbone and a model card, as one folder that other machines can score with."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from consistency.backbone import open_clip_folder
from consistency.backbone.model_folder import WEIGHT_FILES, is_small_file
from consistency.backbone.resolve import ResolvedBackbone, resolve_backbone
from consistency.durable import TEMP_PREFIX, check_folder, make_folder, write_file, write_with_digest
from consistency.errors import InputError, RunError, StorageError, os_errors_as
from consistency.evaluation.conformal import FILE as SETS
from consistency.options import Encoding, ExportOptions
from consistency.report.card import Exports, model_card
from consistency.runs.read import Run, read_bytes, read_options
from consistency.text import to_json
from embedcache.fingerprint import difference
from heads.familiarity import load_familiarity
from heads.load import load_head
from heads.post_head import TrainedPostHead
from koclip_consistency.scoring.exported import Exported, compare_reference, write_reference
from koclip_consistency.scoring.loading import choose_system, is_finetuned, load_scorer, read_thresholds
from koclip_consistency.workflows.encode import cache_fields

if TYPE_CHECKING:
    from consistency.backbone.model import Backbone, Embedder

COPIED = ("model", "revision", "weights")  # fields in which a copied backbone differs from the original
PACKAGED_LICENCE = "mit"  # of the weights of `tiny`


@dataclass(frozen=True)
class Export:
    """A written folder.

    Attributes
    ----------
    folder : Path
        The folder.
    system : str
        The exported system.
    files : tuple of str
        Its files, sorted.
    bytes : int
        Size of all of them.
    address : str or None
        Where the folder was pushed to.
    """

    folder: Path
    system: str
    files: tuple[str, ...]
    bytes: int
    address: str | None = None


def export_run(options: ExportOptions) -> Export:
    """Export a system of a finished run.

    The copied backbone must give the vectors of the original; otherwise nothing is written.

    Raises
    ------
    InputError
        If the run cannot score, or the folder is not empty.
    CacheError
        If the run was trained on other embeddings than this program makes now.
    StorageError
        If the folder cannot be written.
    RunError
        If the hub refuses the folder, which then lies on this machine.
    """
    out, machine = options.folder, options.encoding
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists and is not an empty folder: name another one")
    check_folder(out.parent)
    if options.push_to_hub is not None:
        from consistency.backbone.push import check_push, push

        check_push(options.push_to_hub)
    run, system = choose_system(options.run_dir, options.system)
    scorer = load_scorer(run.path, system=system, cache=machine.cache, device=machine.device, threads=machine.threads)
    backbone = scorer.encoder.backbone
    check_exportable(backbone.resolved)
    trained = read_thresholds(run.path)[system] if _by_thresholds(run.path) else load_head(run.path)
    if options.onnx:
        from koclip_consistency.workflows.onnx_files import check_onnx, write_onnx

        check_onnx(trained, backbone.resolved.library)
    with _whole(out) as folder:
        copy_backbone(backbone.resolved, folder)
        _copy_system(run, system, folder)
        _write_exported(run, system, backbone, folder)
        write_file(folder / "metrics.json", to_json([result.as_entry() for result in run.results]).encode())
        measured = write_onnx(folder, load_plain(folder), trained) if options.onnx else None
        exports = Exports(
            system=system,
            name=out.name,
            base_model=_base_model(run, backbone.resolved),
            library=backbone.resolved.library,
            licence=options.licence or _licence(run, backbone.resolved),
            finetuned=is_finetuned(folder),
            keeps_vectors=isinstance(trained, TrainedPostHead),
            onnx=measured,
        )
        write_file(folder / "README.md", model_card(run, exports).encode())
    files = sorted(path for path in out.rglob("*") if path.is_file())
    names = tuple(path.relative_to(out).as_posix() for path in files)
    address = None if options.push_to_hub is None else push(out, options.push_to_hub, public=options.public)
    return Export(out, system, names, sum(path.stat().st_size for path in files), address)


def check_exportable(resolved: ResolvedBackbone) -> None:
    """Check that a backbone is one model folder.

    Raises
    ------
    InputError
        If it is made of several models, or its library keeps a model in several folders.
    """
    several = resolved.texts is not None or resolved.members
    if several or resolved.library not in ("transformers", "open_clip"):
        what = "is made of several models" if several else f"is a model of {resolved.library}"
        raise InputError(f"{resolved.name} {what}, which cannot be exported: expected one of transformers or open_clip")


@contextmanager
def _whole(out: Path) -> Iterator[Path]:
    """A folder beside `out` that takes its place when the block ends, and is removed if it raises."""
    make_folder(out.parent)
    with os_errors_as(StorageError, f"cannot write {out}"):
        folder = Path(tempfile.mkdtemp(prefix=TEMP_PREFIX, dir=out.parent))
    try:
        yield folder
        with os_errors_as(StorageError, f"cannot write {out}"):
            folder.chmod(0o777 & ~_umask())
            folder.rename(out)  # replaces an empty folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def copy_backbone(resolved: ResolvedBackbone, folder: Path) -> None:
    """Copy configuration, tokenizer, licence and weights of a model, the weights as safetensors.

    Parameters
    ----------
    resolved : ResolvedBackbone
        The model.
    folder : Path
        An existing folder.
    """
    source = resolved.folder
    if resolved.trained_on.complete or resolved.trained_on:
        resolved.trained_on.write(folder)
    pickled = [path for path in resolved.weights if path.suffix != ".safetensors"]
    for path in sorted(source.iterdir()):
        index = path.name.endswith(".index.json")
        kept = is_small_file(path.name) or path.name == "LICENSE"
        if path.is_file() and kept and not (index and (pickled or len(resolved.weights) == 1)):
            write_file(folder / path.name, path.read_bytes())
    if resolved.text_tower is not None and not open_clip_folder.holds_text_tower(folder):
        write_file(folder / "config.json", (resolved.text_tower / "config.json").read_bytes())
    if pickled:
        from safetensors.torch import save as save_tensors

        from consistency.backbone.state_dict import read_state_dict

        # Tensors of a pickle may share memory, which safetensors does not store.
        state = {
            name: value.clone().contiguous()
            for path in resolved.weights
            for name, value in read_state_dict(path).items()
        }
        open_clip = resolved.library == "open_clip"
        name = open_clip_folder.WEIGHT_FILES[0] if open_clip else WEIGHT_FILES[0]
        write_with_digest(folder / name, save_tensors(state, {"format": "pt"}))
        return
    for path in resolved.weights:
        write_with_digest(folder / path.name, path.read_bytes())


def load_plain(folder: Path) -> "Backbone":
    """Load the backbone of a folder in fp32 on the CPU, not rewritten to be faster."""
    from consistency.backbone.model import load_backbone

    return load_backbone(resolve_backbone(str(folder)), device="cpu", precision="fp32")


def _by_thresholds(folder: Path) -> bool:
    return (folder / "thresholds.json").is_file()


def _copy_system(run: Run, system: str, folder: Path) -> None:
    """Copy head or thresholds, prediction sets and what makes a hashtag familiar."""
    if _by_thresholds(run.path):
        thresholds = {system: read_thresholds(run.path)[system].as_dict()}
        write_file(folder / "thresholds.json", to_json(thresholds).encode())
    else:
        load_head(run.path).save(folder)
    for name in (SETS, "finetune.json"):
        if (run.path / name).is_file():
            write_file(folder / name, read_bytes(run.path, name))
    familiarity = load_familiarity(run.path)
    if familiarity is not None:
        familiarity.save(folder)


def _write_exported(run: Run, system: str, backbone: "Embedder", folder: Path) -> None:
    """Write export.json and the reference, and check that the copied backbone gives the vectors of the original.

    Raises
    ------
    RunError
        If it does not.
    """
    from consistency.backbone.model import load_backbone

    recorded = {} if is_finetuned(run.path) else run.config["encoding"]
    chosen = {name: getattr(backbone, name) for name in ("decode", "precision", "device")}
    recorded = {**recorded, **chosen, "backbone": str(folder), "revision": None}
    encoding: Encoding = read_options(run.path / "run.json", recorded, Encoding, complete=False)
    resolved = resolve_backbone(str(folder))
    fields = cache_fields(resolved, encoding)
    different = set(difference(backbone.fields, fields)) - {*COPIED, "store"}
    exported = Exported(folder, system, encoding, fields)
    write_reference(folder, backbone)
    exported.write()
    copy = load_backbone(
        resolved, device=backbone.device, precision=backbone.precision, decode=backbone.decode, trainable=False
    )
    verdict = compare_reference(exported, copy)
    if different or not verdict.equal:
        raise RunError(
            f"the copy of {backbone.resolved.name} does not give its vectors (largest difference {verdict.largest:.2g}"
            f"{', other ' + ', '.join(sorted(different)) if different else ''}): nothing was written"
        )


def _base_model(run: Run, resolved: ResolvedBackbone) -> str | None:
    """Hub id of the model whose weights are exported, or were fine-tuned; None if it is not of the hub."""
    if not is_finetuned(run.path):
        return None if resolved.model_id == "local" else resolved.model_id
    model = str((run.info.get("fingerprint_fields") or {}).get("model", "local"))
    return None if model == "local" else model


def _licence(run: Run, resolved: ResolvedBackbone) -> str | None:
    """Licence of the weights as far as the backbone's own card says it."""
    if run.info.get("backbone") == "tiny":
        return PACKAGED_LICENCE
    card = resolved.folder / "README.md"
    if is_finetuned(run.path) or not card.is_file():
        return None
    from huggingface_hub import ModelCard

    try:
        found = ModelCard.load(card, ignore_metadata_errors=True).data.license
    except (OSError, ValueError):
        return None
    return str(found) if found else None
