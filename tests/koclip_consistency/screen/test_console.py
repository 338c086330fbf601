"""What a person sees, in terminals of any width: nothing is cut, columns stand below each other."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from koclip_consistency.screen.console import Screen
from koclip_consistency.screen.tables import Table

Shown = Callable[[int], Screen]
NAMES = ("accuracy", "macro_f1", "mae", "qwk")


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Shown:
    def of_width(columns: int) -> Screen:
        monkeypatch.setenv("COLUMNS", str(columns))
        return Screen()

    return of_width


def entries(*backbones: str, **more: Any) -> list[dict[str, Any]]:
    low, high = dict.fromkeys(NAMES, (-0.11, 0.29)), dict.fromkeys(NAMES, (0.73, 0.91))
    return [
        {
            "system": system,
            "backbone": backbone,
            "protocol": "paper",
            "split": "test",
            "n": 60,
            "metrics": dict.fromkeys(NAMES, 1.726),
            "ci95": interval,
            **more,
        }
        for system, interval in (("majority", low), ("similarity-search", high))
        for backbone in backbones
    ]


@pytest.mark.parametrize(
    ("columns", "backbones", "seconds", "intervals"),
    [
        (120, ("tiny",), True, True),
        (90, ("tiny",), True, True),
        (80, ("tiny",), True, True),
        (120, ("clip", "koclip"), True, True),
        (80, ("clip", "koclip"), False, True),
        (70, ("clip", "koclip"), True, False),
        (40, ("tiny",), True, False),  # too narrow for anything: over the edge, but whole
    ],
)
def test_results_are_never_cut(
    screen: Shown,
    capsys: pytest.CaptureFixture[str],
    columns: int,
    backbones: tuple[str, ...],
    seconds: bool,
    intervals: bool,
) -> None:
    screen(columns).results("Title", entries(*backbones, seconds=23.7))
    heading, header, *rows = capsys.readouterr().err.splitlines()
    assert ("no room for the 95 % intervals" in heading) == (not intervals)
    assert header.split() == [
        "system", *["backbone"] * (len(backbones) > 1), "accuracy", "macro-F1", "MAE", "QWK", *["seconds"] * seconds,
    ]  # fmt: skip
    assert rows.pop() == ""  # an empty line ends a table
    assert all(columns == 40 or len(row) <= columns for row in rows)
    if intervals and columns < 100:  # below their figures
        rows = [f"{above} {below.strip()}" for above, below in zip(rows[::2], rows[1::2], strict=True)]
    assert len(rows) == 2 * len(backbones)
    for row in rows:
        assert row.count("1.726") == 4
        assert len(re.findall(r"-0\.11–0\.29|(?<!\d)0\.73–0\.91", row)) == 4 * intervals
        assert (" 23.7" in row) == seconds


def test_a_table_too_wide_is_whole(screen: Shown, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [[f"{'long-name' * 8}-{n}", f"{n}{'7' * 40}"] for n in range(3)]
    screen(60).table(Table("Title", ("name", "figure"), rows))
    shown = capsys.readouterr().err
    assert all(name in shown and figure in shown for name, figure in rows)


def test_long_text_folds(screen: Shown, capsys: pytest.CaptureFixture[str]) -> None:
    words = "one two three four five six seven eight nine ten eleven twelve"
    screen(40).table(Table("Title", ("", "what", "n"), [["row 1", words, 7]], left=2))
    shown = capsys.readouterr().err
    assert all(len(line) <= 40 for line in shown.splitlines())
    assert words.split() == [word for line in shown.splitlines()[2:] for word in line.split() if word.isalpha()][1:]


def test_data_cannot_break_a_line_or_steer_the_terminal(screen: Shown, capsys: pytest.CaptureFixture[str]) -> None:
    shown = screen(80)
    shown.table(Table("Title", ("hashtag", "score"), [["a\nb\x1b[2J", 5], ["여행", 1]]))
    shown.note("a\rb")
    lines = capsys.readouterr().err.splitlines()
    assert [line.rstrip() for line in lines] == [
        "Title",
        "hashtag      score",
        r"a\nb\x1b[2J      5",
        "여행             1",
        "",
        r"a\rb",
    ]
