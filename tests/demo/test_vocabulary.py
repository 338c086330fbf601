"""The vocabulary of the drawn images is complete, and the rule gives the scores that its words promise."""

import random
from collections import Counter

import pytest

from demo.objects import DRAWN
from demo.scenes import LIGHTS, PLACES
from demo.vocabulary import (
    CONCEPTS,
    GENERIC,
    LINKS,
    OBJECTS,
    SCENES,
    SEASONS,
    SUFFIXES,
    Content,
    clean_score,
    sample_content,
    sample_hashtag,
)


@pytest.mark.parametrize(
    ("concept", "score"),
    [("cat", 5), ("book", 4), ("cafe", 4), ("night", 3), ("coffee", 3), ("sunset", 2), (None, 2), ("dumbbell", 1)],
)
def test_the_rule(concept: str | None, score: int) -> None:
    assert clean_score(Content("cafe", "night", ("cat", "book")), concept) == score


def test_the_rule_of_a_bare_scene() -> None:
    bare = Content("sea", "summer", ())
    assert [clean_score(bare, concept) for concept in ("sea", "summer", "sunset", "winter")] == [5, 5, 3, 1]


def test_the_vocabulary_hangs_together() -> None:
    assert (len(CONCEPTS), len(SUFFIXES), len(GENERIC), len(LINKS)) == (23, 10, 14, 26)
    assert all(link <= set(CONCEPTS) for link in LINKS)
    tags = [tag for tags in CONCEPTS.values() for tag in tags] + list(GENERIC)
    assert len(set(tags)) == len(tags) == 23 * 5 + 14
    assert (set(SCENES), set(SEASONS), set(OBJECTS)) == (set(PLACES), set(LIGHTS), set(DRAWN))


def test_contents_follow_the_seed_and_have_up_to_two_objects() -> None:
    contents = [sample_content(random.Random(seed)) for seed in range(300)]
    assert contents == [sample_content(random.Random(seed)) for seed in range(300)]
    assert len(set(contents)) > 200
    counts = Counter(len(content.objects) for content in contents)
    assert counts[1] > counts[0] > 40
    assert counts[2] > 60
    assert sum(counts.values()) == counts[0] + counts[1] + counts[2]
    assert all(len(set(content.concepts)) == 2 + len(content.objects) for content in contents)


@pytest.mark.parametrize("concept", ["sea", None])
def test_a_hashtag_is_a_word_of_its_concept(concept: str | None) -> None:
    words = GENERIC if concept is None else CONCEPTS[concept]
    suffixes = {""} if concept is None else {"", *SUFFIXES}
    rng = random.Random(1)
    drawn = [sample_hashtag(concept, rng) for _ in range(400)]
    assert {hashtag.removeprefix("#") for hashtag in drawn} <= {word + end for word in words for end in suffixes}
    assert set(words) <= {hashtag.removeprefix("#") for hashtag in drawn}
    assert 0.5 < sum(hashtag.startswith("#") for hashtag in drawn) / len(drawn) < 0.66
    assert not any(word.isascii() and word + end in drawn for word in words for end in SUFFIXES)
