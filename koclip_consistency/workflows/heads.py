"""`heads`: one head, a grid of heads, or the published recipe, on cached embeddings."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from consistency.backbone.resolve import choose_device
from consistency.data.inputs import Inputs, read_inputs
from consistency.data.splits import Split, with_folds
from consistency.errors import InputError
from consistency.evaluation.results import Result
from consistency.options import Encoding, Evaluation, Source
from consistency.progress import Progress, silent
from consistency.report.plots import training_png
from consistency.text import to_csv
from heads.grid import GridResult, default_grid, read_grid, run_grid
from heads.model import HeadConfig, HeadEnsemble, TrainedHead
from heads.published import export_published
from heads.select import Entry
from heads.train import History, train_head
from koclip_consistency.workflows.encode import Encoded, encode_pairs
from koclip_consistency.workflows.folds import Answers, cross_validate
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

Rows = npt.NDArray[np.int64]
Recipe = Literal["default", "grid", "paper"]
SYSTEMS: dict[Recipe, str] = {"default": "heads", "grid": "heads-grid", "paper": "heads-paper"}
PAPER_FOLDS = 5


@dataclass(frozen=True, eq=False)
class Fitted:
    """A trained head, and how it came about: the epochs of a single training, or the grid it was chosen from."""

    head: TrainedHead | HeadEnsemble
    history: History
    grid: GridResult | None


@dataclass(frozen=True, eq=False)
class Trainer:
    """A recipe on one data set: trains a head on any of its rows."""

    recipe: Recipe
    configs: tuple[HeadConfig, ...]
    inner_folds: int
    ensemble: int
    seed: int
    split: Split
    inputs: Inputs
    encoded: Encoded
    device: str
    progress: Progress
    live: Callable[[Sequence[Entry]], None]

    def fit(self, rows: Rows, held_out: Rows, *, state: Path | None = None) -> Fitted:
        """Train on `rows` of the table. The published recipe also watches `held_out`; nothing is chosen by it."""
        pairs, labels = self.encoded.at(rows), self.split.labels[rows]
        if self.recipe == "grid":
            grid = run_grid(
                self.configs,
                pairs,
                labels,
                self.split.groups_of(rows),
                folds=self.inner_folds,
                seed=self.seed,
                ensemble=self.ensemble,
                fingerprint=self.encoded.fingerprint,
                state=state,
                device=self.device,
                progress=self.progress,
                watch=self.live,
            )
            return Fitted(grid.trained, [], grid)
        published = self.recipe == "paper"
        every = self.encoded.usable(np.flatnonzero(self.split.kept))
        head, history = train_head(
            self.configs[0],
            pairs,
            labels,
            seed=self.seed,
            validation=(self.encoded.at(held_out), self.split.labels[held_out]) if published else None,
            class_weights_from=self.split.labels[every] if published else None,
            fingerprint=self.encoded.fingerprint,
        )
        return Fitted(head, history, None)


def run_heads(
    source: Source,
    encoding: Encoding,
    evaluation: Evaluation,
    *,
    recipe: Recipe = "default",
    grid_file: Path | None = None,
    folds: int | None = None,
    inner_folds: int = 5,
    ensemble: int = 1,
    export_pth: bool = False,
    progress: Progress = silent,
    live: Callable[[Sequence[Entry]], None] = lambda leaders: None,
) -> Outcome:
    """Train on the train rows and answer for the test rows; with `folds`, also for every row out of fold.

    The published recipe is always evaluated both ways, as it was published. live: is shown the leaders while a grid
    runs. Raises InputError, before anything else, where `export_pth` cannot be kept.
    """
    clock = Clock()
    folds = folds or (PAPER_FOLDS if recipe == "paper" else None)
    configs = _configs(recipe, grid_file)
    if export_pth:
        _check_export(configs, ensemble)
    check_run(evaluation, "heads")
    inputs = read_inputs(source, near_duplicates=evaluation.near_duplicates, progress=progress)
    split = split_table(inputs, source, evaluation)
    encoded = encode_pairs(inputs, encoding, source, progress=progress)
    clock.lap("encode")
    # A grid is wide enough for a GPU; one head is as quick on the processor, and comes out the same to the bit there.
    device = choose_device(encoding.device) if recipe == "grid" else "cpu"
    trainer = Trainer(
        recipe=recipe,
        configs=configs,
        inner_folds=inner_folds,
        ensemble=ensemble,
        seed=evaluation.seed,
        split=split,
        inputs=inputs,
        encoded=encoded,
        device=device if device.startswith("cuda") else "cpu",
        progress=progress,
        live=live,
    )
    train, test = encoded.side(split, "train"), encoded.side(split, "test")
    folder = open_run(evaluation, "heads", encoding.backbone)
    with resumable("--resume", folder.path) if recipe == "grid" else nullcontext():
        fitted = trainer.fit(train, test, state=folder.path / "grid_state.json" if recipe == "grid" else None)
    clock.lap("train")
    said = fitted.head.predict(encoded.at(test))
    results = controls(inputs, split, train, test, encoding, encoded)
    results.append(
        predictions_of(
            SYSTEMS[recipe],
            encoding,
            inputs,
            split,
            test,
            predicted=said.predicted + 1,
            values=said.values,
            probabilities=said.probabilities,
        )
    )
    curves: list[Mapping[str, Any]] = list(fitted.history)
    clock.lap("evaluate")
    if folds:
        split = with_folds(split, folds)
        with resumable("--resume", folder.path) if recipe == "grid" else nullcontext():
            pooled, fold_curves = _cross_validate(trainer, split, encoding, folds)
        results += pooled
        curves += fold_curves
        clock.lap("cross-validate")
    fitted.head.save(folder.path)
    if export_pth:
        assert isinstance(fitted.head, TrainedHead)
        export_published(fitted.head, folder.path / "classifier.pth")
    if curves:
        final_of = f"{folds} folds pooled" if folds else "test rows"
        folder.write_file("training_results.png", training_png(curves, final=results[-1].metrics, final_of=final_of))
    if grid_file:
        folder.write_file("grid.toml", grid_file.read_bytes())
    if fitted.grid is not None:
        columns = list(fitted.grid.rows[0])
        folder.write_file("leaderboard.csv", to_csv(columns, (list(row.values()) for row in fitted.grid.rows)))
    return write_run(
        folder,
        inputs,
        split,
        results,
        encoded.skipped,
        encoded.position >= 0,
        options={
            "source": source,
            "encoding": encoding,
            "evaluation": evaluation,
            "recipe": recipe,
            "grid_file": grid_file,
            "folds": folds,
            "inner_folds": inner_folds,
            "ensemble": ensemble,
            "export_pth": export_pth,
            "head": fitted.head.config.as_dict(),
            "extraction": encoded.report,
        },
        seed=evaluation.seed,
        fields=encoded.cache.fields,
        clock=clock,
        notes=(*_notes(fitted.grid), encoded.note),
    )


def _configs(recipe: Recipe, grid_file: Path | None) -> tuple[HeadConfig, ...]:
    if recipe == "grid":
        return tuple(read_grid(grid_file) if grid_file else default_grid())
    return (HeadConfig.paper() if recipe == "paper" else HeadConfig(),)


def _cross_validate(
    trainer: Trainer, split: Split, encoding: Encoding, folds: int
) -> tuple[list[Result], list[Mapping[str, Any]]]:
    """Out-of-fold answers for all rows, pooled: of the controls and of the recipe. And the curves of every fold."""
    curves: list[list[Mapping[str, Any]]] = []

    def answer(train: Rows, held_out: Rows) -> dict[str, Answers]:
        fitted = trainer.fit(train, held_out)
        curves.append([{**epoch, "fold": len(curves) + 1} for epoch in fitted.history])
        said = fitted.head.predict(trainer.encoded.at(held_out))
        return {SYSTEMS[trainer.recipe]: Answers(said.predicted + 1, said.values, said.probabilities)}

    results = cross_validate(trainer.inputs, split, encoding, trainer.encoded, folds, answer)
    return results, [epoch for fold in curves for epoch in fold]


def _check_export(configs: Sequence[HeadConfig], ensemble: int) -> None:
    """Raises InputError unless whatever is trained will fit the published layout, of every head of a grid."""
    if ensemble > 1:
        raise InputError("an ensemble does not fit the published .pth layout: leave --ensemble or --export-pth out")
    unfit = [config for config in configs if not config.has_published_layout]
    if unfit:
        first = f"{unfit[0].features} features, {unfit[0].shape}, {unfit[0].loss}"
        raise InputError(
            f"--export-pth: {len(unfit)} of {len(configs)} heads do not fit the published .pth layout ({first}), which "
            "is concat features, one hidden layer and loss cross-entropy, sord or emd: give --preset paper, or --grid "
            "with a --grid-file of such heads alone"
        )


def _notes(grid: GridResult | None) -> tuple[str, ...]:
    if grid is None:
        return ()
    chosen = grid.entries[grid.chosen]
    config = chosen.config
    ridge = config.optimizer == "ridge"
    training = f"ridge {config.weight_decay:g}" if ridge else f"rate {config.lr:g}, {chosen.epochs} epochs"
    diverged = f"; {grid.diverged} more diverged" if grid.diverged else ""
    return (
        f"chosen of {len(grid.entries)} configurations by inner folds of train: {config.features} features, "
        f"{config.shape}, {config.loss}, {training} (all in leaderboard.csv){diverged}",
    )
