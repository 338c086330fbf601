"""The answers to posts from disk are those from memory."""

from pathlib import Path

import numpy as np
import pytest

from consistency.data.spool import Spool
from koclip_consistency.scoring import posts, spooled_posts
from koclip_consistency.scoring.loading import load_scorer
from koclip_consistency.scoring.posts import PostAnswers
from koclip_consistency.scoring.spooled_posts import SpooledPostAnswers, whole_posts
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


def test_posts_are_cut_at_their_ends() -> None:
    """For every size of batches and parts, a batch ends at the first end of a post from `size` rows on."""
    rng = np.random.default_rng(0)
    first = np.repeat(np.arange(20), rng.integers(1, 6, 20))
    rows = {"first": first, "image": [f"{post}.png" for post in first]}
    ends = [*(np.flatnonzero(np.diff(first)) + 1).tolist(), len(first)]
    for size in (1, 4, 7, 1000):
        expected, start = [], 0
        while start < len(first):
            stop = next((end for end in ends if end >= start + size), len(first))
            expected.append(first[start:stop].tolist())
            start = stop
        for part in (1, 3, 8, 500):
            parts = [
                {name: column[at : at + part] for name, column in rows.items()} for at in range(0, len(first), part)
            ]
            found = list(whole_posts(parts, size))
            assert [batch["first"].tolist() for batch in found] == expected
            assert [batch["image"] for batch in found] == [[f"{p}.png" for p in post] for post in expected]
    assert list(whole_posts([], 5)) == []
