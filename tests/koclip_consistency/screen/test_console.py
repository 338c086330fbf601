"""What a person sees, in terminals of any width: nothing is cut, columns stand below each other."""

import contextlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from consistency.errors import InputError
from consistency.options import Display
from koclip_consistency.screen.console import Screen
from koclip_consistency.screen.tables import Table

Shown = Callable[[int], Screen]
NAMES = ("accuracy", "macro_f1", "mae", "qwk")


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Shown:
    def of_width(columns: int) -> Screen:
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("TTY_COMPATIBLE", "1")  # rich takes the captured output for a terminal
        return Screen()

    return of_width


def told(capsys: pytest.CaptureFixture[str]) -> str:
    """What was written to stdout, then stderr, without styles."""
    written = capsys.readouterr()
    return re.sub(r"\x1b\[[0-9;]*m", "", written.out + written.err)


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
    heading, header, *rows = told(capsys).splitlines()
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
    shown = told(capsys)
    assert all(name in shown and figure in shown for name, figure in rows)


def test_long_text_folds(screen: Shown, capsys: pytest.CaptureFixture[str]) -> None:
    words = "one two three four five six seven eight nine ten eleven twelve"
    screen(40).table(Table("Title", ("", "what", "n"), [["row 1", words, 7]], left=2))
    shown = told(capsys)
    assert all(len(line) <= 40 for line in shown.splitlines())
    assert words.split() == [word for line in shown.splitlines()[2:] for word in line.split() if word.isalpha()][1:]


def test_data_cannot_break_a_line_or_steer_the_terminal(screen: Shown, capsys: pytest.CaptureFixture[str]) -> None:
    shown = screen(80)
    shown.table(Table("Title", ("hashtag", "score"), [["a\nb\x1b[2J", 5], ["여행", 1]]))
    shown.note("a\rb")
    lines = told(capsys).splitlines()
    assert [line.rstrip() for line in lines] == [
        "Title",
        "hashtag      score",
        r"a\nb\x1b[2J      5",
        "여행             1",
        "",
        r"a\rb",
    ]


def test_a_piped_table_has_tabs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    screen = Screen()
    screen.table(Table("A title", ("hashtag", "score"), [["a long hashtag " * 5, 5], ["여행\t", 1]]))
    screen.note("a note")
    written = capsys.readouterr()
    assert written.out == f"A title\nhashtag\tscore\n{'a long hashtag ' * 5}\t5\n여행\\t\t1\n\n"
    assert written.err == "a note\n"


@pytest.mark.parametrize("display", [Display(quiet=True), Display(as_json=True)])
def test_json_and_quiet_leave_the_table_out(capsys: pytest.CaptureFixture[str], display: Display) -> None:
    screen = Screen(display)
    screen.table(Table("A title", ("n",), [[1]]))
    screen.json({"여행": 1})
    written = capsys.readouterr()
    assert written.out == ('{\n  "여행": 1\n}\n' if display.as_json else "")


def test_the_log_has_what_was_shown_and_what_was_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def work(screen: Screen) -> None:
        with screen:
            screen.note("a note")
            screen.detail("a detail")
            screen.table(Table("A title", ("n",), [[1]]))
            raise InputError("no such thing")

    with pytest.raises(InputError):
        work(Screen(Display(log_file=tmp_path / "log.txt", quiet=True)))
    assert capsys.readouterr() == ("", "")
    log = (tmp_path / "log.txt").read_text()
    for line in ("a note", "a detail", "A title\nn\n1", "InputError: no such thing"):
        assert line in log
    assert all(line[:4].isdigit() for line in log.splitlines() if "note" in line or "detail" in line)


@pytest.mark.parametrize("variable", ["NO_COLOR", "TERM"])
def test_no_color_leaves_no_escapes(screen: Shown, capsys: pytest.CaptureFixture[str], variable: str,
                                    monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    screen(80)
    monkeypatch.setenv(variable, {"NO_COLOR": "1", "TERM": "dumb"}[variable])
    shown = Screen(Display(verbose=True))
    shown.table(Table("A title", ("n",), [[1]]))
    shown.detail("a detail")
    with shown.progress("Working", 3) as advance:
        advance(1)
    written = capsys.readouterr()
    assert "\x1b" not in written.out + written.err
    assert "a detail" in written.err


def test_a_terminal_without_colours_has_aligned_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    ours, theirs = os.openpty()
    with open(theirs, "w", encoding="utf-8") as terminal:
        monkeypatch.setattr("sys.stdout", terminal)
        Screen().table(Table("A title", ("hashtag", "score"), [["여행", 1], ["a longer one", 5]]))
    shown = b""
    with contextlib.suppress(OSError):  # Linux's answer once everything is read and the other end is closed
        while part := os.read(ours, 4096):  # one read may return a part only
            shown += part
    os.close(ours)
    assert (
        shown.decode().replace("\r\n", "\n")
        == "A title\nhashtag       score\n여행              1\na longer one      5\n\n"
    )
