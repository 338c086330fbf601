"""A table is recognised by its content, whatever its name, and read the same in every format."""

import gzip
import json
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import openpyxl
import pandas as pd
import pyarrow as pa
import pytest

from consistency.data.pairs import read_pairs
from consistency.data.tables import open_table
from consistency.errors import DataError

FRAME = pd.DataFrame(
    {
        "Image Filename": ["가을.png", "b.jpg", "sub/c.jpg", "d.jpg", "e.jpg"],
        "note": ["", "two\nlines", None, "x", "y"],
        "Hashtag": ["#가을", ' 바"다; ', "🏳️‍🌈, x\ty", "#", "2024"],
        "Score": [5, 1, 3, 4, 2],
    }
)
WRITERS: dict[str, Callable[[Path], None]] = {
    "CSV": lambda path: FRAME.to_csv(path, index=False),
    "TSV": lambda path: FRAME.to_csv(path, index=False, sep="\t"),
    "CSV separated by ';'": lambda path: FRAME.to_csv(path, index=False, sep=";"),
    "JSON Lines": lambda path: FRAME.to_json(path, orient="records", lines=True, force_ascii=False),
    "Parquet": lambda path: FRAME.to_parquet(path, row_group_size=2),
    "XLSX, sheet 'Sheet1'": lambda path: FRAME.to_excel(path, index=False, engine="openpyxl"),
}


def refusal(path: Path, **options: str) -> str:
    with pytest.raises(DataError) as error:
        open_table(path, **options)
    assert "\n" not in str(error.value)
    return str(error.value).removeprefix(str(path))


@pytest.mark.parametrize("kind", WRITERS)
def test_every_format_gives_the_same_table(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "table.bin"  # the name says nothing
    written = tmp_path / ("table.xlsx" if kind.startswith("XLSX") else "table")
    WRITERS[kind](written)
    written.rename(path)
    table = open_table(path)
    assert table.format == kind
    assert table.encoding == ("" if kind in ("Parquet", "XLSX, sheet 'Sheet1'") else "UTF-8")
    assert table.digest == sha256(path.read_bytes()).hexdigest()
    assert table.columns == tuple(FRAME.columns)
    cells = [[*row[:1], row[1] or "", *row[2:3], str(row[3])] for row in FRAME.fillna("").values.tolist()]
    assert list(table.rows()) == cells
    assert list(table.rows()) == cells  # from the beginning again
    pairs = read_pairs(path)
    assert pairs.images.tolist() == ["가을.png", "b.jpg", "sub/c.jpg", "e.jpg"]
    assert pairs.hashtags.tolist() == ["#가을", ' 바"다; ', "🏳️‍🌈, x\ty", "2024"]
    assert pairs.scores.tolist() == [5, 1, 3, 2]
    assert [(skipped.row, skipped.reason) for skipped in pairs.skipped] == [(4, "the hashtag is empty")]
    assert (pairs.format, pairs.digest) == (table.format, table.digest)


def test_the_separator_is_the_one_that_finds_the_columns(tmp_path: Path) -> None:
    path = tmp_path / "t"
    path.write_text("a,b,c;Hashtag;Score\n1;2;3\n")
    assert open_table(path).columns == ("a", "b", "c;Hashtag;Score")
    assert open_table(path, wanted=("Hashtag", "Score")).columns == ("a,b,c", "Hashtag", "Score")
    path.write_text("Hashtag|Score\n1|2\n")
    assert list(open_table(path, separator="|").rows()) == [["1", "2"]]
    assert open_table(path, separator="|").format == "CSV separated by '|'"
    path.write_text("a,b\tc\n")
    for tab in ("\t", "\\t", "tab"):
        assert open_table(path, separator=tab).columns == ("a,b", "c")
    assert refusal(path, separator="||") == "--separator is '||', expected one character, or tab"


def test_the_sheet_is_the_one_that_has_the_columns(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.append(["about", "us"])
    sheet = book.create_sheet("라벨")
    for row in ([], [None], ["Image Filename", "Hashtag", "Score"], ["a.jpg", "#바다", 5.0], [], ["b.jpg", None, 4]):
        sheet.append(row)
    sheet.append(["c.jpg", "#NAME?", 4])
    sheet.append(["d.jpg", "산", 4, "stray"])
    book.save(tmp_path / "b.xlsx")
    pairs = read_pairs(tmp_path / "b.xlsx")
    assert (pairs.format, pairs.images.tolist(), pairs.scores.tolist()) == ("XLSX, sheet '라벨'", ["a.jpg"], [5])
    assert [(skipped.row, skipped.reason) for skipped in pairs.skipped] == [
        (2, "the hashtag is empty"),
        (3, "the hashtag is empty"),
        (4, "4 cells, the header has 3"),
    ]


def test_only_the_needed_columns_of_parquet_are_read(tmp_path: Path) -> None:
    FRAME.to_parquet(tmp_path / "p")
    rows = list(open_table(tmp_path / "p").rows(("Hashtag",)))
    assert rows[0] == ["", "", "#가을", ""]


@pytest.mark.parametrize("kind", ["JSON Lines", "Parquet"])
def test_a_list_of_hashtags_is_split_or_named(kind: str, tmp_path: Path) -> None:
    records = [
        {"Image Filename": "a.jpg", "Hashtag": ["바다 여행", "#산"], "Score": [5, 4]},
        {"Image Filename": "b.jpg", "Hashtag": ["강"], "Score": [3]},
    ]
    path = tmp_path / "t"
    if kind == "Parquet":
        pd.DataFrame(records).to_parquet(path)
    else:
        path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n\n" for record in records))
    table = read_pairs(path, split=True)
    assert list(zip(table.images, table.hashtags, table.scores, strict=True)) == [
        ("a.jpg", "바다 여행", 5),
        ("a.jpg", "#산", 4),
        ("b.jpg", "강", 3),
    ]
    with pytest.raises(DataError, match=r"row 1: the cell is a list of 2 hashtags: split it with --split-hashtags"):
        read_pairs(path)


def test_a_cut_file_is_called_damaged(tmp_path: Path) -> None:
    for name, kind in (("t.parquet", "Parquet"), ("t.xlsx", "Excel")):
        whole = tmp_path / name
        WRITERS["Parquet" if kind == "Parquet" else "XLSX, sheet 'Sheet1'"](whole)
        whole.write_bytes(whole.read_bytes()[:-100])
        message = refusal(whole)
        assert "damaged" in message
        assert message.endswith("save it again")


def test_broken_json_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "pairs.json"
    path.write_text('{"Hashtag": "x"}\n\n{"Hashtag": \n')
    assert refusal(path).startswith(" looks like JSON, but line 3 is no whole object (")
    path.write_text('{\n  "rows": []\n}\n')
    assert refusal(path).endswith("one object per line, for example with `jq -c . pairs.json > pairs.jsonl`")
    path.write_text('[\n  {"Hashtag": "x"}\n]\n')
    assert refusal(path) == (
        " looks like a JSON array, expected JSON Lines: write one object per line, "
        "for example with `jq -c '.[]' pairs.json > pairs.jsonl`"
    )
    path.write_text('{"Hashtag": "x"}\n3\n')
    assert refusal(path) == ", line 2: expected a JSON object with a key for each column"


def test_what_is_no_table_is_named_for_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    with pa.OSFile(str(tmp_path / "arrow"), "wb") as sink, pa.ipc.new_file(sink, pa.schema([])):
        pass
    for data, said in {
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "is an old Excel file (.xls), or one with a password",
        gzip.compress(b"a,b"): "is compressed with gzip: unpack it first",
        (tmp_path / "arrow").read_bytes(): "is an Arrow file: save it as Parquet",
        b"<!DOCTYPE html><table>": "looks like HTML or XML: open it in a spreadsheet, and save it as XLSX or CSV",
        b"%PDF-1.7": "is a PDF: export the table as CSV or XLSX",
        b"SQLite format 3\0": "is an SQLite database: export the table as CSV",
    }.items():
        path.write_bytes(data)
        assert said in refusal(path)
    for inside, said in {
        "content.xml": "is an OpenDocument spreadsheet: save it as XLSX or CSV",
        "xl/workbook.bin": "is a binary Excel file (.xlsb): save it as XLSX",
        "pairs.csv": "is a ZIP archive, expected a table: unpack it",
    }.items():
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(inside, "x")
        assert said in refusal(path)
    path.write_bytes(b"PK\3\4 and no more")
    assert "looks like an Excel file, but is damaged" in refusal(path)


def test_the_library_is_asked_for_by_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, kind, module, extra in (
        ("p", "Parquet", "pyarrow", "parquet"),
        ("x.xlsx", "XLSX, sheet 'Sheet1'", "openpyxl", "excel"),
    ):
        path = tmp_path / name
        WRITERS[kind](path)
        monkeypatch.setitem(__import__("sys").modules, f"{module}.parquet" if module == "pyarrow" else module, None)
        assert refusal(path).endswith(f"reading it needs {module}: pip install 'koclip-consistency[{extra}]'")
