"""The options about annotators: which queue they name, and what excludes what."""

from pathlib import Path

import pytest

from consistency.options import AnnotateStatusOptions, AppOptions, DataRelabelOptions, QueueChoice, places
from tests.builders.commands import Run


def test_answers_and_queue_of_commands() -> None:
    assert AppOptions().answering.answers == AnnotateStatusOptions().answering.answers == Path("answers")
    assert QueueChoice() == QueueChoice(rows=None, audit=None, limit=None, seed=42)
    assert "score_map" not in {place.name for place in places(DataRelabelOptions)}  # labels are written as scores


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["annotate", "status", "--rows", "a.csv", "--audit", "run"], "exclude each other"),
        (["annotate", "page", "--limit", "0", "-o", "a.html"], "--limit"),
        (["data", "relabel", "--rule", "mode", "-o", "new.csv"], "'mode' is not one of"),
    ],
)
def test_wrong_usage_is_one_line(run: Run, words: list[str], said: str) -> None:
    ran = run(*words)
    assert (ran.code, ran.stderr.count("\n")) == (2, 1)
    assert said in ran.stderr
