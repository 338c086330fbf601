"""Work reports its progress without knowing who shows it; by default nobody does."""

import pytest

from consistency.progress import Reporter, silent


def test_silence_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with silent("Encoding images", 3) as advance:
        advance()
        advance(2, skipped=1, busy="93 %")
    reporter = Reporter()
    reporter.say("a line")
    reporter.leaders([])
    with reporter.progress("Encoding images", None) as advance:
        advance(5)
    assert capfd.readouterr() == ("", "")


def test_errors_inside_reach_the_caller() -> None:
    with pytest.raises(ValueError, match="broken"), silent("x", 1):
        raise ValueError("broken")
