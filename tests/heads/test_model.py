"""Heads: features, weights, decisions, and what is stored."""

import numpy as np
import pytest
import torch
from torch import nn

from consistency.errors import InputError, StorageError
from heads.config import FEATURES, POST, feature_dim, parameter_count
from heads.load import load_head
from heads.losses import OUTPUTS
from heads.model import (
    Decision,
    Head,
    HeadConfig,
    HeadEnsemble,
    TrainedHead,
    pair_features,
    post_context,
)
from heads.post import CONTEXT
from tests.builders.head_data import make_pairs, make_posts


@pytest.fixture(scope="module")
def embeddings():
    return make_pairs()[0]


def trained(config=None, *, dim=12, **settings):
    config = config or HeadConfig.paper()
    return TrainedHead(config, Head(config, dim, seed=3).eval(), dim, 3, **settings)


def test_the_paper_head_is_the_published_classifier():
    head = Head(HeadConfig.paper(), 512)
    assert {name: tuple(value.shape) for name, value in head.state_dict().items()} == {
        "0.weight": (256, 1024),
        "0.bias": (256,),
        "3.weight": (5, 256),
        "3.bias": (5,),
    }
    assert head[2].p == 0.3
    plain = nn.Sequential(nn.Linear(1024, 256), nn.ReLU(), nn.Dropout(0.3), nn.Linear(256, 5)).eval()
    plain.load_state_dict(head.state_dict())
    x = torch.randn(4, 1024)
    torch.testing.assert_close(head.eval()(x), plain(x))


def test_weights_start_as_torchs_linear_layers_do_and_come_from_the_seed():
    mine, again, other = (Head(HeadConfig.paper(), 64, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(mine[0].weight, again[0].weight)
    assert not torch.equal(mine[0].weight, other[0].weight)
    default = nn.Linear(128, 256)
    with torch.no_grad():
        for figure in (torch.std, lambda weight: weight.abs().max()):
            assert float(figure(mine[0].weight)) == pytest.approx(float(figure(default.weight)), rel=0.02)


def test_features_are_what_their_names_say():
    images, hashtags, context = torch.tensor([[0.6, 0.8]]), torch.tensor([[1.0, 0.0]]), torch.tensor([[4.0, 3, 2, 1]])
    expected = {
        "concat": [0.6, 0.8, 1.0, 0.0],
        "full": [0.6, 0.8, 1.0, 0.0, 0.6, 0.0, 0.4, 0.8, 0.6],
        "product": [0.6, 0.0],
        "image": [0.6, 0.8],
        "text": [1.0, 0.0],
        "full+post": [0.6, 0.8, 1.0, 0.0, 0.6, 0.0, 0.4, 0.8, 0.6, 4.0, 3.0, 2.0, 1.0],
        "product+post": [0.6, 0.0, 4.0, 3.0, 2.0, 1.0],
    }
    assert set(expected) == set(FEATURES)
    for kind, values in expected.items():
        torch.testing.assert_close(pair_features(kind, images, hashtags, context), torch.tensor([values]))
        assert feature_dim(kind, 2) == len(values)


@pytest.mark.parametrize("loss", OUTPUTS)
def test_a_saved_head_answers_alike_to_the_bit(loss, embeddings, tmp_path):
    config = HeadConfig(loss=loss, hidden=(8, 6), patience=3)
    before = trained(config, power=1.5, thresholds=(1.5, 2.5, 3.25, 4.5), temperature=1.7, fingerprint="ab12")
    before.save(tmp_path)
    after = load_head(tmp_path)
    assert (after.config, after.seed, after.power, after.fingerprint) == (config, 3, 1.5, "ab12")
    for field in ("predicted", "values", "probabilities"):
        assert np.array_equal(getattr(after.predict(embeddings), field), getattr(before.predict(embeddings), field))
    assert sum(p.numel() for p in after.head.parameters()) == parameter_count(config, 12)


def test_answers_are_probabilities_and_expected_scores(embeddings):
    answer = trained().predict(embeddings)
    assert answer.probabilities.shape == (len(embeddings), 5)
    assert answer.probabilities.dtype == np.float64
    np.testing.assert_allclose(answer.probabilities.sum(axis=1), 1)
    np.testing.assert_allclose(answer.values, answer.probabilities @ [1, 2, 3, 4, 5])
    assert np.array_equal(answer.predicted, answer.probabilities.argmax(axis=1))
    assert np.array_equal(trained().predict_proba(embeddings), answer.probabilities)
    cut = trained(thresholds=(0.0, 0.0, 0.0, 9.0)).predict(embeddings)
    assert (cut.predicted == 3).all()


@pytest.mark.parametrize("features", FEATURES)
@pytest.mark.parametrize("hidden", [(), (8,), (8, 6)])
@pytest.mark.parametrize("loss", ["cross-entropy", "cumulative-link"])
def test_first_layers_split_by_table_equal_those_on_pair_features(features, hidden, loss, embeddings):
    head = Head(HeadConfig(features=features, hidden=hidden, loss=loss), 12).double().eval()
    images, hashtags = torch.from_numpy(embeddings.images).double(), torch.from_numpy(embeddings.hashtags).double()
    i, j = torch.from_numpy(embeddings.image_index), torch.from_numpy(embeddings.hashtag_index)
    context = torch.randn(len(i), len(POST), dtype=torch.float64)
    torch.testing.assert_close(
        head.of_pairs(images, hashtags)(i, j, context), head(pair_features(features, images[i], hashtags[j], context))
    )


def test_the_context_is_that_of_the_post_and_must_be_there(embeddings):
    pairs, *_ = make_posts(60)
    head = trained(HeadConfig(features="full+post", hidden=(8,)))
    named = np.column_stack(
        [pairs.context[:, CONTEXT.index(name)] for name in ("mean", "maximum", "centroid", "weighted")]
    )
    np.testing.assert_array_equal(post_context(pairs), named)
    written_out = pair_features(
        "full+post",
        torch.from_numpy(pairs.images[pairs.image_index]),
        torch.from_numpy(pairs.hashtags[pairs.hashtag_index]),
        torch.from_numpy(named).float(),
    )
    with torch.inference_mode():
        torch.testing.assert_close(head.outputs(pairs), head.head(written_out).double())
    with pytest.raises(InputError, match="reads the whole post: give it pairs with the context"):
        head.predict(embeddings)


def test_the_answer_for_a_pair_does_not_depend_on_the_others(embeddings):
    head = trained(HeadConfig(hidden=(16,)))
    alone = np.concatenate([head.predict_proba(embeddings.take(np.array([row]))) for row in range(20)])
    np.testing.assert_allclose(head.predict_proba(embeddings)[:20], alone, atol=1e-6)


def test_the_power_of_the_error_decides_between_mode_median_and_mean():
    probabilities = np.array([[0.4, 0.05, 0.03, 0.22, 0.3]])
    answers = [int(Decision.of(probabilities, power=power).predicted[0]) for power in (0, 1, 2)]
    assert answers == [0, 3, 2]
    assert Decision.of(probabilities, thresholds=(0.5, 1, 2, 2.5)).predicted.tolist() == [4]


def test_an_ensemble_answers_with_the_mean_and_survives_saving(embeddings, tmp_path):
    members = (trained(), trained(HeadConfig(hidden=(8,), loss="corn"), temperature=2.0))
    before = HeadEnsemble(members, 0.0)
    expected = (members[0].predict_proba(embeddings) + members[1].predict_proba(embeddings)) / 2
    np.testing.assert_allclose(before.predict_proba(embeddings), expected)
    assert np.array_equal(before.predict(embeddings).predicted, expected.argmax(axis=1))
    before = HeadEnsemble(members, 2.0)
    before.save(tmp_path)
    for field in ("predicted", "probabilities"):
        after = load_head(tmp_path).predict(embeddings)
        assert np.array_equal(getattr(after, field), getattr(before.predict(embeddings), field))
    (tmp_path / "head-2" / "head.safetensors").unlink()
    with pytest.raises((InputError, StorageError), match=r"head-2"):
        load_head(tmp_path)


def test_embeddings_of_another_size_are_refused():
    with pytest.raises(InputError, match="trained on embeddings of 12 numbers, got 8"):
        trained().predict(make_pairs(dim=8)[0])
