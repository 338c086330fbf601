"""Training repeated with several seeds: which seeds those are, and how far apart the metrics lie.

The interval of a metric in `metrics.json` says what other test images would change. The spread over seeds says what
training the same system again would change: initial weights, the order of the batches, dropout and, in a grid, the
inner folds. If the split is the same for all, neither says what another split would change. If each training draws its
own split, the spread includes that.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

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

    References
    ----------
    Nadeau & Bengio, Inference for the Generalization Error, Machine Learning 52:239, 2003: the correction for overlap.
    """

    mean: float
    deviation: float
    low: float
    high: float

    @classmethod
    def of(cls, values: npt.ArrayLike, *, overlap: float = 0.0) -> "Spread":
        """Summarise at least two values, (n,) float.

        `overlap` is the number of test rows divided by that of training rows if the values come from redrawn splits,
        which share rows: the variance of the mean is (1 / n + overlap) times that of the values instead of 1 / n times.
        """
        x = np.asarray(values, dtype=np.float64)
        mean, deviation = float(x.mean()), float(x.std(ddof=1))
        reach = float(stdtrit(len(x) - 1, (1 + LEVEL) / 2)) * deviation * (1 / len(x) + overlap) ** 0.5
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
        The metrics of each training on its test rows, None where undefined.
    overlap : float
        Number of test rows divided by that of training rows if every training drew its own split; 0 if all have the
        same split.
    """

    system: str
    seeds: tuple[int, ...]
    metrics: tuple[Mapping[str, float | None], ...]
    overlap: float = 0.0

    @property
    def redrawn(self) -> bool:
        """Whether every training drew its own split."""
        return self.overlap > 0

    @property
    def note(self) -> str:
        """One line: what was repeated, and what the figures cover."""
        rest = f"the other results and the weights are those of seed {self.seeds[0]}"
        if self.redrawn:
            return (
                f"trained {len(self.seeds)} times, each on its own split (seeds.csv): the interval of the mean allows "
                f"for the rows that the splits share; {rest}"
            )
        if all(metrics == self.metrics[0] for metrics in self.metrics):
            return (
                f"trained {len(self.seeds)} times on the same split (seeds.csv), always with the same metrics: the "
                "seed changes nothing in this system; --redraw-split shows what another split would change"
            )
        return (
            f"trained {len(self.seeds)} times on the same split (seeds.csv); {rest}, and no figure says what another "
            "split would change"
        )

    def spread(self, name: str) -> Spread | None:
        """A metric over the trainings; None where it is undefined for any of them."""
        values = [metrics[name] for metrics in self.metrics]
        return (
            None
            if None in values
            else Spread.of([value for value in values if value is not None], overlap=self.overlap)
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values: the system, its seeds, whether splits were redrawn, and the spread of every metric."""
        spreads = {name: self.spread(name) for name in self.metrics[0]}
        return {
            "system": self.system,
            "seeds": list(self.seeds),
            "redrawn_split": self.redrawn,
            "metrics": {name: None if found is None else asdict(found) for name, found in spreads.items()},
        }


def training_seeds(seed: int, n: int) -> tuple[int, ...]:
    """Seeds of n trainings: `seed` itself, then n - 1 drawn from it; fewer are the beginning of more."""
    drawn: Sequence[int] = np.random.SeedSequence([seed, _TRAININGS]).generate_state(max(n - 1, 1)).tolist()
    return (seed, *drawn[: n - 1])
