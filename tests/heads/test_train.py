"""Training stops, keeps its best epoch, and comes out the same for the same seed."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, cohen_kappa_score, f1_score
from torch import nn

from consistency.errors import DivergenceError, InputError
from heads.config import HeadConfig
from heads.train import Job, rate, train_head, train_heads
from tests.builders.head_data import make_pairs

ROWS, HELD = np.arange(240), np.arange(240, 300)


@pytest.fixture(scope="module")
def data():
    return make_pairs()


def greatest_difference(a, b):
    return max(float((a.state_dict()[name] - b.state_dict()[name]).abs().max()) for name in a.state_dict())


def test_validation_figures_are_those_of_the_head_that_comes_out(data):
    embeddings, labels = data
    config = HeadConfig(hidden=(8,), epochs=3, batch_size=64)
    trained, history = train_head(
        config, embeddings.take(ROWS), labels[ROWS], seed=1, validation=(embeddings.take(HELD), labels[HELD])
    )
    predicted = trained.predict(embeddings.take(HELD)).predicted
    assert [epoch["epoch"] for epoch in history] == [1, 2, 3]
    assert history[-1]["accuracy"] == pytest.approx(accuracy_score(labels[HELD], predicted))
    assert history[-1]["macro_f1"] == pytest.approx(f1_score(labels[HELD], predicted, average="macro"))
    kappa = cohen_kappa_score(labels[HELD], predicted, weights="quadratic")
    assert history[-1]["qwk"] == pytest.approx(kappa)
    assert history[-1]["train_loss"] < history[0]["train_loss"]


def test_patience_ends_training_and_keeps_the_best_epoch(data):
    embeddings, labels = data
    config = HeadConfig(hidden=(32,), epochs=60, lr=1e-2, dropout=0, schedule="constant", patience=4)
    validation = embeddings.take(HELD), labels[HELD]
    trained, history = train_head(config, embeddings.take(ROWS), labels[ROWS], seed=1, validation=validation)
    scores = [epoch["merit"] for epoch in history]
    best = int(np.argmax(scores))
    assert len(history) == best + 1 + 4 < 60
    predicted = trained.predict(validation[0]).predicted
    assert scores[best] == pytest.approx(
        (
            cohen_kappa_score(labels[HELD], predicted, weights="quadratic")
            + f1_score(labels[HELD], predicted, average="macro")
        )
        / 2
    )


def test_stop_ends_the_same_schedule_earlier(data):
    embeddings, labels = data
    config = HeadConfig(hidden=(8,), epochs=6)
    (full,) = train_heads([Job(config, ROWS, 1)], embeddings, labels)
    (stopped,) = train_heads([Job(config, ROWS, 1, stop=4)], embeddings, labels)
    assert stopped.history == full.history[:4]


def test_rates_follow_torchs_schedulers():
    for schedule, torchs in (
        ("step", lambda o: torch.optim.lr_scheduler.StepLR(o, 5, 0.1)),
        ("cosine", lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 12)),
    ):
        config = HeadConfig(schedule=schedule, epochs=12)
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=config.lr)
        scheduler = torchs(optimizer)
        for epoch in range(12):
            assert rate(config, epoch) == pytest.approx(scheduler.get_last_lr()[0])
            optimizer.step()
            scheduler.step()


def test_divergence_is_an_error_of_one_head_and_does_not_affect_others(data):
    embeddings, labels = data
    wild = HeadConfig(hidden=(8,), loss="regression", lr=1e30, epochs=4, class_weights="none")
    calm = replace(wild, lr=1e-3)
    with pytest.raises(DivergenceError, match="is not finite in epoch"):
        train_head(wild, embeddings, labels, seed=0)
    beside, _ = train_heads([Job(config, ROWS, 0, HELD) for config in (calm, wild)], embeddings, labels)
    (alone,) = train_heads([Job(calm, ROWS, 0, HELD)], embeddings, labels)
    assert not beside.diverged
    assert greatest_difference(beside.head, alone.head) < 1e-6


def test_the_same_seed_gives_the_same_head_to_the_bit(data):
    first, second, other = (train_head(HeadConfig(epochs=2), *data, seed=seed)[0] for seed in (1, 1, 2))
    assert greatest_difference(first.head, second.head) == 0
    assert greatest_difference(first.head, other.head) > 0


def test_validation_over_other_tables_is_refused(data):
    with pytest.raises(ValueError, match="share their two tables"):
        train_head(HeadConfig(), *data, seed=0, validation=make_pairs(seed=1))


@pytest.mark.parametrize("loss", ["cross-entropy", "corn"])
def test_soft_labels_that_are_certain_train_the_same_head(data, loss):
    pairs, labels = data
    config = HeadConfig(hidden=(8,), epochs=3, loss=loss)
    hard, _ = train_head(config, pairs, labels, seed=1)
    soft, _ = train_head(config, pairs, labels, shares=np.eye(5)[labels], seed=1)
    assert greatest_difference(hard.head, soft.head) < 1e-5
    unsure, _ = train_head(config, pairs, labels, shares=0.6 * np.eye(5)[labels] + 0.08, seed=1)
    confidence = [head.predict(pairs).probabilities.max(axis=1).mean() for head in (unsure, hard)]
    assert confidence[0] < confidence[1]


def test_ridge_takes_one_label_for_each_pair(data):
    pairs, labels = data
    config = HeadConfig(hidden=(), optimizer="ridge", loss="regression")
    with pytest.raises(InputError, match="ridge heads take one label for each pair"):
        train_head(config, pairs, labels, shares=np.eye(5)[labels], seed=1)
