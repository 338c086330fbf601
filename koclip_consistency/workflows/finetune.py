"""`finetune`: train the encoders and a head end to end, straight from images and without the embedding cache."""

import shutil
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from consistency.backbone.model import Backbone, load_backbone
from consistency.backbone.resolve import fingerprint_fields, resolve_backbone
from consistency.data.inputs import Inputs, read_inputs, refuse_skipped
from consistency.data.splits import Split
from consistency.errors import InputError
from consistency.evaluation.systems import PEEKED
from consistency.options import FinetuneOptions
from consistency.progress import QUIET, Reporter
from consistency.report.plots import training_png
from finetune import parallel
from finetune.checkpoint import Cadence, discard
from finetune.config import FinetuneConfig
from finetune.model import save_finetuned
from finetune.prepare import Prepared, Sides, prepare
from finetune.train import FinetuneResult, finetune
from heads.familiarity import keep_familiarity
from heads.load import load_head
from heads.post_head import TrainedPostHead
from koclip_consistency.scoring.encoder import WarmEncoder
from koclip_consistency.workflows.answers import Answers
from koclip_consistency.workflows.division import split_table
from koclip_consistency.workflows.encode import set_threads
from koclip_consistency.workflows.repeat import check_repeats, repeat_training
from koclip_consistency.workflows.sets import keep_sets
from koclip_consistency.workflows.trial import Outcome, Rows, Trial

Recipe = Literal["default", "paper"]
SYSTEMS: dict[Recipe, str] = {"default": "finetune", "paper": "finetune-paper"}
AUTOCAST = {"fp32": "none", "bf16": "bf16", "fp16": "fp16"}

# Options of the command that replace settings of the recipe, and of its head, where they are given.
SETTINGS = (
    "epochs",
    "max_steps",
    "lr",
    "head_lr",
    "batch_by",
    "accumulation",
    "micro_batch",
    "average",
    "patience",
    "refit",
    "crop",
    "flip",
    "freeze",
    "lora",
    "gradient_checkpointing",
)
HEAD_SETTINGS = ("loss", "class_weights")


def finetune_together(options: FinetuneOptions, reporter: Reporter = QUIET) -> Outcome | None:
    """Run `run_finetune` in all processes that `torchrun` started, which train together.

    The first has the run and its outcome, the others return None. Without `torchrun` there is one process.
    """
    with parallel.joined(options.encoding.device):
        if parallel.leads():
            return run_finetune(options, reporter)
        _follow(options)
        return None


def run_finetune(options: FinetuneOptions, reporter: Reporter = QUIET) -> Outcome:
    """Fine-tune on the train rows, answer for the test rows, and keep the tuned backbone in `model/`.

    The default recipe stops early on rows split off train, then retrains on all of train for that many epochs. The
    published recipe has no such rows: it keeps its last epoch, and also reports the epoch that was best on the test
    rows, under a name that says so. `like` names a run of `heads`; training begins with a head of the same kind,
    trained here, because the run's own head may have learned from rows that are validated here.
    """
    recipe: Recipe = options.preset or "default"
    config = config_of(options)
    check_repeats(options.seeds, options.evaluation, redraw=options.redraw_split)
    trial = Trial("finetune", options, reporter, validation=recipe == "default")
    split, inputs = trial.split, trial.inputs
    backbone = _load(options)
    trial.backbone = resolved = backbone.resolved
    trial.clock.lap("load")
    prepared = _prepare(options, backbone, config, inputs, split, reporter)
    unusable = prepared.data.skipped
    trial.clock.lap("decode")
    folder = trial.open()
    resume, cadence = options.output.resume is not None, Cadence(options.checkpoint_steps, options.checkpoint_minutes)
    with trial.resumable():
        tuned = finetune(prepared, out=folder.path, resume=resume, cadence=cadence, progress=reporter.progress)
    trial.clock.lap("train")
    test = tuned.rows["test"]
    # Controls validate nothing, so they learn from the validation rows too: the same controls as beside heads.
    learned = prepared.data.usable(np.flatnonzero(split.kept & (split.side != "test")))
    trial.add_controls(learned, test)
    system = SYSTEMS[recipe]
    kept = trial.add(system, test, Answers(probabilities=tuned.probabilities["test"]))
    peeked: tuple[str, ...] = ()
    if tuned.best_test is not None:
        best = f"{system}{PEEKED}"
        peeked = (f"{best} is epoch {tuned.best_epoch}, picked on the test rows as published: no fair figure",)
        trial.add(best, test, Answers(probabilities=tuned.best_test))
    keep_sets(trial, system, learned)
    save_finetuned(folder.path, tuned.model)
    hashtags = list(dict.fromkeys(inputs.table.hashtags[learned]))
    encoder, tested = WarmEncoder(lambda: tuned.model.backbone), inputs.table.hashtags[test].tolist()
    unfamiliar = keep_familiarity(folder.path, encoder.hashtags(hashtags), hashtags, encoder.hashtags(tested), tested)
    folder.write_file("training_results.png", training_png(tuned.history, final=kept.metrics))
    trainings = None
    if options.seeds > 1:

        def again(number: int, seed: int, split: Split) -> tuple[Rows, Answers]:
            parallel.of_lead((seed, split))
            out = folder.path / f"training-{number}"
            other = prepared.again(_sides(split, recipe), seed=seed)
            found = finetune(other, out=out, resume=resume, cadence=cadence, progress=reporter.progress)
            shutil.rmtree(out)  # only its metrics are kept
            return found.rows["test"], Answers(probabilities=found.probabilities["test"])

        with trial.resumable():
            trainings = repeat_training(
                trial, kept, again, seeds=options.seeds, redraw=options.redraw_split, validation=recipe == "default"
            )
    parallel.of_lead(None)
    outcome = trial.finish(
        usable=prepared.data.image_index >= 0,
        unfamiliar=unfamiliar,
        skipped=inputs.skipped + unusable,
        fields=fingerprint_fields(resolved, decode=options.encoding.decode, precision="fp32"),
        details={
            "finetune": prepared.config.as_dict(),
            "kept_epoch": tuned.kept_epoch,
            "share": tuned.share,
            "best_epoch": tuned.best_epoch,
            **({"processes": parallel.size()} if parallel.size() > 1 else {}),
            **({"trainings": trainings.as_dict()} if trainings else {}),
        },
        notes=(*_notes(prepared, tuned), *peeked, *((trainings.note,) if trainings else ())),
    )
    discard(folder.path)  # only a finished run needs its checkpoint no more
    return replace(outcome, trainings=trainings)


def _follow(options: FinetuneOptions) -> None:
    """Train with the first process, which alone evaluates and writes."""
    recipe: Recipe = options.preset or "default"
    inputs = read_inputs(options.source, near_duplicates=options.evaluation.near_duplicates)
    split = split_table(inputs, options.source, options.evaluation, validation=recipe == "default")
    prepared = _prepare(options, _load(options), config_of(options), inputs, split, QUIET)
    nowhere = options.output.runs  # nothing is written
    resume = options.output.resume is not None
    finetune(prepared, out=nowhere, resume=resume)
    while (following := parallel.of_lead(None)) is not None:
        seed, split = following
        finetune(prepared.again(_sides(split, recipe), seed=seed), out=nowhere, resume=resume)


def _load(options: FinetuneOptions) -> Backbone:
    encoding = options.encoding
    set_threads(encoding.threads)
    resolved = resolve_backbone(encoding.backbone, revision=encoding.revision)
    # Master weights are fp32 whatever --precision says: it names the autocast.
    return load_backbone(resolved, device=encoding.device, precision="fp32", decode=encoding.decode)


def _prepare(
    options: FinetuneOptions,
    backbone: Backbone,
    config: FinetuneConfig,
    inputs: Inputs,
    split: Split,
    reporter: Reporter,
) -> Prepared:
    prepared = prepare(
        backbone,
        inputs.table,
        inputs.files,
        _sides(split, options.preset or "default"),
        config,
        seed=options.evaluation.seed,
        limits=options.source.limits,
        workers=options.encoding.workers,
        progress=reporter.progress,
    )
    refuse_skipped(prepared.data.skipped, options.source.on_error)
    return prepared


def _sides(split: Split, recipe: Recipe) -> Sides:
    """The split; the published recipe validates nothing, and computes its class weights from the labels of all rows."""
    published = recipe == "paper"
    val, weighted = (None, split.labels[split.kept]) if published else (split.rows("val"), None)
    return Sides(split.labels, split.rows("train"), val, split.rows("test"), class_weights_from=weighted)


def config_of(options: FinetuneOptions) -> FinetuneConfig:
    """The recipe's settings, with those that the options replace."""
    config = FinetuneConfig.paper() if options.preset == "paper" else FinetuneConfig.default()
    chosen: dict[str, Any] = {"decode": options.encoding.decode}
    if options.batch_size != "auto":
        chosen |= {"batch_size": options.batch_size, "micro_batch": None}
    chosen |= {name: value for name in SETTINGS if (value := getattr(options, name)) is not None}
    if options.encoding.precision != "auto":
        chosen["autocast"] = AUTOCAST[options.encoding.precision]
    if options.like is not None:
        head = load_head(options.like)
        if isinstance(head, TrainedPostHead) or head.config.reads_post:
            raise InputError(f"--like {options.like}: its head reads the whole post, name a run of `heads` without it")
        chosen |= {"head": head.config, "warm_start": True}
    config = replace(config, **chosen)
    of_head = {name: value for name in HEAD_SETTINGS if (value := getattr(options, name)) is not None}
    return replace(config, head=replace(config.head, **of_head))


def _notes(prepared: Prepared, tuned: FinetuneResult) -> tuple[str, ...]:
    epoch = f"epoch {tuned.kept_epoch} of {tuned.history[-1]['epoch']}"
    kept = f"kept the weights of {epoch}"
    if prepared.refit is not None:
        retrained = "retrained from scratch on all training rows for that many epochs"
        kept = f"{epoch} chosen on the validation rows, then {retrained}"
    if prepared.config.average == "interpolate":
        kept = f"{kept}, {tuned.share:.0%} of the way from the weights before training"
    if prepared.rows.val is None:
        return (kept,)
    return kept, f"temperature {tuned.model.head.temperature:.2f}, fitted on {len(prepared.rows.val)} validation rows"
