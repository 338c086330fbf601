"""`score`: scores new images and hashtags with a trained run, with published weights, or by their cosine alone."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from consistency.data.hashtags import hashtag_fault, long_note, several_note
from consistency.data.inputs import listing_skipped, refuse_overwriting
from consistency.data.memo import DigestMemo
from consistency.data.pairs import Skipped
from consistency.data.spool import Spool, spooled
from consistency.data.table_writer import Type, check_table_output, table_writer
from consistency.errors import ImageError, InputError, os_errors_as
from consistency.options import LARGE_ROWS, Source
from consistency.runs.folder import CHANCES
from koclip_consistency.scoring.batches import TableBatch, open_batches
from koclip_consistency.scoring.loading import load_scorer as load_scorer
from koclip_consistency.scoring.posts import PostAnswers
from koclip_consistency.scoring.scored import POST_READ, SETS, WHY_NOT, Scored, answer_columns
from koclip_consistency.scoring.scorer import Scorer
from koclip_consistency.scoring.spooled_posts import SpooledPostAnswers

# What an answer repeats of the pair that was asked about, and what it adds.
ASKED: dict[str, Type] = {"row": "integer", "image": "text", "hashtag": "text", "score": "integer"}
TYPES: dict[str, Type] = {
    "predicted": "integer",
    "familiar": "truth",
    POST_READ: "truth",
    "rank": "integer",
    "rank_of": "integer",
    **dict.fromkeys(SETS, "integer"),
}
COSINE_NOTE = (
    "value is the cosine of image and hashtag, not a score of 1 to 5; rank is among the hashtags of the post, and "
    "percentile is the share of the cache's hashtags whose cosine to the same image is lower"
)


@dataclass(frozen=True, eq=False)
class ScoredTable:
    """What was done to a table.

    Attributes
    ----------
    answered : int
        Number of rows with an answer.
    lost : int
        Number of rows without one.
    first_lost : Skipped or None
        The first of these.
    notes : tuple of str
        Lines about rows whose hashtag may not be what the table's owner means.
    records : list of dict
        The rows as `--json` prints them, if they were to be kept.
    """

    answered: int
    lost: int
    first_lost: Skipped | None
    notes: tuple[str, ...]
    records: list[dict[str, Any]]


Ask = Callable[[Path], tuple[Sequence[str], Scored]]  # hashtags for an image, and their answers


def score_images(
    scorer: Scorer, images: Sequence[Path], ask: Ask, source: Source
) -> tuple[list[dict[str, Any]], tuple[Skipped, ...]]:
    """Score hashtags with each of several images.

    Parameters
    ----------
    scorer : Scorer
        The trained system.
    images : sequence of Path
        At least one. Their names stand for them in the answers, or their paths where a name occurs twice.
    ask : callable
        From `asking` or `suggesting`.
    source : Source
        What to do about an image that cannot be used.

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
    names, asked = [path.name for path in images], 0
    for path in images:
        name = path.name if names.count(path.name) == 1 else str(path)
        try:
            hashtags, answers = ask(path)
        except ImageError as error:
            if source.on_error == "abort" or (path == images[-1] and not records):
                raise
            skipped.append(Skipped(None, name, "", str(error).removeprefix(f"{path} cannot be scored: ")))
            continue
        skipped += [replace(each, image=name) for each in answers.skipped]
        n = len(hashtags)
        pairs = _asked(range(asked + 1, asked + n + 1), [name] * n, hashtags, [None] * n)
        found = _records({**pairs, **answer_columns(answers, n)}, scorer)
        records += sorted((found[row] for row in answers.rows.tolist()), key=lambda record: -record["value"])
        asked += n
    return records, tuple(skipped)


def asking(scorer: Scorer, hashtags: Sequence[str], source: Source) -> Ask:
    """Ask about the same hashtags for each image."""
    return lambda image: (hashtags, scorer.answer(image, hashtags, source.limits))


def suggesting(scorer: Scorer, n: int, words: Path | None, source: Source) -> Ask:
    """Ask for the n hashtags that suit each image best, from a file with one hashtag a line or from the cache.

    Raises
    ------
    InputError
        If the file cannot be read or holds something else.
    """
    listed = None if words is None else read_words(words)
    return lambda image: scorer.suggestions(image, n, listed, source.limits)


def read_words(path: Path) -> list[str]:
    """Read a file with one hashtag a line, without empty lines and repeats.

    Raises
    ------
    InputError
        If it cannot be read, is not UTF-8, or a line is no hashtag.
    """
    with os_errors_as(InputError, f"{path} cannot be read"):
        data = path.read_bytes()
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8, expected one hashtag a line: save it as UTF-8") from error
    words = {line.strip(): number for number, line in reversed(list(enumerate(lines, 1))) if line.strip()}
    for word, number in words.items():
        if fault := hashtag_fault(word):
            raise InputError(f"{path}, line {number}: {fault}, expected one hashtag a line")
    return sorted(words, key=words.__getitem__)


def score_table(
    scorer: Scorer,
    source: Source,
    out: Path,
    *,
    prefix: str = "",
    keep: bool = False,
    large_rows: int = LARGE_ROWS,
    metadata: Mapping[str, str] | None = None,
    formulas: bool = True,
) -> ScoredTable:
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
        Whether to return the records, which then take memory for every row.
    large_rows : int
        If the table may have more rows, and the scorer reads posts, rows wait for their post on disk.
    metadata : mapping of str to str, optional
        Kept in the file's metadata by Parquet.
    formulas : bool
        Whether a CSV keeps text that a spreadsheet would calculate; otherwise an apostrophe is put before it.

    Raises
    ------
    InputError
        If `out` cannot be written or is the table, or the table has a column of the answer's name already.
    DataError
        If the table cannot be read, or none of its images is found.
    """
    refuse_overwriting(source, out)
    check_table_output(out)
    cache = scorer.encoder.cache
    memo = None if cache is None else DigestMemo(cache.path.parent)
    batches = open_batches(source, memo)
    asked = [name for name in ASKED if name not in batches.columns]
    answer = _answer_names(scorer)
    added = [prefix + name for name in answer]
    if there := [name for name in added if name in batches.columns]:
        raise InputError(
            f"{source.data} already has the column {there[0]!r}: rename it, or give the new columns other names with "
            "--prefix, for example --prefix new_"
        )
    types: list[tuple[str, Type]] = [(name, "text") for name in batches.columns]
    types += [(name, ASKED[name]) for name in asked]
    types += [(prefix + name, "text" if name == WHY_NOT else TYPES.get(name, "number")) for name in answer]
    start = lost = 0
    first_lost: Skipped | None = None
    records: list[dict[str, Any]] = []
    notes = several_note(), long_note()
    large, large_note = spooled(batches.table, large_rows) if scorer.reads_post else (False, None)
    with ExitStack() as stack:
        if memo is not None:
            stack.enter_context(memo)
        whole: PostAnswers | SpooledPostAnswers | None = None
        if large:
            whole = SpooledPostAnswers(scorer, batches, source, stack.enter_context(Spool()), memo)
        elif scorer.reads_post:
            whole = PostAnswers(scorer, batches, source)
        write = stack.enter_context(table_writer(out, types, metadata, formulas=formulas))
        list_lost = stack.enter_context(listing_skipped(out, formulas=formulas))
        for batch in batches:
            columns = _asked(batch.rows, batch.images, batch.hashtags, batch.scores)
            columns |= _answers(scorer, batch, source) if whole is None else whole.rows(start, start + len(batch.rows))
            for row, reason in _reasons(batch, batch.inputs.skipped).items():
                columns[WHY_NOT][row] = reason
            write([*batch.cells, *(columns[name] for name in (*asked, *answer))])
            pairs = zip(batch.rows, batch.images, batch.hashtags, columns[WHY_NOT], strict=True)
            skipped = [Skipped(*each) for each in pairs if each[-1]]
            list_lost(skipped)
            start, lost = start + len(batch.rows), lost + len(skipped)
            first_lost = first_lost or next(iter(skipped), None)
            for note in notes:
                note.add(batch.inputs.table.rows.tolist(), batch.inputs.table.hashtags)
            if keep:
                records += _records(columns, scorer)
    lines = tuple(filter(None, (*(note.line for note in notes), large_note)))
    return ScoredTable(start - lost, lost, first_lost, lines, records)


def _answers(scorer: Scorer, batch: TableBatch, source: Source) -> dict[str, list[Any]]:
    """The columns of the answer to a batch, for a scorer that needs no other rows."""
    if not len(batch.inputs.table):
        return answer_columns(None, len(batch.rows))
    answers = scorer.answer_table(batch.inputs, source)
    found = replace(answers, rows=batch.at[answers.rows])
    return answer_columns(found, len(batch.rows), _reasons(batch, answers.skipped))


def _reasons(batch: TableBatch, skipped: Sequence[Skipped]) -> dict[int, str]:
    """Why rows of a batch have no answer, by their place."""
    why = {(each.row, each.hashtag): each.reason for each in skipped}
    return {at: why[pair] for at, pair in enumerate(zip(batch.rows, batch.hashtags, strict=True)) if pair in why}


def _answer_names(scorer: Scorer) -> list[str]:
    return ["predicted", "value", *scorer.columns[1:], WHY_NOT]


def _asked(*columns: Sequence[Any]) -> dict[str, Any]:
    return dict(zip(ASKED, columns, strict=True))


def _records(columns: Mapping[str, Sequence[Any]], scorer: Scorer) -> list[dict[str, Any]]:
    """The rows of some columns as `--json` prints them: without p1 to p5 where there are no probabilities."""
    named = {name: columns[name] for name in (*ASKED, *_answer_names(scorer))}
    records = [dict(zip(named, cells, strict=True)) for cells in zip(*named.values(), strict=True)]
    for record in records:
        if record["p1"] is None:
            for name in CHANCES:
                del record[name]
    return records
