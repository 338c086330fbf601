"""Posts like the published ones: sizes, order, spellings, and scores that follow the rule before they are moved."""

import random
from collections import Counter, defaultdict

import numpy as np
import pytest

from consistency.data.hashtags import hashtag_identity
from consistency.evaluation.post_texts import order_gamma
from demo.dataset import Row, sample_rows
from demo.like_published import IMAGES, sample_post
from demo.vocabulary import CONCEPTS, GENERIC, Content, clean_score, sample_content


@pytest.fixture(scope="module", params=[21, 22])
def rows(request: pytest.FixtureRequest) -> list[Row]:
    return sample_rows(request.param, images=IMAGES, like_published=True)


def test_the_table_has_the_shape_of_the_published_one(rows: list[Row]) -> None:
    sizes = Counter(row.image for row in rows)
    distinct = Counter(image for image, _ in {(row.image, hashtag_identity(row.hashtag)) for row in rows})
    assert len(sizes) == 172
    assert 1700 < len(rows) < 2400
    assert 7 <= np.median(list(sizes.values())) <= 11
    assert max(sizes.values()) > 40
    assert max(distinct.values()) <= 30
    assert min(distinct.values()) <= 3
    assert {sizes[image] // distinct[image] for image in sizes} == {1, 2}
    assert 0.05 < 1 - sum(distinct.values()) / len(rows) < 0.18
    shares = np.bincount([row.score for row in rows], minlength=6)[1:] / len(rows)
    np.testing.assert_allclose(shares, [0.04, 0.10, 0.16, 0.27, 0.43], atol=0.06)
    assert len({hashtag_identity(row.hashtag) for row in rows}) > 1000
    signs = defaultdict(set)
    for row in rows:
        signs[row.image].add(row.hashtag.startswith("#"))
    assert all(len(kinds) == 1 for kinds in signs.values())
    assert 0.45 < sum(kinds == {True} for kinds in signs.values()) / 172 < 0.7


def test_scores_fall_along_the_post_and_repeats_agree(rows: list[Row]) -> None:
    first = list({(row.image, hashtag_identity(row.hashtag)): row for row in reversed(rows)}.values())[::-1]
    scores, posts = np.array([row.score for row in first]), np.array([row.image for row in first], dtype=object)
    assert -0.35 < order_gamma(scores, posts, np.arange(len(first))) < -0.15
    heads = [next(row for row in first if row.image == image).score for image in dict.fromkeys(posts)]
    assert np.mean(heads) > 4.4
    assert np.mean(heads) > scores.mean() + 0.5
    given = defaultdict(set)
    for row in rows:
        given[row.image, hashtag_identity(row.hashtag)].add((row.score, row.clean))
    assert all(len(both) == 1 for both in given.values())


def test_clean_scores_follow_the_rule_and_posts_lean() -> None:
    concept_of = {tag: concept for concept, tags in CONCEPTS.items() for tag in tags} | dict.fromkeys(GENERIC)
    ambiguous = {tag for tag in GENERIC if any(tag in tags for tags in CONCEPTS.values())}
    checked, moves = 0, []
    for seed in range(60):
        rng = random.Random(seed)
        content = sample_content(rng)
        for hashtag, score, clean in sample_post(content, rng):
            word = hashtag.removeprefix("#")
            if word in concept_of and word not in ambiguous:
                assert clean == clean_score(content, concept_of[word])
                checked += 1
            moves.append(score - clean)
    assert checked > 150
    assert set(moves) == {-1, 0, 1}
    assert 0.2 < np.mean(np.abs(moves)) < 0.5


def test_longer_posts_have_more_hashtags_that_do_not_fit(rows: list[Row]) -> None:
    sizes = Counter(row.image for row in rows)
    long, short = ([row.clean for row in rows if (sizes[row.image] > 12) is kind] for kind in (True, False))
    assert np.mean(short) > np.mean(long) + 0.3


def test_the_same_seed_gives_the_same_post() -> None:
    content = Content("sea", "summer", ("coffee",))
    one, again, other = (sample_post(content, random.Random(seed)) for seed in (3, 3, 4))
    assert one == again != other
