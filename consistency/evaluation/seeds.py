"""Training repeated with several seeds on one split: which seeds those are, and how far apart the metrics lie.

The interval of a metric in `metrics.json` says what other test images would change. The spread over seeds says what
training the same system again would change: initial weights, the order of the batches, dropout and, in a grid, the
inner folds. The split is the same for all, so neither says what another split would change.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import t

from consistency.evaluation.intervals import LEVEL

_TRAININGS = 1  # tells the training seeds apart from everything else that is drawn from the same seed


@dataclass(frozen=True)
class Spread:
    """A figure over n trainings.

    Attributes
    ----------
    mean : float
        Its mean.
    deviation : float
        Its standard deviation, with n - 1 in the divisor.
    low, high : float
        The 95 % interval of the mean, by Student's t with n - 1 degrees of freedom.
    """

    mean: float
    deviation: float
    low: float
    high: float

    @classmethod
    def of(cls, values: npt.ArrayLike) -> "Spread":
        """Summarise at least two values, (n,) float."""
        x = np.asarray(values, dtype=np.float64)
        mean, deviation = float(x.mean()), float(x.std(ddof=1))
        reach = float(t.ppf((1 + LEVEL) / 2, len(x) - 1)) * deviation / len(x) ** 0.5
        return cls(mean, deviation, mean - reach, mean + reach)


@dataclass(frozen=True)
class Trainings:
    """The metrics of one system, trained n > 1 times.

    Attributes
    ----------
    system : str
        Name of the system.
    seeds : tuple of int
        Seed of each training; the first is the run's own.
    metrics : tuple of mappings
        The metrics of each training on the test rows, None where undefined.
    """

    system: str
    seeds: tuple[int, ...]
    metrics: tuple[Mapping[str, float | None], ...]

    def spread(self, name: str) -> Spread | None:
        """A metric over the trainings; None where it is undefined for any of them."""
        values = [metrics[name] for metrics in self.metrics]
        return None if None in values else Spread.of([value for value in values if value is not None])

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values: the system, its seeds, and the spread of every metric."""
        spreads = {name: self.spread(name) for name in self.metrics[0]}
        return {
            "system": self.system,
            "seeds": list(self.seeds),
            "metrics": {name: None if found is None else asdict(found) for name, found in spreads.items()},
        }


def training_seeds(seed: int, n: int) -> tuple[int, ...]:
    """Seeds of n trainings: `seed` itself, then n - 1 drawn from it; fewer are the beginning of more."""
    drawn: Sequence[int] = np.random.SeedSequence([seed, _TRAININGS]).generate_state(max(n - 1, 1)).tolist()
    return (seed, *drawn[: n - 1])
