"""finetune: train both encoders and a head on pairs, from a warm start to the weights that are kept."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from consistency.backbone import Backbone
from consistency.durable import make_folder
from consistency.errors import BackboneError, DivergenceError, InputError
from consistency.images import ImageFile, ImageLimits
from consistency.pairs import PairTable, Skipped
from consistency.preprocess import squash
from consistency.progress import Progress, silent
from finetune.checkpoint import Cadence, Checkpoints
from finetune.classifier import PairClassifier, embed, merge_adapters
from finetune.config import FinetuneConfig
from finetune.dataset import Floats, Ints, read_pair_data
from finetune.loop import History, Rows, Training
from finetune.model import Finetuned, save_finetuned
from finetune.probe import probe_head
from heads.losses import CLASSES, balanced_weights
from heads.model import Head, TrainedHead


@dataclass(frozen=True, eq=False)
class FinetuneResult:
    """What a fine-tuning made.

    model: with the weights that are kept. rows, probabilities: by "val" and "test", the usable rows of each, (m,)
    int64, and the model's probabilities for them, (m, 5) float64. history: a record per epoch, 0 being the warm-started
    head; `measured_on` says whose metrics it holds: val, or test where nothing is validated, as published.
    kept_epoch: whose weights the model has. best_epoch: with the highest `select` score of the history; best_test:
    where that was measured on the test rows, their probabilities then. skipped: rows without a usable picture.
    """

    model: Finetuned
    rows: dict[str, Ints]
    probabilities: dict[str, Floats]
    history: History
    kept_epoch: int
    best_epoch: int
    best_test: Floats | None
    skipped: tuple[Skipped, ...]


def finetune(
    backbone: Backbone,
    table: PairTable,
    files: Mapping[str, ImageFile],
    labels: Ints,
    train: Ints,
    val: Ints | None,
    test: Ints,
    config: FinetuneConfig,
    *,
    seed: int,
    out: Path,
    head: TrainedHead | None = None,
    class_weights_from: Ints | None = None,
    limits: ImageLimits | None = None,
    resume: bool = False,
    cadence: Cadence | None = None,
    progress: Progress = silent,
    on_epoch: Callable[[dict[str, Any]], None] = lambda record: None,
    on_skipped: Callable[[tuple[Skipped, ...]], None] = lambda skipped: None,
) -> FinetuneResult:
    """Fine-tune `backbone`, whose weights change in place; `out` gets history.csv and, meanwhile, checkpoint/.

    labels: (n,) int64 0..4, of every row of the table. train, val, test: (k,) int64 rows of the table. Without `val`
    nothing is chosen: the last weights are kept, and the history is measured on the test rows. head: to begin with,
    trained on embeddings of this backbone, in place of `config.head`; without it `config.warm_start` decides.
    class_weights_from: labels that balanced class weights count, instead of those of the train rows. resume: go on
    from the last checkpoint in `out`, to the result that an uninterrupted training has (to the bit on a CPU); from the
    beginning where there is none yet. on_skipped: gets the rows without a usable picture before anything is trained,
    and may raise. The caller's random state stays as it is.

    Raises InputError, BackboneError, DivergenceError, OutOfMemory, StorageError.
    """
    if backbone.precision != "fp32":
        raise BackboneError(f"fine-tuning needs weights in fp32, not {backbone.precision}: load the backbone so")
    if config.squash:
        if backbone.spec is None:
            raise BackboneError(
                f"{backbone.resolved.name} prepares pictures in a way that cannot be told to squash them: "
                "use the default preset"
            )
        backbone.spec = squash(backbone.spec)
    if head is not None:
        config = replace(config, head=head.config)
    make_folder(out)
    data = read_pair_data(backbone, table, files, config, limits=limits, progress=progress)
    on_skipped(data.skipped)
    sides = {"train": train, "test": test} | ({} if val is None else {"val": val})
    usable = {side: data.usable(rows) for side, rows in sides.items()}
    for side, rows in usable.items():
        if not len(rows):
            raise InputError(f"none of the {len(sides[side])} {side} rows has a picture that can be used")
    weights = class_weights(config, labels[usable["train"]] if class_weights_from is None else class_weights_from)
    identity = _identity(backbone, table, labels, usable, weights, config, seed)
    checkpoints = Checkpoints(out, identity, cadence or Cadence())
    with torch.random.fork_rng(devices=_cuda(backbone.device), device_type="cuda"):
        torch.manual_seed(seed)
        started = checkpoints.read() if resume else None
        if head is None and config.warm_start and started is None:
            embeddings = embed(backbone, data, usable["train"])
            made = probe_head(
                config.head, embeddings, labels[usable["train"]], weights, seed=seed, device=backbone.device
            )
        elif head is not None:
            made = Head(head.config, head.embed_dim)
            made.load_state_dict(head.head.state_dict())
        else:
            made = Head(config.head, backbone.embed_dim, seed=seed)
        classifier = PairClassifier(backbone, made, config.head.features)
        training = Training(
            classifier,
            data,
            Rows(labels, usable["train"], usable.get("val"), usable["test"], weights),
            config,
            seed=seed,
            out=out,
            checkpoints=checkpoints,
            warm=config.warm_start or head is not None,
        )
        if started is not None:
            training.restore(*started)
        try:
            training.run(progress, on_epoch)
        except DivergenceError as error:
            if not training.kept:
                raise
            save_finetuned(out, _finish(training))
            kept = f"the weights of epoch {training.at.kept_epoch} are kept in {out / 'model'}"
            raise DivergenceError(f"{error}; {kept}") from error
    model = _finish(training)
    asked = {side: rows for side, rows in usable.items() if side != "train"}
    return FinetuneResult(
        model=model,
        rows=asked,
        probabilities={side: model.probabilities(data, rows) for side, rows in asked.items()},
        history=training.at.history,
        kept_epoch=training.at.kept_epoch,
        best_epoch=training.at.best_epoch,
        best_test=training.best_test,
        skipped=data.skipped,
    )


def _finish(training: Training) -> Finetuned:
    training.keep()
    backbone = training.classifier.backbone
    if training.config.lora is not None:
        merge_adapters(backbone.model)
    backbone.model.eval()
    return Finetuned(backbone, training.answer(), training.config)


def class_weights(config: FinetuneConfig, labels: Ints) -> Floats:
    """(5,) float64, as the head's configuration asks. labels: of the rows that balanced weights count."""
    return balanced_weights(labels) if config.head.class_weights == "balanced" else np.ones(CLASSES)


def _identity(
    backbone: Backbone,
    table: PairTable,
    labels: Ints,
    usable: Mapping[str, Ints],
    weights: Floats,
    config: FinetuneConfig,
    seed: int,
) -> dict[str, Any]:
    split = hashlib.sha256(labels.tobytes())
    for side, rows in sorted(usable.items()):
        split.update(side.encode() + rows.tobytes())
    return {
        "backbone": backbone.resolved.revision,
        "data": table.digest,
        "split": split.hexdigest(),
        "class weights": weights.tolist(),
        "seed": seed,
        **{f"config.{name}": value for name, value in config.as_dict().items()},
    }


def _cuda(device: str) -> list[int]:
    return [torch.device(device).index or 0] if device.startswith("cuda") else []
