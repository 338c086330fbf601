"""`agreement`."""

from typing import TYPE_CHECKING

from koclip_consistency.screen.app import app
from koclip_consistency.screen.command import command

if TYPE_CHECKING:
    from consistency.options import AgreementOptions
    from koclip_consistency.screen.console import Screen


@command(
    app,
    "agreement",
    "AgreementOptions",
    "--data rated.csv --columns Score,human_1,human_2",
    "--data rated.csv --columns human_1,human_2 --run runs/heads --json",
)
def agreement(options: "AgreementOptions", screen: "Screen") -> None:
    """Report how far several people agree on the scores of a table.

    Each column is a rater; empty cells are pairs that the rater has not scored. With --run, the systems of a run stand
    beside the raters, on the rows that they did not learn from.
    """
    from koclip_consistency.screen.tables import agreement_tables
    from koclip_consistency.workflows.agreement import run_agreement

    agreed = run_agreement(options)
    screen.json(agreed.as_dict())
    for table in agreement_tables(agreed):
        screen.table(table)
    screen.note("Intervals are 95 %, from resampled images. Rows that were chosen by doubt represent no other rows.")
    if agreed.by_doubt:
        screen.note(f"Warning: {agreed.by_doubt} rows were chosen by doubt; agreement on other rows is likely higher")
