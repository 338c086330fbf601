"""Trains heads: one, or any number that are put together into stacks and come out as if each had trained alone."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from consistency.embeddings import PairEmbeddings
from consistency.errors import DivergenceError
from consistency.schedule import rate_share
from heads.config import HeadConfig, feature_dim
from heads.losses import CLASSES, balanced_weights, log_probabilities, loss
from heads.model import Head, TrainedHead
from heads.pairs import Pairs
from heads.ridge import ridge_heads
from heads.stacked import Stack, agreement
from heads.thresholds import Ints

# Of one stack, by kind of device: bounds memory, and on a processor stays near its caches.
STACK_PARAMETERS = {"cpu": 9 << 18, "cuda": 1 << 27}

Epoch = dict[str, float]
History = list[Epoch]


@dataclass(frozen=True, eq=False)
class Job:
    """One head to train on `rows` of the pairs, watched on `validation` rows if there are any.

    stop: end after so many epochs of the configured schedule.
    """

    config: HeadConfig
    rows: Ints
    seed: int
    validation: Ints | None = None
    stop: int | None = None

    @property
    def epochs(self) -> int:
        return min(self.config.epochs, self.stop or self.config.epochs)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of a job.

    head: with the weights of the last epoch, or of the best one where that was asked for. history: for every epoch
    its number, lr, train_loss and, with validation rows, val_loss and accuracy, macro_f1, qwk on them. best_epoch:
    the first with the highest `validation_score`. diverged: a loss was no finite number, and training ended.
    """

    head: Head
    history: History
    best_epoch: int | None = None
    diverged: bool = False


def validation_score(epoch: Epoch) -> float:
    """What heads are stopped and chosen by: the mean of QWK (the order of scores) and macro-F1 (none forgotten)."""
    return (epoch["qwk"] + epoch["macro_f1"]) / 2


def train_head(
    config: HeadConfig,
    embeddings: PairEmbeddings,
    labels: Ints,
    *,
    seed: int,
    validation: tuple[PairEmbeddings, Ints] | None = None,
    class_weights_from: Ints | None = None,
    fingerprint: str | None = None,
    device: str = "cpu",
) -> tuple[TrainedHead, History]:
    """Train one head; with validation rows and patience it keeps the weights of its best epoch.

    labels: (n,) int64, 0..4. validation: over the same two tables as `embeddings`. class_weights_from: labels that
    balanced class weights count, instead of the training rows' own (the published recipe counts all rows).
    The second result is the head's history, one entry per epoch.
    """
    rows = np.arange(len(embeddings))
    watched = None
    if validation is not None:
        embeddings, labels, watched = _joined(embeddings, labels, *validation)
    (outcome,) = train_heads(
        [Job(config, rows, seed, watched)],
        embeddings,
        labels,
        class_weights_from=class_weights_from,
        keep_best=config.patience is not None,
        device=device,
    )
    if outcome.diverged:
        raise DivergenceError(
            f"the head's loss is no finite number in epoch {len(outcome.history)}: try a lower lr than {config.lr}"
        )
    trained = TrainedHead(config, outcome.head, embeddings.dim, seed, fingerprint=fingerprint)
    return trained, outcome.history


def _joined(
    embeddings: PairEmbeddings, labels: Ints, validation: PairEmbeddings, validation_labels: Ints
) -> tuple[PairEmbeddings, Ints, Ints]:
    if validation.images is not embeddings.images or validation.hashtags is not embeddings.hashtags:
        raise ValueError("training and validation pairs must share their two tables: take() both from one")
    joined = PairEmbeddings(
        embeddings.images,
        embeddings.hashtags,
        np.concatenate([embeddings.image_index, validation.image_index]),
        np.concatenate([embeddings.hashtag_index, validation.hashtag_index]),
    )
    rows = np.arange(len(embeddings), len(joined))
    return joined, np.concatenate([labels, validation_labels]), rows


def train_heads(
    jobs: Sequence[Job],
    embeddings: PairEmbeddings,
    labels: Ints,
    *,
    class_weights_from: Ints | None = None,
    keep_best: bool = False,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
) -> list[Outcome]:
    """Train every job's head, stack by stack; the outcomes have the jobs' order.

    labels: (n_pairs,) int64, 0..4, of all rows that jobs name.
    """
    pairs = Pairs.of(embeddings, labels, dtype=dtype, device=device)
    outcomes: dict[int, Outcome] = {}
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
) -> Iterator[tuple[list[int], list[Outcome]]]:
    """Train stacks of jobs, as `stacks` numbers them; each with its outcomes, in order.

    On a CPU each of torch's threads works on a stack of its own. That is faster than several threads at one small
    product, and the results don't depend on their number.
    """
    threads = torch.get_num_threads()

    def train(numbers: list[int]) -> list[Outcome]:
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
    """Numbers of the jobs that train together, stack by stack: same batches, same shape, neighbours alike.

    Jobs see the same batches if they have the same seed and batch size, and share their arrays of rows.
    """
    groups: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for number, job in enumerate(jobs):
        config = job.config
        shape: tuple[Any, ...] = (config.features, config.hidden, config.standardise, config.batch_size)
        if config.optimizer == "ridge":
            shape = (config.features, config.standardise, "ridge", config.class_weights)
        groups[(job.seed, id(job.rows), id(job.validation), *shape)].append(number)

    def update(number: int) -> tuple[Any, ...]:
        config = jobs[number].config
        return config.loss, config.optimizer, config.weight_decay, config.schedule, config.epochs, config.lr, number

    result = []
    for numbers in groups.values():
        numbers.sort(key=update)
        config = jobs[numbers[0]].config
        widths = [feature_dim(config.features, embed_dim), *config.hidden, CLASSES]
        size = max(
            1,
            STACK_PARAMETERS[torch.device(device).type] // sum(a * b for a, b in zip(widths, widths[1:], strict=False)),
        )
        parts = np.array_split(np.array(numbers), -(-len(numbers) // size))
        result += [part.tolist() for part in parts]
    return result


def rate(config: HeadConfig, epoch: int) -> float:
    """Learning rate of an epoch, counted from 0."""
    return config.lr * rate_share(config.schedule, epoch, epoch / config.epochs)


def train_stack(
    jobs: Sequence[Job], pairs: Pairs, *, class_weights_from: Ints | None = None, keep_best: bool = False
) -> list[Outcome]:
    """Train jobs that one stack can hold (see `stacks`); the outcomes have their order."""
    rows = pairs.rows(jobs[0].rows)
    validation = None if jobs[0].validation is None else pairs.rows(jobs[0].validation)
    counted = pairs.labels[rows].cpu().numpy() if class_weights_from is None else class_weights_from
    known = {"balanced": balanced_weights(counted), "none": np.ones(CLASSES)}
    weights = np.stack([known[job.config.class_weights] for job in jobs])
    if jobs[0].config.optimizer == "ridge":
        return _solve(jobs, pairs, rows, validation, torch.as_tensor(weights[0]).to(pairs.images))
    stack = Stack([job.config for job in jobs], pairs, rows, weights, seed=jobs[0].seed)
    return _descend(jobs, stack, rows, validation, keep_best=keep_best)


def _solve(
    jobs: Sequence[Job], pairs: Pairs, rows: Tensor, validation: Tensor | None, class_weights: Tensor
) -> list[Outcome]:
    """Ridge heads: one epoch, and the best."""
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
                measured |= {key: float(value[0]) for key, value in agreement(labels, predicted[None]).items()}
        outcomes.append(Outcome(head, [measured], best_epoch=None if validation is None else 1))
    return outcomes


def _descend(
    jobs: Sequence[Job], stack: Stack, rows: Tensor, validation: Tensor | None, *, keep_best: bool
) -> list[Outcome]:
    histories: list[History] = [[] for _ in jobs]
    best_scores, best_epochs = np.full(len(jobs), -np.inf), [0] * len(jobs)
    heads: dict[int, Head] = {}
    diverged = set()
    order = np.random.default_rng([jobs[0].seed, 1])
    training = list(range(len(jobs)))
    for epoch in range(1, max(job.epochs for job in jobs) + 1):
        rates = [rate(jobs[number].config, epoch - 1) for number in training]
        shuffled = rows[torch.as_tensor(order.permutation(len(rows)), device=rows.device)]
        figures = {"train_loss": stack.epoch(shuffled.split(jobs[0].config.batch_size), rates)}
        if validation is not None:
            figures |= stack.measure(validation)
        staying = []
        for place, number in enumerate(training):
            job = jobs[number]
            measured = {"epoch": epoch, "lr": rates[place]}
            measured |= {name: float(values[place]) for name, values in figures.items()}
            histories[number].append(measured)
            if not np.isfinite(measured["train_loss"]):
                diverged.add(number)
            if validation is not None and validation_score(measured) > best_scores[number]:
                best_scores[number], best_epochs[number] = validation_score(measured), epoch
                if keep_best:
                    heads[number] = stack.head(place)
            patience = job.config.patience
            waited = validation is not None and patience is not None and epoch - best_epochs[number] >= patience
            if not (waited or epoch == job.epochs or number in diverged):
                staying.append(place)
            elif not (keep_best and validation is not None):
                heads[number] = stack.head(place)
        if len(staying) < len(training):
            training = [training[place] for place in staying]
            if not training:
                break
            stack.keep(staying)
    return [
        Outcome(heads[number], histories[number], best_epochs[number] or None, number in diverged)
        for number in range(len(jobs))
    ]
