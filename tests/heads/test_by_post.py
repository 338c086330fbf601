"""Two heads in one: who answers, and that saving keeps every bit."""

import numpy as np
import pytest

from heads.by_post import ByPost
from heads.load import load_head
from heads.model import Head, HeadConfig, HeadEnsemble, TrainedHead
from heads.post_head import FEW
from tests.builders.head_data import make_posts


def trained(features: str, seed: int, **settings: object) -> TrainedHead:
    config = HeadConfig(features=features, hidden=(8,))
    return TrainedHead(config, Head(config, 12, seed=seed).eval(), 12, seed, **settings)


@pytest.fixture(scope="module")
def head() -> ByPost:
    members = (trained("full+post", 1, power=1.5), trained("full+post", 2))
    return ByPost(HeadEnsemble(members, 1.0), trained("full", 3, thresholds=(1.5, 2.5, 3.0, 3.5)))


@pytest.mark.parametrize(("size", "reads"), [(FEW, False), (FEW + 1, True)])
def test_posts_of_few_hashtags_are_answered_by_the_head_of_pairs(head: ByPost, size: int, reads: bool) -> None:
    pairs, *_ = make_posts(60, size=size, hashtags=100_000)  # no hashtag twice in a post
    said, expected = head.predict(pairs), (head.post if reads else head.pair).predict(pairs)
    assert (head.reads_post(pairs) == reads).all()
    for name in ("predicted", "values", "probabilities"):
        assert np.array_equal(getattr(said, name), getattr(expected, name))
    assert np.array_equal(head.predict_proba(pairs), expected.probabilities)


def test_saving_keeps_every_bit(head: ByPost, tmp_path) -> None:
    pairs, *_ = make_posts(60)
    head.save(tmp_path)
    after = load_head(tmp_path)
    assert isinstance(after, ByPost)
    assert after.config == head.config
    assert head.reads_post(pairs).mean() > 0
    for name in ("predicted", "values", "probabilities"):
        assert np.array_equal(getattr(after.predict(pairs), name), getattr(head.predict(pairs), name))
