"""Choosing a head from a grid of configurations by repeated folds of the training rows, then training it on all."""

import json
import math
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from consistency.backbone.embeddings import PairEmbeddings
from consistency.data.folds import make_divisions
from consistency.errors import DivergenceError, InputError, os_errors_as
from consistency.progress import Progress, silent
from consistency.scale import Floats, Ints, Objects, confusion, merit
from heads.by_post import ByPost
from heads.config import HeadConfig, parameter_count
from heads.model import HeadEnsemble, TrainedHead
from heads.pairs import Pairs
from heads.post_head import PostConfig, TrainedPostHead
from heads.record import Curves, Record
from heads.select import MEASURED, Entry, best_power, choose, leaderboard, ranking, stages, standard_error, survivors
from heads.thresholds import exact_thresholds
from heads.train import Job, Trained, stacks, train_heads, train_stacks

LARGEST = 10_000  # configurations of a grid file


def default_grid(*, posts: bool = False) -> list[HeadConfig]:
    """Return the configurations of `--grid`, from ridge regressions to two hidden layers.

    With `posts`, those of "full" features are there a second time, with the context of the post among their features.
    Class weights are mostly "none": on the demo data balanced weights lower the deciding score by 0.03.
    """
    descent = HeadConfig(schedule="constant", epochs=24, patience=5, batch_size=128)
    nominal = ("cross-entropy", "emd", "corn")
    grids: list[tuple[HeadConfig, dict[str, Sequence[Any]]]] = [
        (
            replace(descent, hidden=(), optimizer="ridge", epochs=1),
            {
                "loss": ("cross-entropy", "regression"),
                "class_weights": ("none", "balanced"),
                "weight_decay": (0.01, 0.03, 0.1, 0.3, 1.0, 3.0),
            },
        ),
        (replace(descent, hidden=()), {"loss": nominal, "lr": (1e-3, 3e-3)}),
        (
            replace(descent, hidden=(64,)),
            {"loss": nominal, "lr": (3e-4, 1e-3, 3e-3), "dropout": (0.3, 0.6)},
        ),
        (
            replace(descent, hidden=(64,), class_weights="balanced"),
            {"loss": nominal, "lr": (1e-3, 3e-3), "dropout": (0.3, 0.6)},
        ),
        (
            replace(descent, hidden=(64,)),
            {"loss": ("sord", "cumulative-link", "regression"), "lr": (1e-3, 3e-3), "dropout": (0.3, 0.6)},
        ),
        (replace(descent, hidden=(128,), dropout=0.5), {"loss": nominal, "lr": (1e-3, 3e-3)}),
        (replace(descent, hidden=(128, 64), dropout=0.3), {"loss": nominal, "lr": (1e-3, 3e-3)}),
        (
            replace(descent, features="product", hidden=(64,)),
            {"loss": nominal, "lr": (1e-3, 3e-3), "dropout": (0.3, 0.6), "class_weights": ("none", "balanced")},
        ),
    ]
    configs = [
        replace(base, **dict(zip(choices, values, strict=True)))
        for base, choices in grids
        for values in product(*choices.values())
    ]
    reading = [replace(config, features="full+post") for config in configs if config.features == "full"]
    return configs + reading if posts else configs


def read_grid(path: Path) -> list[HeadConfig]:
    """Read configurations from a TOML file.

    The file has tables [[grid]] whose keys are the settings of `HeadConfig`, each with a value or a list of values. A
    table stands for all combinations; settings that it leaves out keep their defaults. For `hidden`, a list of widths
    is one value and a list of such lists is several.

    Raises
    ------
    InputError
        If the file cannot be read, is not TOML, or has settings that are not usable.
    """
    try:
        with os_errors_as(InputError, f"cannot read the grid file {path}"), path.open("rb") as file:
            content = tomllib.load(file)
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, undecodable bytes, numbers of too many digits
        raise InputError(f"{path} is not TOML: {error}") from error
    tables = content.get("grid")
    if set(content) != {"grid"} or not (isinstance(tables, list) and all(isinstance(table, dict) for table in tables)):
        raise InputError(f"{path}: expected tables [[grid]] and nothing else, found {', '.join(content) or 'nothing'}")
    configs: list[HeadConfig] = []
    for number, table in enumerate(tables, start=1):
        choices = [_choices(name, value) for name, value in table.items()]
        if len(configs) + (count := math.prod(map(len, choices))) > LARGEST:
            raise InputError(f"{path}, [[grid]] number {number}: {count} combinations are too many, at most {LARGEST}")
        try:
            configs += [HeadConfig.from_dict(dict(zip(table, values, strict=True))) for values in product(*choices)]
        except InputError as error:
            raise InputError(f"{path}, [[grid]] number {number}: {error}") from error
    if not configs:
        raise InputError(f"{path}: a setting with an empty list leaves no configuration")
    return list(dict.fromkeys(configs))


def _choices(name: str, value: Any) -> list[Any]:
    several = isinstance(value, list)
    if name == "hidden" and several:
        several = bool(value) and all(isinstance(widths, list) for widths in value)
    return value if several else [value]


@dataclass(frozen=True, eq=False)
class GridResult:
    """The result of a grid.

    Attributes
    ----------
    entries : tuple of Entry
        All configurations that did not diverge, in their order.
    chosen : int
        Index of the winner among the entries. The head that reads the post is trained instead if it is ahead of it.
    trained : TrainedHead, HeadEnsemble, ByPost or TrainedPostHead
        The winner, or the best heads as an ensemble, trained on all rows. One that reads the post comes with one that
        does not.
    diverged : int
        Number of configurations that were left out because one of their heads diverged.
    rows : list of dict
        The rows of leaderboard.csv, the highest mean score first. None is marked as chosen if the head that reads the
        post is.
    post_head : (n_folds,) float64 or None
        Score of `TrainedPostHead` on each fold, if it was a candidate.
    """

    entries: tuple[Entry, ...]
    chosen: int
    trained: TrainedHead | HeadEnsemble | ByPost | TrainedPostHead
    diverged: int
    rows: list[dict[str, Any]]
    post_head: Floats | None = None


def run_grid(
    configs: Sequence[HeadConfig],
    embeddings: PairEmbeddings,
    labels: Ints,
    groups: Objects | None,
    *,
    folds: int = 5,
    repeats: int = 3,
    seed: int = 42,
    ensemble: int = 1,
    race: bool = True,
    post: PostConfig | None = None,
    fingerprint: str | None = None,
    state: Path | None = None,
    device: str = "cpu",
    progress: Progress = silent,
    watch: Callable[[Sequence[Entry]], None] = lambda leaders: None,
) -> GridResult:
    """Train configurations on the folds, choose one, retrain it on all rows and calibrate it.

    In a race the configurations that have fallen behind drop out after two folds and after each division
    (`heads.select.survivors`), and only those that trained on every fold can be chosen.

    The score of a configuration is the mean over the folds of (QWK + macro-F1) / 2 on the rows held out, after the
    number of epochs at which that mean is highest. The winner (`heads.select.choose`) is retrained on all rows for that
    number of epochs. Its temperature and its decision rule are fitted on the rows held out, with heads that train for
    the number of epochs that the other folds of the same division choose: early stopping has not seen the rows that
    calibrate.

    Parameters
    ----------
    configs : sequence of HeadConfig
        The configurations; duplicates are dropped.
    embeddings : PairEmbeddings
        The n training pairs.
    labels : (n,) int64
        Classes, 0 to 4.
    groups : (n,) object or None
        Rows of one group (an image) stay in one fold; None divides single rows.
    folds, repeats : int
        Number of folds in a division, and number of divisions.
    seed : int
        Random seed of the divisions and of the training.
    ensemble : int, default 1
        With more than 1, so many of the best configurations are trained and their mean probabilities decide.
    race : bool, default True
        Whether configurations drop out on the way; otherwise all train on every fold.
    post : PostConfig, optional
        The head that reads the post (`heads.post_head`) is a candidate too. It is the largest, so it is chosen if it is
        ahead of the winner by more than one standard error of their paired difference.
    fingerprint : str, optional
        Fingerprint of the embeddings, for the trained head.
    state : Path, optional
        File that stores finished jobs, so that the same call continues after an interruption.
    device : str
        Where to train.
    progress, watch
        Receive the progress and, after each stack, the five best entries that have not dropped out.

    Returns
    -------
    GridResult
        The entries, the winner and its trained head.

    Raises
    ------
    DivergenceError
        If every configuration that could be chosen diverged.
    InputError
        If `state` belongs to another grid or to other data.
    """
    configs = list(dict.fromkeys(configs))
    divisions = make_divisions(labels, groups, folds=folds, repeats=repeats, seed=seed)
    held_out = [division == fold for division in divisions for fold in range(folds)]
    fold_seeds = np.random.SeedSequence(seed).generate_state(len(held_out)).tolist()
    parts = [(np.flatnonzero(~held), np.flatnonzero(held)) for held in held_out]
    held_out_labels = np.concatenate([labels[validation] for _, validation in parts])
    jobs = [
        Job(config, rows, fold_seed, validation)
        for (rows, validation), fold_seed in zip(parts, fold_seeds, strict=True)
        for config in configs
    ]
    record = Record(state, _digest(configs, embeddings, labels, held_out, seed))
    pairs = Pairs.of(embeddings, labels, dtype=torch.float32, device=device)
    training = list(range(len(configs)))  # configurations that have not dropped out
    divided = stages(folds, repeats) if race else [(0, len(parts), 1.0)]
    for number_of_stage, (start, end, share) in enumerate(divided, start=1):
        if start:
            found = _entries(configs, record.curves, embeddings.dim, training)
            staying = []
            for reads_post in (False, True):  # each has a race of its own, since a post of few hashtags needs the other
                racing = [entry for entry in found if entry.config.reads_post == reads_post]
                total = sum(config.reads_post == reads_post for config in configs)
                staying += survivors(racing, total, share, least=ensemble) if racing else []
            training = [number for number, config in enumerate(configs) if config in staying]
        due = [fold * len(configs) + number for fold in range(start, end) for number in training]
        description = f"Training heads, {number_of_stage} of {len(divided)}" if race else "Training heads"
        with progress(description, len(due)) as advance:
            advance(sum(number in record.curves for number in due))
            # Stacks depend on the device, and a resumed run may use another one: the record is by job.
            together = stacks([jobs[number] for number in due], embeddings.dim, device=device)
            waiting = [[due[place] for place in places] for places in together]
            waiting = [numbers for numbers in waiting if not all(number in record.curves for number in numbers)]
            for numbers, outcomes in train_stacks(waiting, jobs, pairs):
                record.add({number: _curves(outcome) for number, outcome in zip(numbers, outcomes, strict=True)})
                found = _entries(configs, record.curves, embeddings.dim, training)
                leaders = sorted(found, key=lambda entry: -entry.mean)[:5]
                watch(leaders)
                advance(len(numbers), best=f"{leaders[0].mean:.3f}" if leaders else "none")
    entries = _entries(configs, record.curves, embeddings.dim, range(len(configs)))
    diverged = len(configs) - len(entries)

    def train_best(left: list[int]) -> tuple[int, TrainedHead | HeadEnsemble]:
        """Train the best of the entries `left` on all rows; return the first of them and the head."""
        nonlocal diverged
        first = len(chosen)
        members: list[TrainedHead] = []
        answers: list[Floats] = []
        while left and len(members) < ensemble:
            among = [entries[index] for index in left]
            number = left.pop(choose(among) if ensemble == 1 else ranking(among)[0])
            config = entries[number].config
            repeated = [  # for as long as the other folds choose: rows that stopped a head early could not calibrate it
                replace(job, validation=None, stop=entries[number].epochs_without(fold, folds))
                for fold, job in enumerate(job for job in jobs if job.config == config)
            ]
            final = Job(config, np.arange(len(labels)), seed, stop=entries[number].epochs)
            *outcomes, refit = train_heads([*repeated, final], embeddings, labels, device=device)
            if any(outcome.diverged for outcome in (*outcomes, refit)):
                diverged += 1
                continue
            trained = TrainedHead(config, refit.head, embeddings.dim, seed, fingerprint=fingerprint)
            held_out_outputs = torch.cat(
                [
                    replace(trained, head=outcome.head).outputs(embeddings.take(validation))
                    for outcome, (_, validation) in zip(outcomes, parts, strict=True)
                ]
            )
            chosen.append(number)
            members.append(calibrated(trained, held_out_outputs, held_out_labels))
            answers.append(members[-1].decide(held_out_outputs).probabilities)
        if not members:
            raise DivergenceError(
                f"{diverged} of {len(configs)} configurations diverged, and none was left to choose: "
                "give the grid file a lower lr"
            )
        power = best_power(np.mean(answers, axis=0), held_out_labels)
        return chosen[first], replace(members[0], power=power) if ensemble == 1 else HeadEnsemble(tuple(members), power)

    finished = [number for number, entry in enumerate(entries) if entry.n_folds == len(parts)]
    scores = None
    if post is not None and finished:
        scores = _post_scores(post, embeddings, labels, parts, fold_seeds, record, progress)
        best = finished[choose([entries[number] for number in finished])]
        ahead = scores - entries[best].folds()
        if ahead.mean() > standard_error(ahead):
            head = TrainedPostHead.fit(embeddings, labels, seed=seed, config=post, fingerprint=fingerprint)
            return GridResult(tuple(entries), best, head, diverged, leaderboard(entries, [], folds), scores)
    chosen: list[int] = []
    answering: TrainedHead | HeadEnsemble | ByPost
    best, answering = train_best(list(finished))
    if any(entries[number].config.reads_post for number in chosen):
        alone = [number for number in finished if not entries[number].config.reads_post]
        answering = ByPost(answering, train_best(alone)[1])
    return GridResult(tuple(entries), best, answering, diverged, leaderboard(entries, chosen, folds), scores)


def _post_scores(
    config: PostConfig,
    embeddings: PairEmbeddings,
    labels: Ints,
    parts: Sequence[tuple[Ints, Ints]],
    seeds: Sequence[int],
    record: Record,
    progress: Progress,
) -> Floats:
    """Return the merit of a `TrainedPostHead` on the rows held out by each fold, (n_folds,)."""
    with progress("Training heads for posts", len(parts)) as advance:
        for fold, ((rows, held_out), seed) in enumerate(zip(parts, seeds, strict=True)):
            if -1 - fold not in record.curves:  # the jobs of the grid are counted from 0
                head = TrainedPostHead.fit(embeddings.take(rows), labels[rows], seed=seed, config=config)
                predicted = head.predict(embeddings.take(held_out)).predicted
                record.add({-1 - fold: {"merit": [float(merit(confusion(labels[held_out], predicted)))]}})
            advance(1)
    return np.array([record.curves[-1 - fold]["merit"][0] for fold in range(len(parts))])


def calibrated(trained: TrainedHead, outputs: Tensor, labels: Ints) -> TrainedHead:
    """Return a head with the temperature of least log loss; for a regression, with the best thresholds for macro-F1.

    Parameters
    ----------
    trained : TrainedHead
        The head.
    outputs : (n, k) float64
        Outputs for rows on which the heads that computed them were not trained.
    labels : (n,) int64
        Classes of those rows, 0 to 4.
    """
    if trained.config.loss != "regression":
        return trained.calibrated(outputs, labels)
    values = trained.decide(outputs).values
    return replace(trained, thresholds=tuple(exact_thresholds(values, labels, "macro-f1").tolist()))


def _entries(
    configs: Sequence[HeadConfig], curves: dict[int, Curves], embed_dim: int, numbers: Sequence[int]
) -> list[Entry]:
    """Return an entry for each of the configurations `numbers` that has finished a fold and diverged in none.

    `curves` are by job number, as `run_grid` numbers them; numbers below 0 are not of the grid.
    """
    entries = []
    for number in numbers:
        config = configs[number]
        done = [curves[job] for job in sorted(curves) if job >= 0 and job % len(configs) == number]
        if done and all(curve["merit"] for curve in done):
            held = {metric: np.array([_held(curve[metric], config.epochs) for curve in done]) for metric in MEASURED}
            entries.append(Entry(config, parameter_count(config, embed_dim), held))
    return entries


def _curves(outcome: Trained) -> Curves:
    """Return the values of each metric after each epoch; none for a head that diverged."""
    epochs = [] if outcome.diverged else outcome.history
    return {metric: [epoch[metric] for epoch in epochs] for metric in MEASURED}


def _held(values: list[float], epochs: int) -> list[float]:
    return values + values[-1:] * (epochs - len(values))


def _digest(configs: Sequence[HeadConfig], embeddings: PairEmbeddings, labels: Ints, held_out: Any, seed: int) -> str:
    digest = sha256(json.dumps([[config.as_dict() for config in configs], seed]).encode())
    tables = (embeddings.images, embeddings.hashtags, embeddings.image_index, embeddings.hashtag_index)
    context = () if embeddings.context is None else (embeddings.context,)
    for array in (*tables, *context, labels, *held_out):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
