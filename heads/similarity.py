"""Cosine similarities cut into classes by four thresholds: fixed, found by the published search, or optimal."""

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
    check_thresholds,
    exact_thresholds,
    published_search,
    score,
)

SYSTEMS = tuple(f"similarity-{method}" for method in METHODS)


@dataclass(frozen=True)
class SimilarityModel:
    """Four thresholds, and the figure that they reach on their training rows.

    Attributes
    ----------
    method : {"simple", "search", "exact"}
        How the thresholds were found.
    thresholds : tuple of four ascending floats
        Where similarities are cut.
    objective : {"macro-f1", "accuracy", "mae", "qwk"}
        What `train_score` measures, and what "exact" optimised.
    train_score : float
        The objective on the training rows.
    """

    method: Method
    thresholds: tuple[float, ...]
    objective: Objective
    train_score: float

    def predict(self, similarity: npt.ArrayLike) -> Ints:
        """Return the class of each similarity, (n,) int64 from 0 to 4."""
        return apply_thresholds(similarity, self.thresholds)

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "method": self.method,
            "thresholds": list(self.thresholds),
            "objective": self.objective,
            "train_score": self.train_score,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "SimilarityModel":
        """Make a model from what `as_dict` returned; raises ValueError if its thresholds are none that a fit gives."""
        check_thresholds(values["thresholds"])
        return cls(
            method=values["method"],
            thresholds=tuple(values["thresholds"]),
            objective=values["objective"],
            train_score=values["train_score"],
        )


def fit(method: Method, similarity: npt.ArrayLike, labels: Ints, objective: Objective = "macro-f1") -> SimilarityModel:
    """Fit thresholds on training rows.

    Parameters
    ----------
    method : {"simple", "search", "exact"}
        "simple" takes fixed thresholds. "search" maximises macro-F1 as published, whatever the objective.
        "exact" finds the optimal thresholds for the objective.
    similarity : (n,) float
        Cosine similarities.
    labels : (n,) int64
        Classes, 0 to 4.
    objective : {"macro-f1", "accuracy", "mae", "qwk"}
        What "exact" optimises and `train_score` measures.

    Raises
    ------
    InputError
        If the method or the objective is unknown.
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
