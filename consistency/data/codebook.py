"""The codebook of a table: what its columns hold, what the scores mean, and how often each occurs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from consistency.data.cells import plain
from consistency.data.formats import Cell
from consistency.data.inputs import open_source
from consistency.data.scores import score_of
from consistency.errors import DataError, InputError
from consistency.options import Source
from consistency.text import percent, to_csv

# As in the codebook of the published data set.
MEANINGS: Mapping[int, str] = {
    1: "Very low relevance",
    2: "Low relevance",
    3: "Medium relevance",
    4: "High relevance",
    5: "Very high relevance",
}
NO_SCORE = "No score from 1 to 5"
EXAMPLES = 3
COLUMNS = ("variable", "role", "type", "filled", "empty", "distinct", "lowest", "highest", "examples")
CODES = ("variable", "code", "meaning_en", "labels", "rows")


@dataclass(frozen=True)
class Column:
    """A column of the table.

    Attributes
    ----------
    variable : str
        Its name.
    role : {"image", "hashtag", "score", "post", ""}
        What the program reads it as; empty if it does not read it.
    type : {"whole number", "number", "text", "list", "empty"}
        Of all its filled cells.
    filled, empty, distinct : int
        Number of cells with and without content, and of different contents.
    lowest, highest : str
        Of numbers, as in the table; empty for others.
    examples : tuple of str
        The first contents.
    """

    variable: str
    role: str
    type: str
    filled: int
    empty: int
    distinct: int
    lowest: str
    highest: str
    examples: tuple[str, ...]


@dataclass(frozen=True)
class Code:
    """A score of the table: what it means, which labels stand for it, and its number of rows. None: no score."""

    code: int | None
    meaning: str
    labels: tuple[str, ...]
    rows: int


@dataclass(frozen=True)
class Codebook:
    """The codebook of a table of `rows` rows; `variable` is the column of the scores."""

    path: Path
    format: str
    digest: str
    rows: int
    variable: str
    columns: tuple[Column, ...]
    codes: tuple[Code, ...]

    def files(self) -> dict[str, bytes]:
        """The files of the codebook by name: codebook.md, columns.csv and codes.csv."""
        columns = [(*list(vars(c).values())[:-1], "; ".join(c.examples)) for c in self.columns]
        codes = [
            (self.variable, "" if c.code is None else c.code, c.meaning, "; ".join(c.labels), c.rows)
            for c in self.codes
        ]
        total = sum(c.rows for c in self.codes)  # of several columns of scores, more than the rows
        page = [
            f"# Codebook of {_cell(self.path.name)}",
            "",
            f"{self.rows:,} rows, {self.format}, SHA-256 `{self.digest}`.",
            "",
            "## Columns",
            "",
            *_table(COLUMNS, columns),
            "",
            f"## Scores in {_cell(self.variable)}",
            "",
            *_table(
                ("score", "meaning", "labels", "rows", "share"),
                [(code, meaning, labels, n, percent(n / total)) for _, code, meaning, labels, n in codes],
            ),
        ]
        return {
            "codebook.md": ("\n".join(page) + "\n").encode(),
            "columns.csv": to_csv(COLUMNS, columns),
            "codes.csv": to_csv(CODES, codes),
        }


def parse_meanings(given: Sequence[str]) -> dict[int, str]:
    """The meaning of each score: those of MEANINGS, and those given as SCORE=TEXT.

    Raises
    ------
    InputError
        If one is of another form, or a score is given twice.
    """
    found: dict[int, str] = {}
    for text in given:
        score, _, meaning = text.partition("=")
        if score.strip() not in map(str, MEANINGS) or not meaning.strip():
            raise InputError(
                f"--meaning {text!r} is not SCORE=TEXT, expected for example 5='names what the image shows'"
            )
        if int(score) in found:
            raise InputError(f"--meaning gives the score {int(score)} two meanings: give it one")
        found[int(score)] = meaning.strip()
    return {**MEANINGS, **found}


def make_codebook(source: Source, meanings: Mapping[int, str] = MEANINGS) -> Codebook:
    """Read a whole table and describe it.

    Parameters
    ----------
    source : Source
        The table, the names of its columns, and `score_map`. Images are not read.
    meanings : mapping of int to str
        The meaning of each of the scores 1 to 5.

    Raises
    ------
    DataError
        If the table cannot be read, lacks the column of the scores, or has no row.
    """
    table = open_source(source)
    scores_at = [table.place(name, "--score-column") for name in source.score_columns]
    contents: list[dict[Cell, int]] = [{} for _ in table.columns]  # number of cells by content, in order
    rows = 0
    for rows, cells in enumerate(table.rows(), start=1):
        if len(cells) != len(table.columns):
            raise DataError(f"{table.path}, row {rows}: {len(cells)} cells, the header has {len(table.columns)}")
        for found, cell in zip(contents, cells, strict=True):
            found[cell] = found.get(cell, 0) + 1
    if not rows:
        raise DataError(f"{table.path} has no row: there is only a header")
    roles: dict[str | None, str] = {
        source.image_column: "image",
        source.hashtag_column: "hashtag",
        source.post_column: "post",
        **dict.fromkeys(source.score_columns, "score"),
    }
    return Codebook(
        path=table.path,
        format=", ".join(filter(None, (table.format, table.encoding))),
        digest=table.digest,
        rows=rows,
        variable=", ".join(source.score_columns),
        columns=tuple(
            _column(name, roles.get(name, ""), found) for name, found in zip(table.columns, contents, strict=True)
        ),
        codes=_codes([contents[at] for at in scores_at], source.score_map, meanings),
    )


def _column(name: str, role: str, contents: Mapping[Cell, int]) -> Column:
    filled = {cell: count for cell, count in contents.items() if plain(cell).strip()}
    numbers = {cell: _number(cell) for cell in filled}
    low = high = ""
    kind = "text"
    if not filled:
        kind = "empty"
    elif any(isinstance(cell, tuple) for cell in filled):
        kind = "list"
    elif None not in numbers.values():
        values = {cell: number for cell, number in numbers.items() if number is not None}
        kind = "whole number" if all(number.is_integer() for number in values.values()) else "number"
        low, high = (plain(pick(values, key=values.__getitem__)).strip() for pick in (min, max))
    n = sum(filled.values())
    examples = tuple(plain(cell) for cell in list(filled)[:EXAMPLES])
    return Column(name, role, kind, n, sum(contents.values()) - n, len(filled), low, high, examples)


def _number(cell: Cell) -> float | None:
    try:
        number = float(plain(cell))
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _codes(
    columns: Sequence[Mapping[Cell, int]], score_map: Mapping[str, int] | None, meanings: Mapping[int, str]
) -> tuple[Code, ...]:
    labels: dict[int, dict[str, int]] = {score: {} for score in (*meanings, 0)}
    for cell, count in (item for contents in columns for item in contents.items()):
        text = plain(cell)
        of_score = labels[score_of(text, score_map)]
        of_score[text.strip()] = of_score.get(text.strip(), 0) + count
    codes = [Code(score, meanings[score], tuple(labels[score]), sum(labels[score].values())) for score in meanings]
    if labels[0]:
        codes.append(Code(None, NO_SCORE, tuple(labels[0])[:EXAMPLES], sum(labels[0].values())))
    return tuple(codes)


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    lines = [header, ["---"] * len(header), *rows]
    return [f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines]


def _cell(value: object) -> str:
    """Text that stays in its cell of a Markdown table, and is no markup."""
    text = " ".join(str(value).split())
    return "".join(f"\\{letter}" if letter in "|`*_<[\\" else letter for letter in text)
