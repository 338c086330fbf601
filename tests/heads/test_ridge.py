"""Ridge heads are scikit-learn's."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from consistency.errors import InputError
from heads.model import HeadConfig, pair_features
from heads.train import Job, balanced_weights, stacks, train_heads
from tests.builders.head_data import make_pairs

RIDGE = HeadConfig(hidden=(), loss="regression", class_weights="balanced", optimizer="ridge", weight_decay=0.1)
STRENGTHS = (1e-4, 1e-2, 1.0, 30.0)


def plain_features(embeddings, kind):
    images, hashtags = torch.from_numpy(embeddings.images), torch.from_numpy(embeddings.hashtags)
    return pair_features(kind, images[embeddings.image_index], hashtags[embeddings.hashtag_index]).double().numpy()


@pytest.mark.parametrize("class_weights", ["balanced", "none"])
@pytest.mark.parametrize("n", [300, 30])  # more rows than features, and fewer
@pytest.mark.parametrize("standardise", [True, False])
def test_every_strength_is_scikit_learns_ridge(class_weights, n, standardise):
    embeddings, labels = make_pairs(n)
    base = replace(RIDGE, class_weights=class_weights, standardise=standardise)
    rows = np.arange(n)
    configs = [
        replace(base, loss=loss, weight_decay=strength)
        for loss in ("regression", "cross-entropy")
        for strength in STRENGTHS
    ]
    jobs = [Job(config, rows, 0) for config in configs]
    assert len(stacks(jobs, 12)) == 1  # one eigendecomposition serves them all
    outcomes = train_heads(jobs, embeddings, labels, dtype=torch.float64)
    x = plain_features(embeddings, "full")
    scale = x.std(axis=0) if standardise else 1.0
    weights = balanced_weights(labels)[labels] if class_weights == "balanced" else np.ones(n)
    for config, outcome in zip(configs, outcomes, strict=True):
        targets = np.eye(5)[labels] if config.loss == "cross-entropy" else labels[:, None].astype(float)
        ridge = Ridge(alpha=config.weight_decay, solver="svd")
        theirs = ridge.fit(x / scale, targets, sample_weight=weights / weights.sum())
        with torch.no_grad():
            mine = outcome.head(torch.from_numpy(x)).numpy()
        np.testing.assert_allclose(mine, theirs.predict(x / scale).reshape(mine.shape), atol=1e-6)


def test_validation_figures_and_a_single_epoch():
    embeddings, labels = make_pairs(300)
    train, held = np.arange(200), np.arange(200, 300)
    (outcome,) = train_heads([Job(RIDGE, train, 0, held)], embeddings, labels)
    (epoch,) = outcome.history
    assert outcome.best_epoch == 1
    with torch.no_grad():
        said = outcome.head(torch.from_numpy(plain_features(embeddings, "full")).float())[200:, 0].numpy()
    assert epoch["val_loss"] == pytest.approx(
        float(np.average((said - labels[held]) ** 2, weights=balanced_weights(labels[train])[labels[held]])), rel=1e-4
    )
    predicted = np.clip(np.round(said), 0, 4)
    assert epoch["accuracy"] == pytest.approx((predicted == labels[held]).mean())


def test_ridge_is_for_linear_heads_with_a_strength():
    with pytest.raises(InputError, match="for linear heads"):
        replace(RIDGE, hidden=(8,))
    with pytest.raises(InputError, match="for linear heads"):
        replace(RIDGE, loss="corn")
    with pytest.raises(InputError, match="needs a weight_decay above 0"):
        replace(RIDGE, weight_decay=0.0)
