"""`heads`: one head, a grid of heads, or the published recipe, on cached embeddings."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Literal

import numpy as np

from consistency.backbone.device import choose_device
from consistency.data.pairs import PairTable
from consistency.data.ratings import rating_shares
from consistency.data.splits import Split
from consistency.errors import InputError
from consistency.evaluation.post_texts import refuse_sorted
from consistency.options import HeadsOptions
from consistency.progress import QUIET, Reporter
from consistency.report.plots import training_png
from consistency.scale import Floats
from consistency.text import number, to_csv
from heads.familiarity import keep_familiarity
from heads.grid import GridResult, default_grid, read_grid, run_grid
from heads.load import AnyHead
from heads.model import HeadConfig, TrainedHead
from heads.post_head import PostConfig, TrainedPostHead
from heads.published import export_published
from heads.train import History, train_head
from koclip_consistency.workflows.answers import Answers
from koclip_consistency.workflows.encode import Encoded, with_posts
from koclip_consistency.workflows.learning_curve import learning_curve
from koclip_consistency.workflows.recipes import RAW, choose_recipe, written
from koclip_consistency.workflows.repeat import check_repeats, repeat_training
from koclip_consistency.workflows.sets import keep_sets
from koclip_consistency.workflows.trial import Outcome, Rows, Trial

Recipe = Literal["default", "post", "grid", "post-grid", "paper"]
SYSTEMS: dict[Recipe, str] = {
    "default": "heads",
    "post": "heads-post",
    "grid": "heads-grid",
    "post-grid": "heads-post-grid",
    "paper": "heads-paper",
}
GRIDS = ("grid", "post-grid")


@dataclass(frozen=True, eq=False)
class Fitted:
    """A trained head, and how it was trained.

    Attributes
    ----------
    head
        The head, or the heads of an ensemble.
    history
        The epochs of a single training, empty for a grid and for a head that reads the post.
    grid
        The grid it was chosen from, None without.
    """

    head: AnyHead
    history: History
    grid: GridResult | None


@dataclass(frozen=True, eq=False)
class Trainer:
    """Trains heads of one recipe on any rows of a data set."""

    options: HeadsOptions
    configs: tuple[HeadConfig, ...]
    split: Split
    encoded: Encoded
    device: str
    reporter: Reporter
    shares: Floats | None = None  # (n, 5), of the scores that people gave each row; None without soft labels

    @property
    def recipe(self) -> Recipe:
        """The recipe that the options ask for."""
        return recipe_of(self.options)

    def fit(self, rows: Rows, held_out: Rows, *, seed: int, state: Path | None = None) -> Fitted:
        """Train on `rows` of the table. The published recipe also measures on `held_out`, but chooses nothing by it."""
        pairs, labels = self.encoded.at(rows), self.split.labels[rows]
        of_post, fingerprint = PostConfig(ordered=self.options.ordered), self.encoded.fingerprint
        if self.recipe == "post":
            head = TrainedPostHead.fit(pairs, labels, seed=seed, config=of_post, fingerprint=fingerprint)
            return Fitted(head, [], None)
        if self.recipe in GRIDS:
            grid = run_grid(
                self.configs,
                pairs,
                labels,
                self.split.groups_of(rows),
                folds=self.options.inner_folds,
                seed=seed,
                ensemble=self.options.ensemble,
                race=self.options.racing,
                post=of_post if self.recipe == "post-grid" else None,
                fingerprint=fingerprint,
                state=state,
                device=self.device,
                progress=self.reporter.progress,
                watch=self.reporter.leaders,
            )
            return Fitted(grid.trained, [], grid)
        published = self.recipe == "paper"
        every = self.encoded.usable(np.flatnonzero(self.split.kept))
        trained, history = train_head(
            self.configs[0],
            pairs,
            labels,
            seed=seed,
            validation=(self.encoded.at(held_out), self.split.labels[held_out]) if published else None,
            class_weights_from=self.split.labels[every] if published else None,
            shares=None if self.shares is None else self.shares[rows],
            fingerprint=fingerprint,
        )
        return Fitted(trained, history, None)


def recipe_of(options: HeadsOptions) -> Recipe:
    """The recipe that the options ask for: published, grid, post or default."""
    if options.context == "post":
        return "post-grid" if options.grid else "post"
    return options.preset or ("grid" if options.grid else "default")


def run_heads(options: HeadsOptions, reporter: Reporter = QUIET, *, tuned_from: str | None = None) -> Outcome:
    """Train on the training rows, predict the test rows and, with `folds`, every row out of fold.

    Parameters
    ----------
    options : HeadsOptions
        What to train, on what.
    reporter : Reporter
        Where progress goes.
    tuned_from : str, optional
        The backbone from which that of the options, a run of `finetune`, was fine-tuned. The results are then those of
        a system "finetune-..." on this backbone.

    Raises
    ------
    InputError
        If `export_pth` is set and the head does not fit the published layout; before any work.
    DataError
        If positions are to be read and the rows of a post are sorted by score.
    """
    recipe = recipe_of(options)
    configs = _configs(recipe, options.grid_file)
    if options.export_pth:
        _check_export(configs, options.ensemble)
    if options.ordered and options.context != "post":
        raise InputError("--ordered reads the position of a hashtag in its post: give --context post with it")
    check_repeats(options.seeds, options.evaluation, redraw=options.redraw_split)
    trial = Trial("heads", options, reporter, backbone_name=tuned_from)
    shares = _shares(options, recipe, trial.inputs.table)
    system = SYSTEMS[recipe] if tuned_from is None else SYSTEMS[recipe].replace("heads", "finetune")
    if options.ordered:
        kept, table = trial.split.kept, trial.inputs.table
        refuse_sorted(trial.split.labels[kept], trial.inputs.posts[kept], table.rows[kept])
        system += "-ordered"
    recipe_of_text = None
    if options.choose_text:
        recipe_of_text = choose_recipe(trial)
        options = trial.options = replace(options, encoding=recipe_of_text.applied(options.encoding))
    encoded = trial.encode(posts=options.context == "post", ordered=options.ordered)
    # A grid is wide enough for a GPU. A single head is as fast on a CPU, and repeats bit for bit there.
    device = choose_device(options.encoding.device) if recipe in GRIDS else "cpu"
    device = device if device.startswith("cuda") else "cpu"
    trainer = Trainer(options, configs, trial.split, encoded, device, reporter, shares)
    train, test = trial.sides()
    folder = trial.open()
    resumable = trial.resumable if recipe in GRIDS else nullcontext
    seed = options.evaluation.seed
    with resumable():
        fitted = trainer.fit(train, test, seed=seed, state=folder.path / "grid_state.json" if recipe in GRIDS else None)
    trial.clock.lap("train")
    trial.add_controls(train, test)
    first = trial.add(system, test, _answers(fitted, encoded, test))
    if recipe_of_text is not None and recipe_of_text.name != RAW:
        as_written = written(trial)
        as_written = with_posts(as_written, trial.inputs) if options.context == "post" else as_written
        with resumable():
            without = replace(trainer, encoded=as_written).fit(train, test, seed=seed)
        recipe_of_text = recipe_of_text.against(
            trial.evaluate(system, test, _answers(without, as_written, test)), first
        )
    curves: list[Mapping[str, Any]] = list(fitted.history)
    trial.clock.lap("evaluate")
    trainings = None
    if options.seeds > 1:
        with resumable():
            again = partial(_train_again, trial, trainer)
            trainings = repeat_training(trial, first, again, seeds=options.seeds, redraw=options.redraw_split)
    curve = None
    if options.learning_curve:

        def answer(rows: Rows, held_out: Rows, seed: int) -> Answers:
            return _answers(trainer.fit(rows, held_out, seed=seed), encoded, held_out)

        with resumable():
            curve = learning_curve(trial, first, answer, train, test, draws=options.learning_curve)
    if options.folds:
        with resumable():
            curves += _cross_validate(trial, trainer, system, options.folds)
    keep_sets(trial, system, train)
    fitted.head.save(folder.path)
    unfamiliar = keep_familiarity(
        folder.path,
        encoded.at(train).hashtag_vectors(),
        trial.inputs.table.hashtags[train].tolist(),
        encoded.at(test).hashtag_vectors(),
        trial.inputs.table.hashtags[test].tolist(),
    )
    _write_training(trial, options, fitted, curves)
    outcome = trial.finish(
        usable=encoded.position >= 0,
        unfamiliar=unfamiliar,
        skipped=encoded.skipped,
        fields=encoded.cache.fields,
        details={
            "head": fitted.head.config.as_dict(),
            "extraction": encoded.report,
            **({"trainings": trainings.as_dict()} if trainings else {}),
            **({"learning_curve": curve.as_dict()} if curve else {}),
            **({"text_recipe": recipe_of_text.as_dict()} if recipe_of_text else {}),
        },
        notes=(
            *([recipe_of_text.note] if recipe_of_text else ()),
            *_notes(fitted.grid),
            *((trainings.note,) if trainings else ()),
            encoded.note,
        ),
    )
    return replace(outcome, trainings=trainings, curve=curve)


def _write_training(trial: Trial, options: HeadsOptions, fitted: Fitted, curves: Sequence[Mapping[str, Any]]) -> None:
    """Write what the options ask for beside the head, the curves of its training, and the grid it was chosen from."""
    folder = trial.folder
    if options.export_pth:
        assert isinstance(fitted.head, TrainedHead)
        export_published(fitted.head, folder.path / "classifier.pth")
    if curves:
        final_of = f"{options.folds} folds pooled" if options.folds else "test rows"
        final = trial.results[-1].metrics
        folder.write_file("training_results.png", training_png(curves, final=final, final_of=final_of))
    if options.grid_file:
        folder.write_file("grid.toml", options.grid_file.read_bytes())
    if fitted.grid is not None:
        columns = list(fitted.grid.rows[0])
        folder.write_file("leaderboard.csv", to_csv(columns, (list(row.values()) for row in fitted.grid.rows)))


def _answers(fitted: Fitted, encoded: Encoded, rows: Rows) -> Answers:
    said = fitted.head.predict(encoded.at(rows))
    return Answers(said.predicted + 1, said.values, said.probabilities)


def _shares(options: HeadsOptions, recipe: Recipe, table: PairTable) -> Floats | None:
    """The shares of the scores of each row, (n, 5), if the head is to be trained on soft labels."""
    if not options.soft_labels:
        return None
    if recipe != "default":
        raise InputError(f"--soft-labels is for the single head, not for {SYSTEMS[recipe]}: leave it out")
    if table.ratings is None:
        raise InputError("--soft-labels needs the scores of several people: repeat --score-column for each of them")
    return rating_shares(table.ratings)


def _configs(recipe: Recipe, grid_file: Path | None) -> tuple[HeadConfig, ...]:
    if recipe not in GRIDS:
        return (HeadConfig.paper() if recipe == "paper" else HeadConfig(),)
    configs = tuple(read_grid(grid_file) if grid_file else default_grid(posts=recipe == "post-grid"))
    reading = sum(config.reads_post for config in configs)
    if reading and recipe == "grid":
        raise InputError(f"{reading} of {len(configs)} heads of the grid read the whole post: give --context post")
    if reading == len(configs):
        raise InputError("all heads of the grid read the whole post: add one that answers posts of few hashtags")
    return configs


def _cross_validate(trial: Trial, trainer: Trainer, system: str, folds: int) -> list[Mapping[str, Any]]:
    """Cross-validate the recipe and return the training curves of every fold."""
    curves: list[Mapping[str, Any]] = []
    fold = count(1)

    def answer(train: Rows, held_out: Rows) -> dict[str, Answers]:
        fitted, number = trainer.fit(train, held_out, seed=trial.options.evaluation.seed), next(fold)
        curves.extend({**epoch, "fold": number} for epoch in fitted.history)
        return {system: _answers(fitted, trainer.encoded, held_out)}

    trial.cross_validate(folds, answer)
    return curves


def _train_again(trial: Trial, trainer: Trainer, number: int, seed: int, split: Split) -> tuple[Rows, Answers]:
    """Train on the training rows of `split` with another seed, and predict its test rows."""
    encoded = trainer.encoded
    train, test = encoded.side(split, "train"), encoded.side(split, "test")
    state = trial.folder.path / f"grid_state-{number}.json" if trainer.recipe in GRIDS else None
    fitted = replace(trainer, split=split).fit(train, test, seed=seed, state=state)
    return test, _answers(fitted, encoded, test)


def _check_export(configs: Sequence[HeadConfig], ensemble: int) -> None:
    """Raise InputError unless every head that may be trained fits the published layout."""
    if ensemble > 1:
        raise InputError("an ensemble does not fit the published .pth layout: leave out --ensemble or --export-pth")
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
    raced = sum(entry.n_folds == chosen.n_folds for entry in grid.entries)
    dropped = f", {raced} of which trained on all of them" if raced < len(grid.entries) else ""
    return (
        f"chosen of {len(grid.entries)} configurations by {chosen.n_folds} inner folds of train{dropped}: "
        f"{config.features} features, {config.shape}, {config.loss}, {training} (all in leaderboard.csv){diverged}",
        *_against_post_head(grid),
    )


def _against_post_head(grid: GridResult) -> tuple[str, ...]:
    if grid.post_head is None:
        return ()
    found = "is ahead and answers" if isinstance(grid.trained, TrainedPostHead) else "is not ahead"
    scores = [number(float(score)) for score in (grid.post_head.mean(), grid.entries[grid.chosen].mean)]
    return (f"the head of heads --context post {found}: score {scores[0]} against {scores[1]} on the same folds",)
