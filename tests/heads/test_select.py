"""The one-standard-error rule, the epochs and the power are chosen as written."""

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score, f1_score

from heads.model import Decision, HeadConfig
from heads.select import (
    LEAST,
    POWERS,
    Entry,
    best_power,
    choose,
    leaderboard,
    ranking,
    stages,
    standard_error,
    survivors,
)


def entry(*folds, parameters=10, epochs=1, **settings):
    """An entry with these scores per fold after its last epoch, and worse ones before."""
    curve = np.array(folds, dtype=float)[:, None] - np.arange(epochs)[::-1]
    return Entry(HeadConfig(**settings), parameters, dict.fromkeys(("merit", "qwk", "macro_f1", "accuracy"), curve))


def test_the_answer_is_the_best_of_the_powers_on_rows_held_out():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, 400)
    probabilities = rng.dirichlet(np.ones(5), 400) + np.eye(5)[np.clip(labels + rng.integers(-1, 2, 400), 0, 4)]
    probabilities /= probabilities.sum(axis=1, keepdims=True)

    def score(power):
        predicted = Decision.of(probabilities, power=power).predicted
        kappa = cohen_kappa_score(labels, predicted, weights="quadratic")
        return kappa + f1_score(labels, predicted, average="macro")

    assert best_power(probabilities, labels) == max(POWERS, key=score)


def test_the_smallest_within_one_standard_error_of_the_leader_wins():
    leader = entry(0.8, 0.6, 0.7, parameters=100)
    level = entry(0.7, 0.65, 0.72, parameters=10)
    equal_size = entry(0.69, 0.65, 0.72, parameters=10)
    behind = entry(0.5, 0.31, 0.42, parameters=1)
    entries = [behind, equal_size, leader, level]
    differences = leader.folds() - level.folds()
    assert differences.mean() < standard_error(differences)
    assert (leader.folds() - behind.folds()).mean() > standard_error(leader.folds() - behind.folds())
    assert choose(entries) == 3
    assert choose([behind, leader]) == 1
    assert [row["rank"] for row in leaderboard(entries, [3], 3) if row["chosen"]] == [2]


def test_fewer_epochs_are_smaller_and_the_best_epoch_is_that_of_the_mean_curve():
    short, long = entry(0.7, 0.7, epochs=2), entry(0.7, 0.7, epochs=5)
    assert (short.epochs, long.epochs) == (2, 5)
    assert choose([long, short]) == 1


def test_the_standard_error_may_count_that_folds_overlap():
    differences = np.array([0.1, 0.3, -0.2, 0.2])
    naive = differences.std(ddof=1) / 2
    assert standard_error(differences) == pytest.approx(naive)
    assert standard_error(differences, overlap=1 / 4) == pytest.approx(naive * np.sqrt(1 + 4 / 4))
    assert standard_error(np.array([0.3])) == 0


def test_the_leading_share_and_every_linear_head_stay():
    entries = [entry(1 - place / 100, 1 - place / 100, lr=1 + place) for place in range(60)]
    linear = [entry(-place, -place, hidden=(), lr=1 + place) for place in range(1, 4)]
    for share, count in ((0.5, 50), (0.2, 20), (0.15, 15)):
        stay = survivors(entries + linear, 100, share)
        assert stay == [one.config for one in (*entries[:count], *linear)]
    assert len(survivors(entries, 100, 0.15, least=40)) == 40
    assert len(survivors(entries, 20, 0.15)) == LEAST
    assert survivors([], 20, 0.2) == []


@pytest.mark.parametrize(("folds", "repeats"), [(2, 3), (3, 1), (5, 3), (10, 4)])
def test_the_stages_of_a_race_cover_every_fold_once(folds, repeats):
    found = stages(folds, repeats)
    assert [fold for start, end, _ in found for fold in range(start, end)] == list(range(folds * repeats))
    shares = [share for _, _, share in found]
    assert shares[0] == 1
    assert shares == sorted(shares, reverse=True)
    assert {start for start, _, _ in found} == {0, *([2] if folds > 2 else []), *range(0, folds * repeats, folds)}


def test_the_default_race():
    assert stages(5, 3) == [(0, 2, 1.0), (2, 5, 0.4), (5, 10, 0.3), (10, 15, 0.18)]


def test_entries_with_more_folds_rank_first_and_are_compared_on_the_same_folds():
    whole, better, dropped = entry(0.4, 0.6, 0.8), entry(0.5, 0.6, 0.8), entry(0.9, 0.8)
    assert ranking([dropped, whole, better]) == [2, 1, 0]
    rows = leaderboard([dropped, whole, better], [2], 2)
    assert [row["folds"] for row in rows] == [3, 3, 2]
    assert rows[2]["behind_mean"] == pytest.approx(((0.5 - 0.9) + (0.6 - 0.8)) / 2)
    assert (rows[2]["fold_2"], rows[2]["fold_3"]) == (0.8, None)
