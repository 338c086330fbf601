"""The context of a post against a plain loop, and the laws that keep labels and repeats out of it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consistency.backbone.embeddings import PairEmbeddings
from heads import post
from heads.post import CONTEXT, others, with_context
from tests.builders.head_data import make_pairs


def cosine(a, b):
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def plain(pairs, posts, hashtags):
    """The same by the definition, one row after another."""
    own, rows = np.clip(pairs.cosine(), 1e-6, None), []
    vectors = pairs.hashtag_vectors().astype(np.float64)
    for row in range(len(pairs)):
        seen, rest = {hashtags[row]}, []
        for other in range(len(pairs)):
            if posts[other] == posts[row] and hashtags[other] not in seen:
                seen.add(hashtags[other])
                rest.append(other)
        if not rest:
            rows.append([0.0] * len(CONTEXT))
            continue
        place = list(dict.fromkeys(hashtags[posts == posts[row]])).index(hashtags[row])
        first = next(r for r in range(len(pairs)) if (posts[r], hashtags[r]) == (posts[row], hashtags[row]))
        mine, theirs = vectors[first], vectors[rest]
        each = theirs @ mine
        weighted = (own[rest][:, None] * theirs).sum(axis=0)
        of_sums = [cosine(mine, theirs.sum(axis=0)), cosine(mine, weighted)]
        rows.append([len(rest), each.mean(), each.max(), *of_sums, np.log(1 + place)])
    return np.array(rows)


@pytest.mark.parametrize("block", [512, 2])
@given(st.integers(0, 1000))
def test_the_context_is_what_its_columns_say(block, seed):
    rng = np.random.default_rng(seed)
    pairs = make_pairs(40, images=6, hashtags=9, seed=seed)[0]
    posts, hashtags = pairs.image_index.astype(object), pairs.hashtag_index.astype(object)
    if rng.random() < 0.5:
        posts = rng.integers(0, 15, 40).astype(object)  # some with one row, some with several images
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(post, "BLOCK", block)
        found = with_context(pairs, posts, hashtags)
    np.testing.assert_allclose(found.context, plain(pairs, posts, hashtags), atol=1e-6)
    assert others(found).tolist() == found.context[:, 0].tolist()


def test_repeats_and_other_spellings_change_no_context():
    pairs, _ = make_pairs(30, images=4, hashtags=10)
    posts, hashtags = pairs.image_index.astype(object), pairs.hashtag_index.astype(object)
    once = with_context(pairs, posts, hashtags)
    again = np.concatenate([np.arange(30), np.arange(30)])
    spelled = replace(pairs.take(again), hashtags=np.concatenate([pairs.hashtags, pairs.hashtags[::-1]]))
    spelled.hashtag_index[30:] += 10  # each repeat is spelled so that its vector is another
    twice = with_context(spelled, posts[again], hashtags[again])
    assert np.array_equal(twice.context[:30], once.context)
    assert np.array_equal(twice.context[30:], once.context)


def test_the_order_of_rows_matters_to_the_position_alone():
    pairs, _ = make_pairs(60, images=5, hashtags=30)
    posts, hashtags = pairs.image_index.astype(object), pairs.hashtag_index.astype(object)
    order = np.random.default_rng(3).permutation(60)
    moved = with_context(pairs.take(order), posts[order], hashtags[order])
    kept = with_context(pairs, posts, hashtags).context[order]
    np.testing.assert_allclose(moved.context[:, :-1], kept[:, :-1], atol=1e-12)
    assert not np.allclose(moved.context[:, -1], kept[:, -1])


def test_context_follows_its_rows():
    pairs, _ = make_pairs(20, images=3)
    read = with_context(pairs, pairs.image_index.astype(object), pairs.hashtag_index.astype(object))
    assert np.array_equal(read.take(np.array([4, 2])).context, read.context[[4, 2]])
    assert others(pairs).tolist() == [0] * 20
    with pytest.raises(ValueError, match="context has 3 rows for 20 pairs"):
        PairEmbeddings(pairs.images, pairs.hashtags, pairs.image_index, pairs.hashtag_index, read.context[:3])
