"""Cross-validation of a whole recipe: every row is answered for by what the other folds taught."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from consistency.data.inputs import Inputs
from consistency.data.splits import Split
from consistency.errors import DataError
from consistency.evaluation.controls import ON_EMBEDDINGS
from consistency.evaluation.results import Result
from consistency.options import Encoding
from koclip_consistency.workflows.encode import Encoded
from koclip_consistency.workflows.trial import control_probabilities, predictions_of

Rows = npt.NDArray[np.int64]
Number = TypeVar("Number", np.int64, np.float64)


@dataclass(frozen=True, eq=False)
class Answers:
    """What a system says about n rows. predicted: (n,) int64 1..5. values: (n,) float64. probabilities: (n, 5).

    Where the first two are None they follow from the probabilities, as for `predictions_of`.
    """

    predicted: npt.NDArray[np.int64] | None = None
    values: npt.NDArray[np.float64] | None = None
    probabilities: npt.NDArray[np.float64] | None = None


def cross_validate(
    inputs: Inputs,
    split: Split,
    encoding: Encoding,
    encoded: Encoded,
    folds: int,
    answer: Callable[[Rows, Rows], Mapping[str, Answers]],
) -> list[Result]:
    """Out-of-fold answers for all rows with embeddings, pooled: of the controls, and of the systems of `answer`.

    answer: given train rows and the rows held out, what each system says about those. Raises DataError where a fold
    has no row that can be used.
    """
    rows = encoded.usable(np.flatnonzero(split.kept))
    order: list[Rows] = []
    blind: dict[str, Answers] = {}
    pooled: dict[str, list[Answers]] = {}
    for fold in range(folds):
        train, held_out = rows[split.fold[rows] != fold], rows[split.fold[rows] == fold]
        if not (len(train) and len(held_out)):
            raise DataError(f"fold {fold + 1} of {folds} has no image that can be used: ask for fewer folds")
        order.append(held_out)
        controls = control_probabilities(inputs, split, train, held_out, encoded)
        blind = {system: Answers(probabilities=chances) for system, chances in controls.items()}
        for system, said in {**blind, **answer(train, held_out)}.items():
            pooled.setdefault(system, []).append(said)
    sequence = np.argsort(np.concatenate(order))

    def whole(parts: Iterable[npt.NDArray[Number] | None]) -> npt.NDArray[Number] | None:
        there = [part for part in parts if part is not None]
        return np.concatenate(there)[sequence] if there else None

    return [
        predictions_of(
            system,
            encoding if system not in blind or system in ON_EMBEDDINGS else None,
            inputs,
            split,
            rows,
            predicted=whole(part.predicted for part in said),
            values=whole(part.values for part in said),
            probabilities=whole(part.probabilities for part in said),
            side="cv",
        )
        for system, said in pooled.items()
    ]
