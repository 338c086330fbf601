"""`finetune`: the encoders and a head end to end, straight from images; the embedding cache takes no part."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from consistency.backbone.model import load_backbone
from consistency.backbone.resolve import fingerprint_fields, resolve_backbone
from consistency.data.inputs import read_inputs, refuse_skipped
from consistency.evaluation.controls import PEEKED
from consistency.options import Encoding, Evaluation, Source
from consistency.progress import Progress, silent
from consistency.report.plots import training_png
from finetune.checkpoint import Cadence, discard
from finetune.config import FinetuneConfig
from finetune.model import save_finetuned
from finetune.train import FinetuneResult, Prepared, finetune, prepare
from heads.model import load_head
from koclip_consistency.workflows.encode import set_threads
from koclip_consistency.workflows.trial import (
    Clock,
    Outcome,
    check_run,
    controls,
    open_run,
    predictions_of,
    resumable,
    split_table,
    write_run,
)

Recipe = Literal["default", "paper"]
SYSTEMS: dict[Recipe, str] = {"default": "finetune", "paper": "finetune-paper"}
AUTOCAST = {"fp32": "none", "bf16": "bf16", "fp16": "fp16"}


def run_finetune(
    source: Source,
    encoding: Encoding,
    evaluation: Evaluation,
    *,
    recipe: Recipe = "default",
    changes: Mapping[str, Any] | None = None,
    head_changes: Mapping[str, Any] | None = None,
    like: Path | None = None,
    cadence: Cadence | None = None,
    progress: Progress = silent,
) -> Outcome:
    """Fine-tune on the train rows, answer for the test rows, keep the tuned backbone in `model/`.

    The default recipe stops early on rows split off train, then trains as long on all of train. The published one has
    no such rows: it keeps its last epoch, and the epoch that was best on the test rows stands beside it under a name
    that says so. `changes` are settings of FinetuneConfig that replace the recipe's, `head_changes` of its HeadConfig.
    like: a run of `heads` whose kind of head to begin with, trained here: the run's own may have learned from rows that
    are validated here.
    """
    clock = Clock()
    config = FinetuneConfig.paper() if recipe == "paper" else FinetuneConfig.default()
    chosen: dict[str, Any] = {"decode": encoding.decode, **(changes or {})}
    if encoding.precision != "auto":
        chosen["autocast"] = AUTOCAST[encoding.precision]
    if like is not None:
        chosen |= {"head": load_head(like).config, "warm_start": True}
    config = replace(config, **chosen)
    config = replace(config, head=replace(config.head, **(head_changes or {})))
    check_run(evaluation, "finetune")
    inputs = read_inputs(source, near_duplicates=evaluation.near_duplicates, progress=progress)
    split = split_table(inputs, source, evaluation, validation=recipe == "default")
    resolved = resolve_backbone(encoding.backbone, revision=encoding.revision)
    set_threads(encoding.threads)
    # Master weights are fp32 whatever --precision says: it names the autocast.
    backbone = load_backbone(resolved, device=encoding.device, precision="fp32", decode=encoding.decode)
    clock.lap("load")
    prepared = prepare(
        backbone,
        inputs.table,
        inputs.files,
        split.labels,
        split.rows("train"),
        split.rows("val") if recipe == "default" else None,
        split.rows("test"),
        config,
        seed=evaluation.seed,
        class_weights_from=split.labels[split.kept] if recipe == "paper" else None,
        limits=source.limits,
        workers=encoding.workers,
        progress=progress,
    )
    unusable = prepared.data.skipped
    refuse_skipped(unusable, source.on_error)
    clock.lap("decode")
    folder = open_run(evaluation, "finetune", encoding.backbone)
    with resumable("--resume", folder.path):
        tuned = finetune(
            prepared,
            out=folder.path,
            resume=evaluation.resume is not None,
            cadence=cadence,
            progress=progress,
        )
    clock.lap("train")
    test = tuned.rows["test"]
    # Controls validate nothing, so they learn from the validation rows too: the same controls as beside heads.
    learned = np.flatnonzero(split.kept & (split.side != "test"))
    results = controls(inputs, split, prepared.data.usable(learned), test)
    system = SYSTEMS[recipe]
    kept = predictions_of(system, encoding, inputs, split, test, probabilities=tuned.probabilities["test"])
    results.append(kept)
    peeked: tuple[str, ...] = ()
    if tuned.best_test is not None:
        best = f"{system}{PEEKED}"
        peeked = (f"{best} is epoch {tuned.best_epoch}, picked on the test rows as published: no fair figure",)
        results.append(predictions_of(best, encoding, inputs, split, test, probabilities=tuned.best_test))
    save_finetuned(folder.path, tuned.model)
    folder.write_file("training_results.png", training_png(tuned.history, final=kept.metrics))
    outcome = write_run(
        folder,
        inputs,
        split,
        results,
        inputs.skipped + unusable,
        prepared.data.image_index >= 0,
        options={
            "source": source,
            "encoding": encoding,
            "evaluation": evaluation,
            "recipe": recipe,
            "finetune": prepared.config.as_dict(),
            "like": like,
            "kept_epoch": tuned.kept_epoch,
            "share": tuned.share,
            "best_epoch": tuned.best_epoch,
        },
        seed=evaluation.seed,
        fields=fingerprint_fields(resolved, decode=encoding.decode, precision="fp32"),
        clock=clock,
        notes=(*_notes(prepared, tuned), *peeked),
    )
    discard(folder.path)  # only a finished run needs its checkpoint no more
    return outcome


def _notes(prepared: Prepared, tuned: FinetuneResult) -> tuple[str, ...]:
    epoch = f"epoch {tuned.kept_epoch} of {tuned.history[-1]['epoch']}"
    kept = f"kept the weights of {epoch}"
    if prepared.refit is not None:
        kept = f"{epoch} chosen on the validation rows, then as many trained anew on all train rows"
    if prepared.config.average == "interpolate":
        kept = f"{kept}, {tuned.share:.0%} of the way from the weights before training"
    if prepared.rows.val is None:
        return (kept,)
    return kept, f"temperature {tuned.model.head.temperature:.2f}, fitted on {len(prepared.rows.val)} validation rows"
