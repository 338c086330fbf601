"""Training heads: one, or any number at once in stacks, with the same results as if each was trained alone."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor

from consistency.backbone.embeddings import PairEmbeddings
from consistency.errors import DivergenceError, InputError
from consistency.scale import CLASSES, Floats, Ints, confusion
from heads.config import HeadConfig, feature_dim, rate_share
from heads.losses import balanced_weights, log_probabilities, loss
from heads.model import Head, TrainedHead
from heads.pairs import Pairs
from heads.ridge import ridge_heads
from heads.stacked import Batch, Part, Stack, agreement

# Parameters of one stack, by kind of device. This bounds memory and, on a CPU, keeps a stack near the caches.
STACK_PARAMETERS = {"cpu": 9 << 18, "cuda": 1 << 27}
# Parts in one stack. On a CPU, more parts mean fewer calls but also fewer stacks to share among threads.
STACK_PARTS = {"cpu": 3, "cuda": 1 << 10}

Epoch = dict[str, float]
History = list[Epoch]


@dataclass(frozen=True, eq=False)
class Job:
    """One head to train.

    Attributes
    ----------
    config : HeadConfig
        Its configuration.
    rows : (n,) int64
        Training rows of the pairs.
    seed : int
        Random seed.
    validation : (n_val,) int64 or None
        Rows on which the head is measured after each epoch.
    stop : int or None
        End after this number of epochs of the configured schedule.
    """

    config: HeadConfig
    rows: Ints
    seed: int
    validation: Ints | None = None
    stop: int | None = None

    @property
    def epochs(self) -> int:
        """Largest number of epochs."""
        return min(self.config.epochs, self.stop or self.config.epochs)


@dataclass(frozen=True, eq=False)
class Trained:
    """The result of a job.

    Attributes
    ----------
    head : Head
        The head with the weights of the last epoch, or of the best one if that was requested.
    history : list of dict
        For each epoch its number, lr and train_loss; with validation rows also val_loss and `heads.select.MEASURED`.
    best_epoch : int or None
        The first epoch with the highest merit on the validation rows.
    diverged : bool
        Whether a loss or a weight was infinite or not a number.
    """

    head: Head
    history: History
    best_epoch: int | None = None
    diverged: bool = False


def train_head(
    config: HeadConfig,
    embeddings: PairEmbeddings,
    labels: Ints,
    *,
    seed: int,
    validation: tuple[PairEmbeddings, Ints] | None = None,
    class_weights_from: Ints | None = None,
    shares: Floats | None = None,
    fingerprint: str | None = None,
    device: str = "cpu",
) -> tuple[TrainedHead, History]:
    """Train one head. With validation rows and patience it keeps the weights of its best epoch.

    Parameters
    ----------
    config : HeadConfig
        Its configuration.
    embeddings : PairEmbeddings
        The n training pairs.
    labels : (n,) int64
        Classes, 0 to 4.
    seed : int
        Random seed.
    validation : (PairEmbeddings, (n_val,) int64), optional
        Pairs over the same two tables as `embeddings`, and their classes.
    class_weights_from : (m,) int64, optional
        Classes from which balanced class weights are computed, by default `labels`. The published recipe takes those
        of all rows.
    shares : (n, 5) float64, optional
        Share of the people who gave each score, to train on instead of `labels`.
    fingerprint : str, optional
        Fingerprint of the embeddings, for the trained head.
    device : str
        Where to train.

    Returns
    -------
    trained : TrainedHead
        The head.
    history : list of dict
        One entry per epoch: see `Trained`.

    Raises
    ------
    DivergenceError
        If the loss becomes infinite or not a number.
    """
    if shares is not None and validation is not None:
        raise ValueError("soft labels and validation rows are not supported together")
    rows = np.arange(len(embeddings))
    watched = None
    if validation is not None:
        embeddings, labels, watched = _joined(embeddings, labels, *validation)
    (outcome,) = train_heads(
        [Job(config, rows, seed, watched)],
        embeddings,
        labels,
        class_weights_from=class_weights_from,
        shares=shares,
        keep_best=config.patience is not None,
        device=device,
    )
    if outcome.diverged:
        raise DivergenceError(
            f"the head's loss is not finite in epoch {len(outcome.history)}: try a learning rate below {config.lr}"
        )
    trained = TrainedHead(config, outcome.head, embeddings.dim, seed, fingerprint=fingerprint)
    return trained, outcome.history


def _joined(
    embeddings: PairEmbeddings, labels: Ints, validation: PairEmbeddings, validation_labels: Ints
) -> tuple[PairEmbeddings, Ints, Ints]:
    if validation.images is not embeddings.images or validation.hashtags is not embeddings.hashtags:
        raise ValueError("training and validation pairs must share their two tables: take() both from one")
    contexts = [pairs.context for pairs in (embeddings, validation) if pairs.context is not None]
    joined = PairEmbeddings(
        embeddings.images,
        embeddings.hashtags,
        np.concatenate([embeddings.image_index, validation.image_index]),
        np.concatenate([embeddings.hashtag_index, validation.hashtag_index]),
        np.concatenate(contexts) if contexts else None,
    )
    rows = np.arange(len(embeddings), len(joined))
    return joined, np.concatenate([labels, validation_labels]), rows


def train_heads(
    jobs: Sequence[Job],
    embeddings: PairEmbeddings,
    labels: Ints,
    *,
    class_weights_from: Ints | None = None,
    shares: Floats | None = None,
    keep_best: bool = False,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
) -> list[Trained]:
    """Train the head of each job, stack by stack.

    Parameters
    ----------
    jobs : sequence of Job
        The heads to train.
    embeddings : PairEmbeddings
        The n pairs whose rows the jobs name.
    labels : (n,) int64
        Classes, 0 to 4.
    class_weights_from : (m,) int64, optional
        Classes from which balanced class weights are computed, by default those of the training rows of each job.
    shares : (n, 5) float64, optional
        Share of the people who gave each score, to train on instead of `labels`.
    keep_best : bool, default False
        Whether to keep the weights of the best epoch on the validation rows instead of the last.
    dtype, device
        Precision of the training, and where it runs.

    Returns
    -------
    list of Trained
        In the order of the jobs.

    Raises
    ------
    InputError
        If a ridge head is to be trained on soft labels: its closed form takes one label for each pair.
    """
    if shares is not None and any(job.config.optimizer == "ridge" for job in jobs):
        raise InputError("ridge heads take one label for each pair: leave out soft labels, or choose another optimizer")
    pairs = Pairs.of(embeddings, labels, dtype=dtype, device=device, shares=shares)
    outcomes: dict[int, Trained] = {}
    together = stacks(jobs, embeddings.dim, device=device)
    for numbers, trained in train_stacks(
        together, jobs, pairs, class_weights_from=class_weights_from, keep_best=keep_best
    ):
        outcomes.update(zip(numbers, trained, strict=True))
    return [outcomes[number] for number in range(len(jobs))]


def train_stacks(
    together: Sequence[list[int]],
    jobs: Sequence[Job],
    pairs: Pairs,
    *,
    class_weights_from: Ints | None = None,
    keep_best: bool = False,
) -> Iterator[tuple[list[int], list[Trained]]]:
    """Train stacks of jobs and yield, for each stack in order, the numbers of its jobs and their results.

    On a CPU each of torch's threads trains its own stack. That is faster than several threads sharing a small product,
    and the results do not depend on the number of threads.
    """
    threads = torch.get_num_threads()

    def train(numbers: list[int]) -> list[Trained]:
        return train_stack(
            [jobs[number] for number in numbers], pairs, class_weights_from=class_weights_from, keep_best=keep_best
        )

    workers = threads if pairs.labels.device.type == "cpu" else 1
    pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield from zip(together, pool.map(train, together), strict=True)
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)


def stacks(jobs: Sequence[Job], embed_dim: int, *, device: str = "cpu") -> list[list[int]]:
    """Divide jobs into stacks that train together: the numbers of the jobs in each stack.

    Heads of a stack have the same shape and batch size, and neighbours have similar updates. Jobs of one part have the
    same seed and share their arrays of rows, so they see the same batches. Parts with the same configurations and the
    same number of batches in an epoch are combined as far as the size of a stack allows.
    """
    parts: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for number, job in enumerate(jobs):
        config = job.config
        shape: tuple[Any, ...] = (config.features, config.hidden, config.standardise, config.batch_size)
        if config.optimizer == "ridge":
            shape = (config.features, config.standardise, "ridge", config.class_weights)
        parts[(*_part(job), *shape)].append(number)

    def update(number: int) -> tuple[Any, ...]:
        config = jobs[number].config
        return config.loss, config.optimizer, config.weight_decay, config.schedule, config.epochs, config.lr, number

    kind = torch.device(device).type
    alike: dict[tuple[Any, ...], list[list[int]]] = defaultdict(list)
    for numbers in parts.values():
        numbers.sort(key=update)
        first = jobs[numbers[0]]
        widths = [feature_dim(first.config.features, embed_dim), *first.config.hidden, CLASSES]
        size = max(1, STACK_PARAMETERS[kind] // sum(a * b for a, b in zip(widths, widths[1:], strict=False)))
        for some in np.array_split(np.array(numbers), -(-len(numbers) // size)):
            heads = tuple((jobs[number].config, jobs[number].epochs) for number in some)
            steps = -(-len(first.rows) // first.config.batch_size)
            most = 1 if first.config.optimizer == "ridge" else min(STACK_PARTS[kind], size // len(some))
            alike[heads, steps, first.validation is None, most].append(some.tolist())
    return [
        [number for numbers in several[start : start + most] for number in numbers]
        for (*_, most), several in alike.items()
        for start in range(0, len(several), most)
    ]


def _part(job: Job) -> tuple[int, int, int]:
    return job.seed, id(job.rows), id(job.validation)


def rate(config: HeadConfig, epoch: int) -> float:
    """Return the learning rate of an epoch, counted from 0."""
    return config.lr * rate_share(config.schedule, epoch, epoch / config.epochs)


def train_stack(
    jobs: Sequence[Job], pairs: Pairs, *, class_weights_from: Ints | None = None, keep_best: bool = False
) -> list[Trained]:
    """Train jobs that fit into one stack (see `stacks`), ordered by part; the results are in the same order."""
    shared = [list(group) for _, group in groupby(jobs, _part)]
    parts = []
    for of_part in shared:
        rows = pairs.rows(of_part[0].rows)
        counted = pairs.labels[rows].cpu().numpy() if class_weights_from is None else class_weights_from
        known = {"balanced": balanced_weights(counted), "none": np.ones(CLASSES)}
        parts.append(Part(rows, of_part[0].seed, np.stack([known[job.config.class_weights] for job in of_part])))
    held = [None if of_part[0].validation is None else pairs.rows(of_part[0].validation) for of_part in shared]
    if jobs[0].config.optimizer == "ridge":
        (part,), (validation,) = parts, held
        return _solve(jobs, pairs, part.rows, validation, torch.as_tensor(part.class_weights[0]).to(pairs.images))
    stack = Stack([job.config for job in shared[0]], pairs, parts)
    watched = [rows for rows in held if rows is not None]
    return _descend(shared, stack, parts, Batch.of(watched) if watched else None, keep_best=keep_best)


def _solve(
    jobs: Sequence[Job], pairs: Pairs, rows: Tensor, validation: Tensor | None, class_weights: Tensor
) -> list[Trained]:
    """Solve ridge heads, which have a single epoch."""
    outcomes = []
    configs = [job.config for job in jobs]
    for config, head in zip(configs, ridge_heads(configs, pairs, rows, class_weights), strict=True):
        measured: Epoch = {"epoch": 1}
        for name, some in (("train_loss", rows), ("val_loss", validation)):
            if some is None:
                continue
            labels = pairs.labels[some].cpu()
            with torch.inference_mode():
                outputs = torch.cat([head(pairs.features(config.features, part).cpu()) for part in some.split(8192)])
                measured[name] = float(loss(config.loss, outputs, labels, class_weights.cpu()))
            if name == "val_loss":
                predicted = log_probabilities(config.loss, outputs).argmax(-1)
                figures = agreement(confusion(labels.numpy(), predicted.numpy()))
                measured |= {key: float(value) for key, value in figures.items()}
        outcomes.append(Trained(head, [measured], best_epoch=None if validation is None else 1))
    return outcomes


class _Run:
    """The state of one job of a stack."""

    def __init__(self, job: Job, part: int) -> None:
        self.job, self.part = job, part
        self.history: History = []
        self.best_merit, self.best_epoch = -np.inf, 0
        self.head: Head | None = None
        self.diverged = self.finished = False

    def outcome(self) -> Trained:
        assert self.head is not None
        return Trained(self.head, self.history, self.best_epoch or None, self.diverged)


def _descend(
    shared: Sequence[Sequence[Job]], stack: Stack, parts: Sequence[Part], held: Batch | None, *, keep_best: bool
) -> list[Trained]:
    """Train by gradient descent the jobs of each part, `shared`, which have the same configurations.

    Heads leave the stack when they are finished in all parts.
    """
    runs = [[_Run(job, number) for job in jobs] for number, jobs in enumerate(shared)]
    orders = [np.random.default_rng([part.seed, 1]) for part in parts]
    training = list(range(len(stack)))
    keep_best = keep_best and held is not None
    epoch = 0
    while training:
        epoch += 1
        rates = [rate(stack.configs[place], epoch - 1) for place in range(len(training))]
        shuffled = [
            part.rows[torch.as_tensor(order.permutation(len(part.rows)), device=part.rows.device)]
            for part, order in zip(parts, orders, strict=True)
        ]
        figures = {"train_loss": stack.epoch(Batch.of(shuffled).split(stack.configs[0].batch_size), rates)}
        if held is not None:
            figures |= stack.measure(held)
        ready: list[tuple[_Run, int]] = []  # heads to copy now, with their places
        for place, number in enumerate(training):
            for run in (runs[part][number] for part in range(len(parts))):
                if run.finished:  # the same configuration is still training in another part
                    continue
                measured = {"epoch": epoch, "lr": rates[place]}
                measured |= {name: float(values[run.part, place]) for name, values in figures.items()}
                run.history.append(measured)
                run.diverged = not np.isfinite(measured["train_loss"])
                if held is not None and measured["merit"] > run.best_merit:
                    run.best_merit, run.best_epoch = measured["merit"], epoch
                    if keep_best:
                        ready.append((run, place))
                patience = run.job.config.patience
                waited = held is not None and patience is not None and epoch - run.best_epoch >= patience
                run.finished = waited or epoch == run.job.epochs or run.diverged
                if run.finished and not (keep_best and run.best_epoch):
                    ready.append((run, place))
        for (run, _), head in zip(ready, stack.heads([(run.part, place) for run, place in ready]), strict=True):
            run.head = head
            run.diverged |= not all(bool(parameter.isfinite().all()) for parameter in head.parameters())
        staying = [place for place, number in enumerate(training) if not all(of[number].finished for of in runs)]
        if len(staying) < len(training):
            training = [training[place] for place in staying]
            if training:
                stack.keep(staying)
    return [run.outcome() for of_part in runs for run in of_part]
