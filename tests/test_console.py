"""What a person sees is whole, however narrow the screen."""

import pytest

from workflows.console import Screen, Table


def test_a_narrow_screen_cuts_no_figure(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen()
    screen.console.width = 30
    screen.table(Table("Figures", ("system", "accuracy", "MAE"), [["바다-best", ".42 .37–.48", "1.10 .96–1.24"]]))
    lines = capsys.readouterr().err.splitlines()
    assert lines[2].split("  ") == ["바다-best", ".42 .37–.48", "1.10 .96–1.24"]


def test_long_text_folds(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen()
    screen.console.width = 40
    screen.table(Table("Rows", ("row", "why", "n"), [[1, "x" * 90, 0.5]], left=2))
    lines = capsys.readouterr().err.splitlines()
    assert sum(line.count("x") for line in lines) == 90
    assert max(map(len, lines)) <= 40
