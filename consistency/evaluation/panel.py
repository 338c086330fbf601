"""What a run says of labels that several people gave: who scored how many rows, and how far they agree."""

from dataclasses import dataclass

import numpy as np

from consistency.data.pairs import PairTable
from consistency.evaluation.agreement import coincidence_counts, ordinal_alpha
from consistency.options import Aggregate


@dataclass(frozen=True)
class Panel:
    """Several people whose scores became one label for each row.

    Attributes
    ----------
    columns : tuple of str
        Their columns of the table.
    aggregate : {"median", "mean"}
        How their scores became a label.
    scores : tuple of int
        Number of rows that each of them has scored.
    complete : int
        Number of rows that all of them have scored.
    rows : int
        Number of rows.
    alpha : float or None
        Krippendorff's ordinal alpha; None where it is undefined.
    """

    columns: tuple[str, ...]
    aggregate: Aggregate
    scores: tuple[int, ...]
    complete: int
    rows: int
    alpha: float | None

    @property
    def note(self) -> str:
        """The same in a line."""
        alpha = "undefined" if self.alpha is None else f"{self.alpha:.3f}"
        return (
            f"labels: {self.aggregate} of {len(self.columns)} columns of scores ({', '.join(self.columns)}), "
            f"all of them filled in {self.complete:,} of {self.rows:,} rows; Krippendorff's ordinal alpha {alpha}"
        )


def describe_panel(table: PairTable, aggregate: Aggregate) -> Panel | None:
    """Describe the raters of a table; None if it has one column of scores."""
    if table.ratings is None:
        return None
    given = table.ratings > 0
    alpha = float(ordinal_alpha(coincidence_counts(table.ratings[given.sum(axis=1) >= 2]).sum(axis=0)))
    return Panel(
        columns=table.raters,
        aggregate=aggregate,
        scores=tuple(given.sum(axis=0).tolist()),
        complete=int(given.all(axis=1).sum()),
        rows=len(table),
        alpha=alpha if np.isfinite(alpha) else None,
    )
