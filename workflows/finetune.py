"""`finetune`: the encoders and a head end to end, straight from pictures; the embedding cache takes no part."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from consistency.backbone import load_backbone
from consistency.plots import training_png
from consistency.progress import Progress, silent
from consistency.resolve import fingerprint_fields, resolve_backbone
from consistency.splits import hold_out_validation
from embedcache.fingerprint import fingerprint
from finetune.checkpoint import discard
from finetune.config import FinetuneConfig
from finetune.model import save_finetuned
from finetune.train import finetune
from workflows.encode import set_threads
from workflows.evaluate import Clock, Outcome, controls, open_run, predictions_of, split_table, write_run
from workflows.inputs import read_inputs, refuse_skipped
from workflows.options import Encoding, Evaluation, Source

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
    progress: Progress = silent,
) -> Outcome:
    """Fine-tune on the train rows, answer for the test rows, keep the tuned backbone in `model/`.

    The default recipe stops early on rows split off train. The published one has no such rows: it keeps its last
    epoch, and the epoch that was best on the test rows stands beside it under a name that says so. `changes` are
    settings of FinetuneConfig that replace the recipe's.
    """
    clock = Clock()
    config = FinetuneConfig.paper() if recipe == "paper" else FinetuneConfig.default()
    chosen: dict[str, Any] = {"decode": encoding.decode, **(changes or {})}
    if encoding.precision != "auto":
        chosen["autocast"] = AUTOCAST[encoding.precision]
    config = replace(config, **chosen)
    inputs = read_inputs(source)
    split = split_table(inputs, source, evaluation)
    if recipe == "default":
        split = hold_out_validation(split, seed=evaluation.seed)
    resolved = resolve_backbone(encoding.backbone, revision=encoding.revision)
    set_threads(encoding.threads)
    # Master weights are fp32 whatever --precision says: it names the autocast.
    backbone = load_backbone(resolved, device=encoding.device, precision="fp32", decode=encoding.decode)
    folder = open_run(evaluation, "finetune", encoding.backbone)
    clock.lap("load")
    tuned = finetune(
        backbone,
        inputs.table,
        inputs.files,
        split.labels,
        split.rows("train"),
        split.rows("val") if recipe == "default" else None,
        split.rows("test"),
        config,
        seed=evaluation.seed,
        out=folder.path,
        class_weights_from=split.labels[split.kept] if recipe == "paper" else None,
        limits=source.limits,
        resume=evaluation.resume is not None,
        progress=progress,
        on_skipped=lambda skipped: refuse_skipped(skipped, source.on_error),
    )
    clock.lap("train")
    test = tuned.rows["test"]
    unusable = {skipped.row for skipped in tuned.skipped}
    # Controls validate nothing, so they learn from the validation rows too: the same controls as beside heads.
    learned = np.flatnonzero(split.kept & (split.side != "test"))
    train = np.array([row for row in learned if inputs.table.rows[row] not in unusable], dtype=np.int64)
    results = controls(inputs, split, train, test)
    system = SYSTEMS[recipe]
    results.append(predictions_of(system, encoding, inputs, split, test, probabilities=tuned.probabilities["test"]))
    peeked: tuple[str, ...] = ()
    if tuned.best_test is not None:
        peeked = (f"{system}-best is epoch {tuned.best_epoch}, picked on the test rows as published: no fair figure",)
        best = f"{system}-best"
        results.append(predictions_of(best, encoding, inputs, split, test, probabilities=tuned.best_test))
    save_finetuned(folder.path, tuned.model)
    folder.write_file("training_results.png", training_png(tuned.history, final=results[3].metrics))
    outcome = write_run(
        folder,
        inputs,
        split,
        results,
        inputs.skipped + tuned.skipped,
        options={
            "source": source,
            "encoding": encoding,
            "evaluation": evaluation,
            "recipe": recipe,
            "finetune": config.as_dict(),
            "kept_epoch": tuned.kept_epoch,
            "best_epoch": tuned.best_epoch,
        },
        seed=evaluation.seed,
        fingerprint=fingerprint(fingerprint_fields(resolved, decode=encoding.decode, precision="fp32")),
        clock=clock,
        notes=(f"kept the weights of epoch {tuned.kept_epoch} of {tuned.history[-1]['epoch']}", *peeked),
    )
    discard(folder.path)  # only a finished run needs its checkpoint no more
    return outcome
