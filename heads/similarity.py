"""Cosine similarity cut into classes by four thresholds: fixed, searched as published, or exact."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from consistency.errors import InputError
from consistency.options import METHODS, Method
from consistency.scale import Floats, Ints
from heads.thresholds import (
    OBJECTIVES,
    SIMPLE,
    Objective,
    apply_thresholds,
    exact_thresholds,
    published_search,
    score,
)

SYSTEMS = tuple(f"similarity-{method}" for method in METHODS)


@dataclass(frozen=True)
class SimilarityModel:
    """Thresholds, four ascending numbers, and the figure they reach on the rows they were fitted on."""

    method: Method
    thresholds: tuple[float, ...]
    objective: Objective
    train_score: float

    def predict(self, similarity: npt.ArrayLike) -> Ints:
        """Class of each similarity, (n,) int64 in 0..4."""
        return apply_thresholds(similarity, self.thresholds)

    def as_dict(self) -> dict[str, Any]:
        return {
            "method": self.method,
            "thresholds": list(self.thresholds),
            "objective": self.objective,
            "train_score": self.train_score,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "SimilarityModel":
        return cls(
            method=values["method"],
            thresholds=tuple(values["thresholds"]),
            objective=values["objective"],
            train_score=values["train_score"],
        )


def fit(method: Method, similarity: npt.ArrayLike, labels: Ints, objective: Objective = "macro-f1") -> SimilarityModel:
    """Fit on training rows. similarity: (n,) float, labels: (n,) int64, 0..4.

    "simple" fits nothing, and "search" maximises macro-F1 whatever the objective (as published); the objective
    then only says what `train_score` is.
    """
    if objective not in OBJECTIVES:
        raise InputError(f"unknown objective {objective!r}: expected one of {', '.join(OBJECTIVES)}")
    thresholds: Floats
    if method == "simple":
        thresholds = np.array(SIMPLE)
    elif method == "search":
        thresholds = published_search(similarity, labels)
    elif method == "exact":
        thresholds = exact_thresholds(similarity, labels, objective)
    else:
        raise InputError(f"unknown method {method!r}: expected one of {', '.join(METHODS)}")
    return SimilarityModel(
        method=method,
        thresholds=tuple(float(t) for t in thresholds),
        objective=objective,
        train_score=score(objective, labels, apply_thresholds(similarity, thresholds)),
    )
