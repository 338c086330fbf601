"""One record for each command that trains: the options it has, and no others."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from consistency.options.option import option, record
from consistency.options.records import (
    BACKBONE,
    BACKBONES,
    RESULTS,
    SPLIT,
    Encoding,
    Evaluation,
    Output,
    Preset,
    Source,
    large_rows,
)

Method = Literal["simple", "search", "exact"]
Objective = Literal["macro-f1", "accuracy", "mae"]
Context = Literal["pair", "post"]
METHODS: tuple[Method, ...] = ("simple", "search", "exact")
TRAINING = "Training"
DRAWS = 5  # of training images for each size of a learning curve


def _preset() -> Preset | None:
    return option(None, "Use the published recipe, split and decoding.", group=SPLIT)


def _folds() -> int | None:
    help = "Also cross-validate the whole recipe in K outer folds."
    return option(None, help, group=SPLIT, metavar="K", low=2, paper=5)


def _seeds() -> int:
    help = "Train N times, with seeds drawn from --seed, and report mean and spread of the metrics."
    return option(1, help, group=TRAINING, metavar="N", low=1)


def _redraw_split() -> bool:
    return option(False, "Draw another split for each of the --seeds instead of keeping one.", group=TRAINING)


@dataclass(frozen=True)
class DemoOptions:
    quick: bool = option(False, "Draw fewer images and train for fewer epochs, for a first look.", group=TRAINING)
    seed: int = option(42, "Random seed of the data set and of all runs.", group=TRAINING, low=0)
    encoding: Encoding = record(Encoding, only=("cache", "device", "threads"))
    output: Output = record(Output, without=("resume",))


@dataclass(frozen=True)
class SimilarityOptions:
    methods: tuple[Method, ...] = option(
        METHODS,
        "Fixed thresholds, the published search, or optimal thresholds; repeatable.",
        group=TRAINING,
        flag="--method",
        paper=("simple", "search"),
    )
    objective: Objective = option("macro-f1", "What the optimal thresholds maximise on train.", group=TRAINING)
    source: Source = record(Source)
    encoding: Encoding = record(Encoding)
    preset: Preset | None = _preset()
    evaluation: Evaluation = record(Evaluation)
    folds: int | None = option(
        None, "Also cross-validate the whole recipe in K outer folds.", group=SPLIT, metavar="K", low=2
    )
    large_rows: int = large_rows()
    output: Output = record(Output, without=("resume",))


@dataclass(frozen=True)
class HeadsOptions:
    context: Context = option(
        "pair",
        "What a head reads: the image and the hashtag (pair), or also the other hashtags of the same image (post).",
        group=TRAINING,
        excludes=("preset", "export_pth"),
    )
    ordered: bool = option(
        False,
        "Also read the position of the hashtag in its post; refused where the rows of a post are sorted by score.",
        group=TRAINING,
    )
    grid: bool = option(
        False, "Choose the best of many heads by folds inside train.", group=TRAINING, excludes=("preset",)
    )
    grid_file: Path | None = option(
        None, "Take the grid from this TOML file.", group=TRAINING, metavar="FILE", needs="grid"
    )
    inner_folds: int = option(
        5, "Number of folds by which the grid chooses.", group=TRAINING, metavar="K", low=2, needs="grid"
    )
    ensemble: int = option(
        1, "Average the probabilities of the grid's best K heads.", group=TRAINING, metavar="K", low=1, needs="grid"
    )
    racing: bool = option(
        True,
        "Let heads of the grid that have fallen behind drop out, or train all on every fold.",
        group=TRAINING,
        flag="--racing/--no-racing",
        needs="grid",
    )
    soft_labels: bool = option(
        False,
        "Train on the shares of the scores that several people gave, instead of their median or mean.",
        group=TRAINING,
        excludes=("grid", "preset"),
    )
    choose_text: bool = option(
        False,
        "Choose by folds inside train as which texts hashtags are put to the model.",
        group=TRAINING,
        excludes=("preset", "folds", "learning_curve", "redraw_split"),
    )
    seeds: int = _seeds()
    redraw_split: bool = _redraw_split()
    learning_curve: int | None = option(
        None,
        "Also train on an eighth, a quarter and half of the training images, N draws of each; "
        f"{DRAWS} if no N is given.",
        group=SPLIT,
        metavar="[N]",
        low=DRAWS,
        bare=DRAWS,
        default_text="off",
    )
    export_pth: bool = option(
        False,
        "Also write classifier.pth in the published layout (concat features, one hidden layer, five logits).",
        group=TRAINING,
    )
    source: Source = record(Source)
    encoding: Encoding = record(Encoding)
    preset: Preset | None = _preset()
    evaluation: Evaluation = record(Evaluation)
    folds: int | None = _folds()
    output: Output = record(Output)


@dataclass(frozen=True)
class FinetuneOptions:
    """Settings that are None take the recipe's value."""

    epochs: int | None = option(None, "Largest number of epochs.", group=TRAINING, low=1)
    max_steps: int | None = option(None, "Stop after this many optimizer steps.", group=TRAINING, low=1)
    lr: float | None = option(None, "Learning rate of the encoders.", group=TRAINING)
    head_lr: float | None = option(None, "Learning rate of the head.", group=TRAINING)
    batch_size: int | Literal["auto"] = option(
        "auto",
        "Rows in a batch, or images with --batch-by image; auto: the recipe's, in smaller parts where memory is short.",
        group=TRAINING,
        metavar="auto|N",
        low=1,
    )
    batch_by: Literal["row", "image"] | None = option(None, "Whether a batch counts rows or images.", group=TRAINING)
    accumulation: int | None = option(None, "Batches in an optimizer step.", group=TRAINING, low=1)
    micro_batch: int | None = option(None, "Encode at most N images at once.", group=TRAINING, metavar="N", low=1)
    like: Path | None = option(
        None,
        "Begin with the kind of head that this run of `heads` chose.",
        group=TRAINING,
        flag="--head",
        metavar="RUN_DIR",
    )
    loss: Literal["cross-entropy", "sord", "emd", "corn", "cumulative-link", "regression"] | None = option(
        None, "Loss of the head.", group=TRAINING, default_text="cross-entropy"
    )
    class_weights: Literal["balanced", "none"] | None = option(
        None, "Class weights in the loss.", group=TRAINING, default_text="none; balanced with --preset paper"
    )
    average: Literal["none", "ema", "interpolate"] | None = option(
        None,
        "Average the weights during training (ema) or blend them with the initial weights (interpolate).",
        group=TRAINING,
        default_text="ema; none with --preset paper",
    )
    patience: int | None = option(
        None,
        "Epochs without a better validation score before training stops.",
        group=TRAINING,
        low=1,
        default_text="4",
    )
    refit: bool | None = option(
        None,
        "Then retrain from scratch on train and validation rows for the chosen number of epochs.",
        group=TRAINING,
        flag="--refit/--no-refit",
        default_text="refit; no-refit with --preset paper",
    )
    crop: float | None = option(
        None,
        "Train on random crops of at least this share of the area.",
        group=TRAINING,
        metavar="SHARE",
        low=0,
        high=1,
        open_low=True,
        default_text="1",
    )
    flip: bool | None = option(
        None,
        "Mirror half of the images (this reverses text in them).",
        group=TRAINING,
        flag="--flip",
        default_text="off",
    )
    freeze: int | Literal["image", "text"] | None = option(
        None,
        "Do not train the lowest N layers of both encoders, or one whole encoder.",
        group=TRAINING,
        metavar="N|image|text",
        low=0,
        default_text="nothing",
    )
    lora: int | None = option(
        None,
        "Train low-rank adapters of this rank (needs the extra `lora`).",
        group=TRAINING,
        metavar="RANK",
        low=1,
        default_text="off",
    )
    gradient_checkpointing: bool | None = option(
        None,
        "Recompute activations: less memory, more time.",
        group=TRAINING,
        flag="--gradient-checkpointing",
        default_text="off",
    )
    seeds: int = _seeds()
    redraw_split: bool = _redraw_split()
    checkpoint_steps: int | None = option(
        None, "Also save the state for --resume every N steps.", group=TRAINING, metavar="N", low=1, default_text="off"
    )
    checkpoint_minutes: float = option(
        10.0, "Save the state for --resume every M minutes.", group=TRAINING, metavar="M", low=0, open_low=True
    )
    source: Source = record(Source)
    encoding: Encoding = record(Encoding, without=("cache", "text", "templates", "batch_size", "store", "extract"))
    preset: Preset | None = _preset()
    evaluation: Evaluation = record(Evaluation)
    output: Output = record(Output)


@dataclass(frozen=True)
class PaperOptions:
    quick: bool = option(
        False, "Fine-tune for two epochs and train one head instead of a grid, for a first look.", group=TRAINING
    )
    skip: tuple[Literal["finetune"], ...] = option((), "Leave this system out.", group=TRAINING)
    source: Source = record(Source)
    backbones: tuple[str, ...] = option(
        ("clip", "koclip"), "Model to compare; repeatable.", group=BACKBONE, flag="--backbone", metavar=BACKBONES
    )
    encoding: Encoding = record(Encoding, without=("backbone", "extract"))
    evaluation: Evaluation = record(Evaluation, only=("seed",))
    output: Output = record(Output)


@dataclass(frozen=True)
class AuditOptions:
    context: Context = option(
        "pair",
        "What the judges read: the image and the hashtag (pair), or also the other hashtags of the same image (post).",
        group=TRAINING,
    )
    folds: int = option(5, "Number of folds by image.", group=TRAINING, low=2)
    repeats: int = option(5, "Number of divisions into folds, whose probabilities are averaged.", group=TRAINING, low=1)
    top: int = option(24, "Rows to show.", group=RESULTS, low=1)
    clean: Path | None = option(
        None, "Measure the ranking against these clean labels (columns row, clean_score).", group=RESULTS, metavar="CSV"
    )
    source: Source = record(Source)
    encoding: Encoding = record(Encoding)
    evaluation: Evaluation = record(Evaluation, only=("near_duplicates", "seed"))
    output: Output = record(Output, without=("resume",))
