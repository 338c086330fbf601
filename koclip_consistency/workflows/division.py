"""Who is tested on what: the split of a trial, and what run.json, the screen and the report say about it."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from consistency.data.distinct import number_distinct
from consistency.data.inputs import Inputs
from consistency.data.leakage import Leakage, fold_leakage, leakage
from consistency.data.split_file import import_split
from consistency.data.splits import Split, Whole, hold_out_validation, make_split
from consistency.options import Evaluation, Source

if TYPE_CHECKING:
    from consistency.data.near_duplicates import NearDuplicates

Rows = npt.NDArray[np.int64]

SHOWN_GROUPS = 3
FEW_CLUSTERS = 20  # the fewest images for which docs/evaluation.md says how often intervals hold


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


def clusters(split: Split, inputs: Inputs) -> Rows:
    """(n,) int64: for every row of the table the first row, as the CSV counts, of what intervals draw as one.

    That is what the split keeps whole: images or hashtags. Where it divides both it is images.
    """
    together = inputs.alike if split.groups is None else split.groups
    firsts, index = number_distinct(together)
    return inputs.table.rows[firsts][index]


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
