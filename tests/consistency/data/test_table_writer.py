"""Tables written batch by batch, read back by other programs: completely or not at all."""

import csv
import sys
from pathlib import Path

import pandas as pd
import pytest

from consistency.data.table_writer import Type, check_table_output, table_writer
from consistency.errors import InputError

COLUMNS: list[tuple[str, Type]] = [
    ("이름", "text"),
    ("n", "integer"),
    ("x", "number"),
    ("ok", "truth"),
    ('a "b", c', "text"),
]
BATCHES = [
    [["하나", 'quo"te', "a\nb"], [1, None, 3], [0.1, 1e-300, None], [True, None, False], ["", ",", None]],
    [["넷"], [2**53 + 1], [-2.5], [None], ["e"]],
]
ROWS = [list(row) for batch in BATCHES for row in zip(*batch, strict=True)]


def write(path: Path) -> None:
    with table_writer(path, COLUMNS) as append:
        for batch in BATCHES:
            append(batch)


def test_csv(tmp_path: Path) -> None:
    write(tmp_path / "t.csv")
    with (tmp_path / "t.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file, strict=True)
    assert header == [name for name, _ in COLUMNS]
    words = {None: "", True: "true", False: "false"}
    assert [row[::4] for row in rows] == [[row[0], row[4] or ""] for row in ROWS]
    assert [row[3] for row in rows] == [words[row[3]] for row in ROWS]  # type: ignore[index]
    for at, kind in ((1, int), (2, float)):
        assert [kind(row[at]) if row[at] else None for row in rows] == [row[at] for row in ROWS]


@pytest.mark.parametrize("formulas", [True, False])
def test_what_a_spreadsheet_would_calculate_gets_an_apostrophe_if_asked(tmp_path: Path, formulas: bool) -> None:
    dangerous = ["=1+1", "+cmd|x", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", "-바다", "+1.5e3x", "-1\n", "-"]
    harmless = ["-1", "+1.5", "-.5e-3", "+82", "#=1", " =1", "'=1", "바다-=", ""]
    columns: list[tuple[str, Type]] = [("=name", "text"), ("-x", "number")]
    with table_writer(tmp_path / "t.csv", columns, formulas=formulas) as append:
        append([[*dangerous, *harmless, None], [-0.5] * (len(dangerous) + len(harmless)) + [None]])
    with (tmp_path / "t.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file, strict=True)
    sign = "" if formulas else "'"
    assert header == [f"{sign}=name", f"{sign}-x"]
    assert [row[0] for row in rows] == [*(sign + cell for cell in dangerous), *harmless, ""]
    assert [row[1] for row in rows] == ["-0.5"] * (len(rows) - 1) + [""]


def test_parquet(tmp_path: Path) -> None:
    write(tmp_path / "t.PARQUET")
    frame = pd.read_parquet(tmp_path / "t.PARQUET", dtype_backend="numpy_nullable")
    assert list(frame.columns) == [name for name, _ in COLUMNS]
    assert [str(kind) for kind in frame.dtypes] == ["string", "Int64", "Float64", "boolean", "string"]
    found = [[None if cell is pd.NA else cell for cell in row] for row in frame.itertuples(index=False)]
    assert found == ROWS


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_an_interrupted_table_leaves_the_earlier_one(tmp_path: Path, name: str) -> None:
    def interrupted() -> None:
        with table_writer(tmp_path / name, COLUMNS) as append:
            append(BATCHES[0])
            raise KeyboardInterrupt

    (tmp_path / name).write_text("earlier")
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "earlier")]


def test_no_row_at_all(tmp_path: Path) -> None:
    for name in ("t.csv", "t.parquet"):
        with table_writer(tmp_path / name, COLUMNS):
            pass
    assert pd.read_csv(tmp_path / "t.csv").shape == pd.read_parquet(tmp_path / "t.parquet").shape == (0, 5)


def test_a_csv_is_not_named_as_a_workbook(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"t.XLSX cannot be written, .* as CSV or Parquet: name a .csv file"):
        check_table_output(tmp_path / "t.XLSX")


def test_a_library_that_is_missing_is_named_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    check_table_output(tmp_path / "t.csv")
    with pytest.raises(InputError, match=r"needs the package pyarrow: pip install 'koclip-consistency\[parquet\]'"):
        check_table_output(tmp_path / "t.parquet")
