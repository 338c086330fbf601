"""Heads in a stack train as if each was alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score
from sklearn.utils.class_weight import compute_class_weight
from torch import nn

from heads.config import FEATURES, HeadConfig
from heads.losses import OUTPUTS
from heads.losses import loss as loss_of
from heads.model import Head, pair_features
from heads.pairs import Pairs
from heads.train import Job, balanced_weights, stacks, train_head, train_heads, train_stacks
from tests.builders.head_data import make_pairs

ROWS, HELD = np.arange(240), np.arange(240, 300)


@pytest.fixture(scope="module")
def data():
    return make_pairs()


def mixed(count, *, seed, **fixed):
    """Configurations drawn at random from everything that may differ."""
    rng = np.random.default_rng(seed)

    def pick(*choices):
        return choices[rng.integers(len(choices))]

    return [
        HeadConfig(
            **{
                "features": pick(*FEATURES[:3]),
                "hidden": pick((), (8,), (8,), (6, 5)),
                "dropout": pick(0.0, 0.2, 0.5),
                "loss": pick(*OUTPUTS),
                "class_weights": pick("balanced", "none"),
                "standardise": pick(True, True, False),
                "optimizer": pick("adam", "adamw"),
                "lr": pick(1e-3, 3e-3, 1e-2),
                "weight_decay": pick(0.0, 1e-3, 0.1),
                "schedule": pick("constant", "step", "cosine"),
                "batch_size": pick(32, 64),
                "epochs": pick(4, 7),
                "patience": pick(None, 2),
                **fixed,
            }
        )
        for _ in range(count)
    ]


def greatest_difference(a, b):
    return max(float((a.state_dict()[name] - b.state_dict()[name]).abs().max()) for name in a.state_dict())


def jobs_of(configs, rows=ROWS, *, seed=5):
    return [Job(config, rows, seed, HELD) for config in configs]


def test_in_a_stack_as_alone_in_float64(data):
    jobs = jobs_of(mixed(60, seed=1)) + jobs_of(mixed(20, seed=2), ROWS[::2]) + jobs_of(mixed(20, seed=3), seed=6)
    together = train_heads(jobs, *data, dtype=torch.float64)
    assert max(map(len, stacks(jobs, 12))) >= 6
    for number in np.random.default_rng(0).choice(len(jobs), 10, replace=False):
        (alone,) = train_heads([jobs[number]], *data, dtype=torch.float64)
        assert greatest_difference(together[number].head, alone.head) < 1e-8
        assert together[number].best_epoch == alone.best_epoch
        for mine, other in zip(together[number].history, alone.history, strict=True):
            assert mine == pytest.approx(other, abs=1e-8)


def test_in_a_stack_as_alone_in_float32(data):
    fixed = {"features": "full", "hidden": (16,), "standardise": True, "batch_size": 48, "epochs": 10, "patience": None}
    jobs = jobs_of(mixed(40, seed=4, **fixed))  # 5 batches x 10 epochs = 50 steps
    together = train_heads(jobs, *data)
    for number in np.random.default_rng(1).choice(len(jobs), 10, replace=False):
        (alone,) = train_heads([jobs[number]], *data)
        assert greatest_difference(together[number].head, alone.head) < 1e-5
        for name in ("accuracy", "macro_f1", "qwk"):
            assert together[number].history[-1][name] == alone.history[-1][name]


def test_parts_of_other_rows_and_seeds_in_one_stack_as_alone(data):
    """Stacks as a GPU gets them, with parts whose last batches differ in length, trained here on the CPU."""
    embeddings, labels = data
    configs = mixed(30, seed=8, features="full", hidden=(6, 5), standardise=True, batch_size=64)
    configs += [replace(config, hidden=()) for config in configs[:6]]
    division = np.arange(len(labels)) % 4
    # 225, 224, 217 and 198 rows: all make four batches, whose last is filled up
    parts = [(np.flatnonzero(division != fold)[: 225 - fold**3], np.flatnonzero(division == fold)) for fold in range(4)]
    jobs = [Job(config, rows, seed, held) for seed, (rows, held) in enumerate(parts) for config in configs]
    few = ROWS[:64]  # one batch: cannot go with them
    jobs += [Job(config, few, 9, HELD) for config in configs]
    together = stacks(jobs, 12, device="cuda")
    assert len(together) == 4
    assert sorted(number for numbers in together for number in numbers) == list(range(len(jobs)))
    pairs = Pairs.of(embeddings, labels, dtype=torch.float64, device="cpu")
    for keep_best in (False, True):
        outcomes = {}
        for numbers, trained in train_stacks(together, jobs, pairs, keep_best=keep_best):
            outcomes.update(zip(numbers, trained, strict=True))
        for number in np.random.default_rng(0).choice(len(jobs), 12, replace=False):
            (alone,) = train_heads([jobs[number]], *data, dtype=torch.float64, keep_best=keep_best)
            assert greatest_difference(outcomes[number].head, alone.head) < 1e-8
            for mine, other in zip(outcomes[number].history, alone.history, strict=True):
                assert mine == pytest.approx(other, abs=1e-8)


class FixedDropout(nn.Module):
    """nn.Dropout with the draws a head of this seed and width gets."""

    def __init__(self, p, seed, layer):
        super().__init__()
        self.p, self.rng = p, np.random.default_rng([seed, 2, layer])

    def forward(self, x):
        if not self.training:
            return x
        level = round(self.p * 65536)
        kept = self.rng.integers(0, 65536, tuple(x.shape), dtype=np.uint16) >= level
        return x * torch.from_numpy(kept).to(x) * (65536 / (65536 - level))


def test_the_published_recipe_equals_a_plain_loop(data):
    embeddings, labels = data
    all_labels = np.concatenate([labels, [0, 0, 1, 4]])  # the class weights count more rows than are trained on
    paper = replace(HeadConfig.paper(), lr=2e-3)  # at 5e-5 hardly anything moves, and nothing would be shown
    for config, epochs in ((HeadConfig.paper(), 2), (paper, 10)):
        config = replace(config, epochs=epochs)
        (mine,) = train_heads([Job(config, ROWS, 7)], embeddings, labels, class_weights_from=all_labels)
        images, hashtags = torch.from_numpy(embeddings.images), torch.from_numpy(embeddings.hashtags)
        x = torch.cat([images[embeddings.image_index], hashtags[embeddings.hashtag_index]], dim=1)
        y = torch.from_numpy(labels)
        (start,) = train_heads([Job(replace(config, lr=1e-30, weight_decay=0), ROWS, 7)], embeddings, labels)
        model = nn.Sequential(nn.Linear(24, 256), nn.ReLU(), FixedDropout(0.3, 7, 0), nn.Linear(256, 5))
        model.load_state_dict(start.head.state_dict())
        weights = compute_class_weight("balanced", classes=np.arange(5), y=all_labels)
        criterion = nn.CrossEntropyLoss(weight=torch.tensor(weights, dtype=torch.float32))
        optimizer = torch.optim.Adam(model.parameters(), lr=config.lr, weight_decay=1e-4)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=5, gamma=0.1)
        order = np.random.default_rng([7, 1])
        for _ in range(epochs):
            for batch in torch.from_numpy(ROWS[order.permutation(len(ROWS))]).split(32):
                optimizer.zero_grad()
                criterion(model(x[batch]), y[batch]).backward()
                optimizer.step()
            scheduler.step()
        assert greatest_difference(mine.head, model) < 1e-5
        moved = greatest_difference(mine.head, start.head)
        assert moved > 1e-4


@pytest.mark.parametrize("loss", OUTPUTS)
@pytest.mark.parametrize("hidden", [(), (8,), (6, 5)])
def test_every_loss_and_depth_equals_a_plain_loop_with_autograd(loss, hidden, data):
    embeddings, labels = data
    config = HeadConfig(hidden=hidden, loss=loss, dropout=0.3, standardise=False, lr=1e-2, batch_size=64, epochs=2)
    config = replace(config, schedule="constant")
    (mine,) = train_heads([Job(config, ROWS, 7)], embeddings, labels, dtype=torch.float64)
    images, hashtags = torch.from_numpy(embeddings.images).double(), torch.from_numpy(embeddings.hashtags).double()
    x = pair_features("full", images[embeddings.image_index], hashtags[embeddings.hashtag_index])
    y = torch.from_numpy(labels)
    model = Head(config, 12, seed=7).double()
    for layer in range(len(hidden)):
        model[3 * layer + 2] = FixedDropout(0.3, 7, layer)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=config.weight_decay)
    order = np.random.default_rng([7, 1])
    for _ in range(2):
        for batch in torch.from_numpy(ROWS[order.permutation(len(ROWS))]).split(64):
            optimizer.zero_grad()
            loss_of(loss, model(x[batch]), y[batch], torch.ones(5, dtype=torch.float64)).backward()
            optimizer.step()
    assert greatest_difference(mine.head, model) < 1e-8
    assert greatest_difference(mine.head, Head(config, 12, seed=7)) > 1e-3


@pytest.mark.parametrize("loss", OUTPUTS)
@pytest.mark.parametrize("hidden", [(), (8,)])
def test_every_loss_learns_and_comes_out_as_a_head_on_plain_features(loss, hidden, data):
    embeddings, labels = data
    config = HeadConfig(loss=loss, hidden=hidden, dropout=0, epochs=60, lr=1e-2, batch_size=64)
    same = embeddings.take(ROWS), labels[ROWS]
    trained, history = train_head(config, *same, seed=1, validation=same)
    predicted = trained.predict(same[0]).predicted
    assert history[-1]["accuracy"] == pytest.approx(accuracy_score(same[1], predicted))
    assert history[-1]["qwk"] > 0.5
    assert history[-1]["train_loss"] < 0.8 * history[0]["train_loss"]


def test_class_weights_are_scikit_learns():
    labels = np.array([0, 0, 1, 4, 4, 4, 3])
    expected = compute_class_weight("balanced", classes=np.unique(labels), y=labels)
    assert balanced_weights(labels)[np.unique(labels)] == pytest.approx(expected)
    assert balanced_weights(labels)[2] == 0


def test_a_score_without_training_rows_is_no_error(data):
    embeddings, labels = data
    rows = ROWS[labels[ROWS] != 1]
    outcomes = train_heads(
        [Job(HeadConfig(loss=loss, epochs=3), rows, 1, HELD) for loss in OUTPUTS], embeddings, labels
    )
    assert not any(outcome.diverged for outcome in outcomes)
