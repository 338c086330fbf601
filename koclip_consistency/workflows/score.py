"""`score`: scores new images and hashtags with a trained run, or with weights of the published scripts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from consistency.data.inputs import list_skipped
from consistency.data.pairs import Skipped
from consistency.data.table_writer import Type, check_table_output, table_writer
from consistency.errors import ImageError, InputError
from consistency.options import Source
from consistency.runs.folder import CHANCES
from koclip_consistency.scoring.batches import TableBatch, open_batches
from koclip_consistency.scoring.loading import load_scorer as load_scorer
from koclip_consistency.scoring.scored import ANSWER, WHY_NOT, answer_columns
from koclip_consistency.scoring.scorer import Scorer

# What an answer repeats of the pair that was asked about, and what it adds.
ASKED: dict[str, Type] = {"row": "integer", "image": "text", "hashtag": "text", "score": "integer"}
ADDED: dict[str, Type] = {
    "predicted": "integer",
    "value": "number",
    **dict.fromkeys(ANSWER[1:-1], "number"),
    "familiar": "truth",
    WHY_NOT: "text",
}


@dataclass(frozen=True, eq=False)
class ScoredTable:
    """What was done to a table.

    Attributes
    ----------
    answered : int
        Number of rows with an answer.
    hashtags : tuple of (rows, hashtags)
        Row and hashtag of each of them.
    skipped : tuple of Skipped
        The rows without one.
    records : list of dict
        The rows as `--json` prints them.
    """

    answered: int
    hashtags: tuple[list[int], list[str]]
    skipped: tuple[Skipped, ...]
    records: list[dict[str, Any]]


def score_images(
    scorer: Scorer, images: Sequence[Path], hashtags: Sequence[str], source: Source
) -> tuple[list[dict[str, Any]], tuple[Skipped, ...]]:
    """Score the same hashtags with each of several images.

    Parameters
    ----------
    scorer : Scorer
        The trained system.
    images : sequence of Path
        At least one. Their names stand for them in the answers, or their paths where a name occurs twice.
    hashtags : sequence of str
        At least one.
    source : Source
        Which images are refused, and what to do then.

    Returns
    -------
    records : list of dict
        As `score --json` prints them: image by image in the given order, for each image the best hashtag first.
    skipped : tuple of Skipped
        Hashtags and images without an answer.

    Raises
    ------
    InputError
        If a hashtag cannot be used, or an image cannot and either no image can or `--on-error abort` is given.
    """
    records: list[dict[str, Any]] = []
    skipped: list[Skipped] = []
    names = [path.name for path in images]
    for number, path in enumerate(images):
        name = path.name if names.count(path.name) == 1 else str(path)
        try:
            answers = scorer.answer(path, hashtags, source.limits)
        except ImageError as error:
            if source.on_error == "abort" or (number == len(images) - 1 and not records):
                raise
            skipped.append(Skipped(None, name, "", str(error).removeprefix(f"{path} cannot be scored: ")))
            continue
        skipped += [replace(each, image=name) for each in answers.skipped]
        columns = answer_columns(answers, len(hashtags))
        rows = range(number * len(hashtags) + 1, (number + 1) * len(hashtags) + 1)
        nothing, names_again = [None] * len(hashtags), [name] * len(hashtags)
        found = _records({**_asked(rows, names_again, hashtags, nothing), **columns})
        found = [found[row] for row in answers.rows.tolist()]
        records += sorted(found, key=lambda record: -record["value"])
    return records, tuple(skipped)


def score_table(scorer: Scorer, source: Source, out: Path, *, prefix: str = "", keep: bool = False) -> ScoredTable:
    """Score every row of a table, which needs no score column, and write all of its rows and columns to `out`.

    Rows that cannot be scored say why in `why_not`, and are listed in a file beside `out`.

    Parameters
    ----------
    scorer : Scorer
        The trained system.
    source : Source
        The table and its images.
    out : Path
        A CSV, or Parquet if it ends with .parquet.
    prefix : str
        Put before the name of each column of the answer.
    keep : bool
        Whether to return the records.

    Raises
    ------
    InputError
        If `out` cannot be written, or the table cannot be read or has a column of the answer's name already.
    """
    check_table_output(out)
    batches = open_batches(source)
    asked = [name for name in ASKED if name not in batches.columns]
    added = {prefix + name: kind for name, kind in ADDED.items()}
    if there := [name for name in added if name in batches.columns]:
        raise InputError(
            f"{source.data} already has the column {there[0]!r}: rename it, or give the new columns other names with "
            "--prefix, for example --prefix new_"
        )
    types = [*((name, "text") for name in batches.columns), *((name, ASKED[name]) for name in asked), *added.items()]
    skipped: list[Skipped] = []
    records: list[dict[str, Any]] = []
    rows: list[int] = []
    hashtags: list[str] = []
    with table_writer(out, types) as write:
        for batch in batches:
            columns, lost = _answers(scorer, batch, source)
            write([*batch.cells, *(columns[name] for name in (*asked, *ADDED))])
            skipped += lost
            answered = [at for at, reason in enumerate(columns[WHY_NOT]) if reason is None]
            rows += [batch.rows[at] for at in answered]
            hashtags += [batch.hashtags[at] for at in answered]
            if keep:
                records += _records(columns)
    list_skipped(out, skipped)
    return ScoredTable(len(rows), (rows, hashtags), tuple(skipped), records)


def _answers(scorer: Scorer, batch: TableBatch, source: Source) -> tuple[dict[str, Sequence[Any]], tuple[Skipped, ...]]:
    """The columns of `ASKED` and `ADDED` of a batch, and its rows without an answer."""
    found, skipped = None, batch.inputs.skipped
    if len(batch.inputs.table):
        answers = scorer.answer_table(batch.inputs, source)
        found, skipped = replace(answers, rows=batch.at[answers.rows]), answers.skipped
    why = {(each.row, each.hashtag): each.reason for each in skipped}
    reasons = {at: why[pair] for at, pair in enumerate(zip(batch.rows, batch.hashtags, strict=True)) if pair in why}
    asked = _asked(batch.rows, batch.images, batch.hashtags, batch.scores)
    return {**asked, **answer_columns(found, len(batch.rows), reasons)}, skipped


def _asked(*columns: Sequence[Any]) -> dict[str, Sequence[Any]]:
    return dict(zip(ASKED, columns, strict=True))


def _records(columns: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """The rows of some columns as `--json` prints them: without p1 to p5 where there are no probabilities."""
    named = {name: columns[name] for name in (*ASKED, *ADDED)}
    records = [dict(zip(named, cells, strict=True)) for cells in zip(*named.values(), strict=True)]
    for record in records:
        if record["p1"] is None:
            for name in CHANCES:
                del record[name]
    return records
