"""From predictions to a finished run folder: the same steps for every system, controls always beside it."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from consistency.data.distinct import number_distinct
from consistency.data.inputs import Inputs
from consistency.data.leakage import Leakage, fold_leakage, leakage
from consistency.data.pairs import Skipped
from consistency.data.split_file import import_split
from consistency.data.splits import Split, Whole, hold_out_validation, make_split
from consistency.evaluation.controls import (
    ON_EMBEDDINGS,
    TEXT_EMBEDDING,
    TEXT_HEAD,
    control_predictions,
    text_embedding_predictions,
)
from consistency.evaluation.results import NO_BACKBONE, Predictions, Result, evaluate_predictions
from consistency.options import Encoding, Evaluation, Source, as_config
from consistency.report.plots import result_figures
from consistency.runs.folder import RunFolder
from consistency.scale import SCORES
from embedcache.fingerprint import fingerprint
from heads.config import HeadConfig
from heads.train import train_head

if TYPE_CHECKING:
    from consistency.data.near_duplicates import NearDuplicates
    from koclip_consistency.workflows.encode import Encoded

Rows = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
SHOWN_GROUPS = 3
FEW_CLUSTERS = 20  # the fewest images for which docs/evaluation.md tells how often intervals hold
BOOTSTRAP_SEED = 42  # whatever --seed is: intervals of two runs share their resamples


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a command that evaluates hands to the screen."""

    path: Path
    results: tuple[Result, ...]
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...] = ()
    seconds: tuple[float, ...] = ()  # of the run of each result, where several runs answered


def split_table(inputs: Inputs, source: Source, evaluation: Evaluation, *, validation: bool = False) -> Split:
    """Who is in which split: drawn, or read from a file.

    With `validation` there are validation rows: those of the file, or some taken from train. Without, those of the file
    are train rows.
    """
    seed, on_conflict, scenes = evaluation.seed, source.on_conflict, inputs.scenes
    if evaluation.split is not None:
        split = import_split(
            evaluation.split, inputs.table, inputs.identity, seed=seed, on_conflict=on_conflict, scenes=scenes
        )
    else:
        split = make_split(
            inputs.table,
            inputs.identity,
            protocol=evaluation.protocol,
            seed=seed,
            test_fraction=evaluation.test_fraction,
            on_conflict=on_conflict,
            scenes=scenes,
        )
    if not validation:
        return replace(split, side=np.where(split.side == "val", "train", split.side))
    return split if len(split.rows("val")) else hold_out_validation(split, seed=seed)


def check_run(evaluation: Evaluation, command: str) -> None:
    """Raises InputError for what `open_run` would refuse, before the work whose results go there."""
    if evaluation.resume is not None:
        RunFolder.check_unfinished(evaluation.resume, command)
    else:
        RunFolder.check_new(evaluation.out, runs=evaluation.runs)


def open_run(evaluation: Evaluation, command: str, backbone: str) -> RunFolder:
    """The run folder: a new one, or the unfinished one of `--resume`."""
    if evaluation.resume is not None:
        return RunFolder.reopen(evaluation.resume, command=command, backbone=backbone)
    return RunFolder.create(evaluation.out, runs=evaluation.runs, command=command, backbone=backbone)


@contextmanager
def resumable(option: str, path: Path) -> Iterator[None]:
    """What is interrupted inside can go on: the interruption carries with which option."""
    try:
        yield
    except KeyboardInterrupt as error:
        error.add_note(f"{option} {path}")
        raise


def predictions_of(
    system: str,
    encoding: Encoding | None,
    inputs: Inputs,
    split: Split,
    rows: npt.NDArray[np.int64],
    *,
    predicted: npt.NDArray[np.int64] | None = None,
    values: npt.NDArray[np.float64] | None = None,
    probabilities: npt.NDArray[np.float64] | None = None,
    side: str = "test",
) -> Result:
    """Predictions for `rows` of the table, evaluated.

    predicted: (n,) 1..5, the most probable score where it is not given. values: (n,), the expected score likewise.
    """
    if probabilities is not None:
        predicted = probabilities.argmax(axis=1) + 1 if predicted is None else predicted
        values = probabilities @ SCORES if values is None else values
    if predicted is None or values is None:
        raise ValueError("without probabilities, predicted scores and values are needed")
    table = inputs.table
    return evaluate_predictions(
        Predictions(
            system=system,
            backbone=encoding.backbone if encoding else NO_BACKBONE,
            protocol=split.protocol,
            split=side,
            rows=table.rows[rows],
            images=table.images[rows],
            hashtags=table.hashtags[rows],
            scores=split.labels[rows] + 1,
            predicted=predicted,
            values=values,
            probabilities=probabilities,
            clusters=clusters(split, inputs)[rows],
        ),
        seed=BOOTSTRAP_SEED,
    )


def clusters(split: Split, inputs: Inputs) -> Rows:
    """(n,) int64: for every row of the table the first row, as the CSV counts, of what intervals draw as one.

    That is what the split keeps whole: images or hashtags. Where it divides both it is images.
    """
    together = inputs.alike if split.groups is None else split.groups
    firsts, index = number_distinct(together)
    return inputs.table.rows[firsts][index]


def control_probabilities(
    inputs: Inputs, split: Split, train: Rows, test: Rows, encoded: "Encoded | None" = None
) -> dict[str, Floats]:
    """What can be had without looking at an image: (n_test, 5) of every control.

    Those that learn from embeddings of hashtags are there where `encoded` is; the balanced ones of the published table
    where single rows are divided, as published.
    """
    t = inputs.table
    answers = control_predictions(
        t.images[train],
        t.hashtags[train],
        split.labels[train],
        t.images[test],
        t.hashtags[test],
        balanced=split.groups is None,  # single rows were divided, as published
    )
    if encoded is not None:
        answers[TEXT_EMBEDDING] = text_embedding_predictions(
            encoded.at(train).hashtag_vectors(),
            split.labels[train],
            split.groups_of(train),
            encoded.at(test).hashtag_vectors(),
            seed=split.seed,
        )
        config = HeadConfig(features="text")  # the default head, but for what it sees
        head, _ = train_head(config, encoded.at(train), split.labels[train], seed=split.seed)
        answers[TEXT_HEAD] = head.predict_proba(encoded.at(test))
    return answers


def controls(
    inputs: Inputs,
    split: Split,
    train: Rows,
    test: Rows,
    encoding: Encoding | None = None,
    encoded: "Encoded | None" = None,
) -> list[Result]:
    """The controls, trained on `train` and evaluated on `test`: they stand in every table."""
    answers = control_probabilities(inputs, split, train, test, encoded)
    return [
        predictions_of(
            system, encoding if system in ON_EMBEDDINGS else None, inputs, split, test, probabilities=chances
        )
        for system, chances in answers.items()
    ]


@dataclass(frozen=True)
class Division:
    """What `run.json` says of who was tested on what.

    leakage: of the rows that were answered, by "test" and "cv" (out of fold), in those that were there to learn from.
    notes: the same in words, and whether few are tested, and which images are near-duplicates.
    """

    leakage: dict[str, Leakage]
    notes: tuple[str, ...]


def describe_division(split: Split, inputs: Inputs, usable: npt.NDArray[np.bool_] | None = None) -> Division:
    """usable: (n,) bool, the rows whose images could be used; all where it is None."""
    if usable is not None:
        split = replace(split, kept=split.kept & usable)
    columns = (split, inputs.identity, inputs.table.hashtags, inputs.scenes)
    shared = " (images may be on both sides; intervals are over hashtags)" if split.whole == "hashtags" else ""
    found, notes = {}, []
    if len(tested := split.rows("test")):
        found["test"] = leakage(*columns)
        leaks = ": this split leaks" if split.protocol == "file" and found["test"].image and not shared else ""
        notes.append(f"protocol {split.protocol}{shared}: {found['test']}{leaks}")
    if (split.fold >= 0).any():
        found["cv"] = fold_leakage(*columns)
        notes.append(f"protocol {split.protocol}, {split.fold.max() + 1} folds{shared}: {found['cv']}")
    if len(tested) and (drawn := len(set(clusters(split, inputs)[tested].tolist()))) < FEW_CLUSTERS:
        notes.append(describe_few(drawn, split.whole))
    if inputs.near is not None:
        notes.append(describe_near_duplicates(inputs.near))
    return Division(found, tuple(notes))


def describe_few(count: int, whole: Whole) -> str:
    if count == 1:
        return f"a single one of the {whole} is tested: nothing says how others would do, and no figure has an interval"
    few = f"only {count} {whole} are tested: intervals are wide"
    return f"{few}, and how often they hold was measured down to {FEW_CLUSTERS} images"


def describe_near_duplicates(near: "NearDuplicates") -> str:
    joined = f"{near.joined} images in {len(near.groups)} groups"
    examples = "; ".join(" = ".join(names[:2]) for names in near.groups[:SHOWN_GROUPS])
    return f"near-duplicates, at most {near.limit} of 64 bits apart: {joined}{examples and ': '}{examples}"


@dataclass
class Clock:
    """Seconds spent, by step, for `run.json`."""

    seconds: dict[str, float] = field(default_factory=dict)
    _last: float = field(default_factory=time.perf_counter)

    def lap(self, step: str) -> None:
        now = time.perf_counter()
        self.seconds[step] = round(self.seconds.get(step, 0.0) + now - self._last, 3)
        self._last = now


def write_run(
    folder: RunFolder,
    inputs: Inputs,
    split: Split,
    results: Sequence[Result],
    skipped: Sequence[Skipped],
    usable: npt.NDArray[np.bool_],
    *,
    options: Mapping[str, Any],
    seed: int,
    fields: Mapping[str, str],
    clock: Clock,
    notes: Sequence[str] = (),
) -> Outcome:
    """Everything but the weights; run.json last, so that a folder without it is known to be unfinished.

    usable: (n,) bool, the rows of the table whose images could be used.
    """
    division = describe_division(split, inputs, usable)
    near = inputs.near
    divided = {
        "division": division,
        **({"split_digest": split.digest} if split.digest else {}),
        **({"near_duplicates": {"joined": near.joined, "groups": near.groups}} if near else {}),
    }
    folder.write_results(results)
    folder.write_files(result_figures(results))
    folder.write_split(inputs.table, split)
    folder.write_skipped(list(skipped))
    clock.lap("write")
    folder.finish(
        as_config(**options, **divided),
        seeds={"seed": seed, "bootstrap": BOOTSTRAP_SEED},
        data_digest=inputs.table.digest,
        pictures_digest=inputs.pictures_digest,
        fingerprint=fingerprint(fields),
        fields=fields,
        timings=clock.seconds,
    )
    return Outcome(folder.path, tuple(results), tuple(skipped), (*division.notes, *notes, *folder.notes))
