"""The answers to posts from disk are those from memory."""

from pathlib import Path

import pytest

from consistency.data.spool import Spool
from koclip_consistency.scoring import posts, spooled_posts
from koclip_consistency.scoring.loading import load_scorer
from koclip_consistency.scoring.posts import PostAnswers
from koclip_consistency.scoring.spooled_posts import SpooledPostAnswers
from tests.builders.torn_posts import in_parts, torn_posts


@pytest.mark.parametrize(("size", "at_once"), [(7, 16_384), (1, 5), (7, 1)])
def test_answers_equal_those_from_memory(
    small_demo: Path, tmp_path: Path, size: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (posts, spooled_posts):
        monkeypatch.setattr(module, "BATCH", at_once)
    source = torn_posts(small_demo, tmp_path)
    scorer = load_scorer(None, backbone="tiny", cache=tmp_path / "cache")
    known = PostAnswers(scorer, in_parts(source, size), source)
    with Spool() as spool:
        answers = SpooledPostAnswers(scorer, in_parts(source, size), source, spool)
        assert answers.n == known.n
        for start in range(0, known.n, 9):
            stop = min(start + 9, known.n)
            assert answers.rows(start, stop) == known.rows(start, stop)
