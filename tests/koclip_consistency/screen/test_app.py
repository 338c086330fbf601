"""How a command ends: what is left out is told, and decides the exit code."""

from pathlib import Path

import pytest

from consistency.data.pairs import Skipped
from koclip_consistency.screen.app import SKIPPED_ROWS, close
from koclip_consistency.screen.console import Screen

SKIPPED = [Skipped(3, "a.png", "#a", "the image is empty"), Skipped(None, "b.png", "", "not found")]


@pytest.mark.parametrize("on_error", ["skip", "allow"])
def test_what_is_left_out_is_told(capsys: pytest.CaptureFixture[str], on_error: str) -> None:
    code = 0
    try:
        close(SKIPPED, on_error, Screen(), Path("skipped.csv"))
    except SystemExit as stop:
        code = int(stop.code or 0)
    assert code == (SKIPPED_ROWS if on_error == "skip" else 0)
    written = capsys.readouterr()
    assert written.err == "Left out 2: row 3 (a.png): the image is empty; all in skipped.csv\n"
    assert written.out == ""


def test_nothing_left_out_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    close([], "skip", Screen())
    assert capsys.readouterr() == ("", "")
