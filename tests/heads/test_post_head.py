"""The head for whole posts: who answers, and that no label of a post changes what it reads."""

from dataclasses import replace

import numpy as np
import pytest

from consistency.errors import InputError, StorageError
from heads.load import load_head
from heads.post import others
from heads.post_head import FEW, PostConfig, TrainedPostHead
from tests.builders.head_data import make_posts


@pytest.fixture(scope="module")
def data():
    return make_posts()


@pytest.fixture(scope="module")
def head(data):
    return TrainedPostHead.fit(data[0].take(np.arange(200)), data[1][:200], seed=3, fingerprint="ab")


def test_posts_of_few_hashtags_are_answered_without_their_context(head, data):
    pairs = data[0].take(np.arange(200, 300))
    small, *_ = make_posts(60, size=FEW)
    whole, alone = head.predict_proba(pairs), head.predict_proba(small)
    assert (others(pairs) >= FEW).any()
    assert np.array_equal(head.reads_post(pairs), others(pairs) >= FEW)
    assert np.array_equal(whole[head.reads_post(pairs)], head.post.predict_proba(pairs.take(head.reads_post(pairs))))
    assert not head.reads_post(small).any()
    assert head.reads_post(make_posts(60, size=FEW + 1, hashtags=100_000)[0]).all()  # no hashtag twice in a post
    assert np.array_equal(alone, head.pair.predict_proba(small))
    assert np.array_equal(head.predict_proba(replace(small, context=None)), alone)
    assert np.array_equal(head.predict(pairs).predicted, whole.argmax(axis=1))


def test_the_context_counts_and_the_image_too(data):
    """A label that only the context tells, and one that only the image tells."""
    pairs, _, posts, _ = data
    train, test = np.arange(200), np.arange(200, 300)
    of_context = np.digitize(pairs.context[:, 1], np.quantile(pairs.context[:, 1], [0.2, 0.4, 0.6, 0.8]))
    of_image = np.digitize(pairs.cosine(), np.quantile(pairs.cosine(), [0.2, 0.4, 0.6, 0.8]))
    for labels, sees_image, least, most in (
        (of_context, True, 0.6, 1),
        (of_context, False, 0.6, 1),
        (of_image, True, 0.6, 1),
        (of_image, False, 0, 0.5),
    ):
        head = TrainedPostHead.fit(pairs.take(train), labels[train], seed=0, config=PostConfig(sees_image))
        right = (head.predict(pairs.take(test)).predicted == labels[test]).mean()
        assert least <= right <= most, (sees_image, right)


def test_saving_keeps_every_bit(head, data, tmp_path):
    head.save(tmp_path)
    after = load_head(tmp_path)
    assert isinstance(after, TrainedPostHead)
    assert np.array_equal(after.predict_proba(data[0]), head.predict_proba(data[0]))
    assert (after.config, after.seed, after.fingerprint) == (head.config, 3, "ab")
    assert after.config.as_dict()["few"] == FEW
    weights = tmp_path / "post.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(StorageError, match="damaged"):
        load_head(tmp_path)


def test_the_same_seed_gives_the_same_head(head, data, tmp_path):
    again = TrainedPostHead.fit(data[0].take(np.arange(200)), data[1][:200], seed=3, fingerprint="ab")
    for folder, each in (("a", head), ("b", again)):
        (tmp_path / folder).mkdir()
        each.save(tmp_path / folder)
    for name in ("post.safetensors", "head.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_vectors_of_another_width_are_refused(head):
    with pytest.raises(InputError, match="trained on embeddings of 12 numbers, got 8"):
        head.predict(make_posts(60, dim=8)[0])
