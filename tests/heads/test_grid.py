"""The grid: choice by folds, refit, calibration, resuming and grid files."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import t
from sklearn.metrics import cohen_kappa_score, f1_score, log_loss

from consistency.data.folds import make_divisions
from consistency.errors import DivergenceError, InputError
from heads import train as train_module
from heads.by_post import ByPost
from heads.grid import default_grid, read_grid, run_grid
from heads.model import HeadConfig
from heads.post_head import PostConfig, TrainedPostHead
from heads.select import best_power
from heads.train import Job, train_heads
from tests.builders.head_data import make_pairs, make_posts

SMALL = [
    HeadConfig(features=features, hidden=hidden, loss=loss, lr=1e-2, epochs=6, batch_size=64, patience=3)
    for features in ("full", "product")
    for hidden in ((), (8,))
    for loss in ("cross-entropy", "corn")
]


@pytest.fixture(scope="module")
def data():
    embeddings, labels = make_pairs()
    return embeddings, labels, embeddings.image_index.astype(object)


@pytest.fixture(scope="module")
def result(data):
    return run_grid(SMALL, *data, repeats=2, seed=3, fingerprint="cafe")


def test_heads_that_diverge_take_no_part(data):
    calm = SMALL[0]
    wild = replace(calm, loss="regression", lr=1e30, class_weights="none")
    found = run_grid([wild, calm], *data, repeats=1, seed=3)
    assert [entry.config for entry in found.entries] == [calm]
    assert (found.chosen, found.diverged, len(found.rows)) == (0, 1, 1)
    assert found.trained.config == calm
    assert np.isfinite(found.trained.predict_proba(data[0])).all()
    with pytest.raises(DivergenceError, match="1 of 1 configurations diverged, and none was left to choose: give"):
        run_grid([wild], *data, repeats=1, seed=3)


def test_a_head_that_diverges_in_its_refit_gives_way_to_the_next(data, monkeypatch):
    lost = []

    def without_the_first(jobs, *arguments, **options):
        lost.append(jobs[0].config)
        outcomes = train_heads(jobs, *arguments, **options)
        return [replace(outcome, diverged=jobs[0].config == lost[0]) for outcome in outcomes]

    plain = run_grid(SMALL, *data, repeats=1, seed=3)
    monkeypatch.setattr("heads.grid.train_heads", without_the_first)
    found = run_grid(SMALL, *data, repeats=1, seed=3)
    assert lost == [plain.trained.config, found.trained.config]
    assert found.diverged == plain.diverged + 1
    assert [row["hidden"] for row in found.rows if row["chosen"]] == [found.trained.config.shape]


def test_scores_are_those_of_heads_trained_on_the_folds_one_by_one(data, result):
    embeddings, labels, groups = data
    winner = result.entries[result.chosen]
    seeds = np.random.SeedSequence(3).generate_state(10).tolist()
    number = 0
    for folds in make_divisions(labels, groups, folds=5, repeats=2, seed=3):
        for fold in range(5):
            train, held = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
            assert not set(groups[train]) & set(groups[held])
            (outcome,) = train_heads([Job(winner.config, train, seeds[number], held)], embeddings, labels)
            curve = [(epoch["qwk"] + epoch["macro_f1"]) / 2 for epoch in outcome.history]
            reached = curve[min(winner.epochs, len(curve)) - 1]
            assert winner.folds()[number] == pytest.approx(reached, abs=0.03)  # a single row may flip
            number += 1
    assert winner.mean == pytest.approx(winner.folds().mean())


def test_the_winner_is_trained_on_all_rows_for_the_chosen_epochs(data, result):
    embeddings, labels, _ = data
    winner = result.entries[result.chosen]
    (refit,) = train_heads([Job(winner.config, np.arange(len(labels)), 3, stop=winner.epochs)], embeddings, labels)
    for name, value in refit.head.state_dict().items():
        np.testing.assert_allclose(result.trained.head.state_dict()[name], value, atol=1e-5)
    assert result.trained.fingerprint == "cafe"


def test_the_winner_has_learned_and_its_temperature_does_not_hurt():
    embeddings, labels = make_pairs(800, noise=0.3)
    train, test = np.arange(600), np.arange(600, 800)
    trained = run_grid(SMALL, embeddings.take(train), labels[train], None, folds=3, repeats=1).trained
    answer = trained.predict(embeddings.take(test))
    assert cohen_kappa_score(labels[test], answer.predicted, weights="quadratic") > 0.3
    assert f1_score(labels[test], answer.predicted, average="macro") > 0.3
    plain = replace(trained, temperature=1.0).predict_proba(embeddings.take(test))
    assert trained.temperature != 1
    assert log_loss(labels[test], answer.probabilities) < log_loss(labels[test], plain) + 0.02


def test_rows_that_calibrate_stop_nothing_early(data, result):
    """Fit temperature and power again, with heads trained for the epochs that the other folds choose."""
    embeddings, labels, groups = data
    winner = result.entries[result.chosen]
    merits = (winner.curves["qwk"] + winner.curves["macro_f1"]) / 2
    seeds = np.random.SeedSequence(3).generate_state(10).tolist()
    outputs, truth = [], []
    for repeat, division in enumerate(make_divisions(labels, groups, folds=5, repeats=2, seed=3)):
        for fold in range(5):
            others = [5 * repeat + other for other in range(5) if other != fold]
            epochs = int(merits[others].mean(axis=0).argmax()) + 1
            train, held = np.flatnonzero(division != fold), np.flatnonzero(division == fold)
            job = Job(winner.config, train, seeds[5 * repeat + fold], stop=epochs)
            (outcome,) = train_heads([job], embeddings, labels)
            assert len(outcome.history) == epochs
            outputs.append(replace(result.trained, head=outcome.head).outputs(embeddings.take(held)))
            truth.append(labels[held])
    outputs, truth = torch.cat(outputs), np.concatenate(truth)
    fitted = replace(result.trained, temperature=1.0).calibrated(outputs, truth)
    assert result.trained.temperature == pytest.approx(fitted.temperature, rel=1e-3)
    assert result.trained.power == best_power(fitted.decide(outputs).probabilities, truth)


def test_the_folds_of_two_seeds_share_no_division(data):
    _, labels, groups = data
    divisions = [
        tuple(division.tolist())
        for seed in (41, 42, 43, 44)
        for division in make_divisions(labels, groups, folds=5, repeats=5, seed=seed)
    ]
    assert len(set(divisions)) == 20


def test_a_regression_gets_exact_thresholds(data):
    regression = HeadConfig(loss="regression", hidden=(8,), epochs=5, lr=1e-2)
    trained = run_grid([regression], *data, repeats=1).trained
    assert trained.thresholds is not None
    assert list(trained.thresholds) == sorted(trained.thresholds)
    answer = trained.predict(data[0])
    assert np.array_equal(answer.predicted, np.searchsorted(trained.thresholds, answer.values, side="right"))


def test_the_leaderboard_has_every_configuration_best_first(result):
    rows = result.rows
    assert [row["rank"] for row in rows] == list(range(1, len(SMALL) + 1))
    assert [row["score_mean"] for row in rows] == sorted((row["score_mean"] for row in rows), reverse=True)
    assert sum(row["chosen"] for row in rows) == 1
    for row in rows:
        folds = np.array([row[f"fold_{number}"] for number in range(1, 11)])
        assert row["score_mean"] == pytest.approx(folds.mean())
        assert row["score_std"] == pytest.approx(folds.std(ddof=1))
        assert row["score_mean"] == pytest.approx((row["qwk_mean"] + row["macro_f1_mean"]) / 2)
        assert 1 <= row["refit_epochs"] <= 6
    assert rows[0]["behind_mean"] == rows[0]["behind_low"] == rows[0]["behind_high"] == 0
    assert {row["hidden"] for row in rows} == {"linear", "8"}


def test_the_lead_is_paired_and_its_interval_corrected(result):
    """Nadeau & Bengio's corrected resampled t-test, of 2 times 5 folds, with SciPy's t for the interval."""
    first, *others = [np.array([row[f"fold_{number}"] for number in range(1, 11)]) for row in result.rows]
    for row, folds in zip(result.rows[1:], others, strict=True):
        behind = first - folds
        error = np.sqrt((1 / 10 + 1 / 4) * behind.var(ddof=1))  # of 5 folds one is held out for every four trained on
        low, high = t.interval(0.95, df=9, loc=behind.mean(), scale=error)
        found = [row[f"behind_{name}"] for name in ("mean", "se", "low", "high")]
        assert found == pytest.approx([behind.mean(), error, low, high])


MANY = [
    HeadConfig(features="product", hidden=hidden, dropout=dropout, loss=loss, lr=lr, epochs=4, batch_size=64)
    for hidden, dropout in (((), 0), ((8,), 0.1), ((8,), 0.3), ((16,), 0.1), ((16,), 0.3))
    for loss in ("cross-entropy", "corn")
    for lr in (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
]


@pytest.fixture(scope="module")
def raced(data):
    return run_grid(MANY, *data, folds=3, seed=3)


@pytest.fixture(scope="module")
def whole(data):
    return run_grid(MANY, *data, folds=3, seed=3, race=False)


def test_those_that_fall_behind_train_on_fewer_folds(raced, whole):
    """50 configurations: the best 20 after 2 folds, 15 after 3, 9 after 6, and always the 10 linear ones."""
    assert len(raced.rows) == len(MANY)
    assert [row["folds"] for row in raced.rows] == sorted((row["folds"] for row in raced.rows), reverse=True)
    for row in raced.rows:
        scores = [row[f"fold_{number}"] for number in range(1, 10)]
        assert scores[row["folds"] :] == [None] * (9 - row["folds"])
        assert row["score_mean"] == pytest.approx(np.mean(scores[: row["folds"]]))
        assert row["folds"] == 9 or not (row["chosen"] or row["hidden"] == "linear")

    def best(entries, folds, count):
        """The configurations with the highest mean score on the first folds, each at its best number of epochs."""
        reached = {entry.config: entry.curves["merit"][:folds].mean(axis=0).max() for entry in entries}
        return set(sorted(reached, key=lambda config: -reached[config])[:count])

    linear = {config for config in MANY if not config.hidden}
    after_2 = best(whole.entries, 2, 20) | linear
    after_3 = best([entry for entry in whole.entries if entry.config in after_2], 3, 15) | linear
    after_6 = best([entry for entry in whole.entries if entry.config in after_3], 6, 9) | linear
    assert {entry.config for entry in raced.entries if entry.n_folds > 2} == after_2
    assert {entry.config for entry in raced.entries if entry.n_folds > 3} == after_3
    assert {entry.config for entry in raced.entries if entry.n_folds > 6} == after_6
    assert linear < after_6 < after_3 < after_2 < set(MANY)


def test_a_race_chooses_what_the_whole_grid_chooses_here(raced, whole):
    assert {row["folds"] for row in whole.rows} == {9}
    assert raced.trained.config == whole.trained.config
    assert raced.entries[raced.chosen].epochs == whole.entries[whole.chosen].epochs


def test_an_ensemble_keeps_as_many_in_the_race(data):
    together = run_grid(MANY[10:], *data, folds=3, repeats=2, seed=3, ensemble=12)
    assert sum(row["folds"] == 6 for row in together.rows) == 12
    assert sum(row["chosen"] for row in together.rows) == 12


@pytest.mark.parametrize("stop", [1, 6, 12])
def test_an_interrupted_race_continues_and_ends_the_same(data, raced, tmp_path, monkeypatch, stop):
    real, trained = train_module.train_stack, []

    def stops(jobs, pairs, **choices):
        if len(trained) == stop:
            raise KeyboardInterrupt
        trained.append(len(jobs))
        return real(jobs, pairs, **choices)

    monkeypatch.setattr(train_module, "train_stack", stops)
    with pytest.raises(KeyboardInterrupt):
        run_grid(MANY, *data, folds=3, seed=3, state=tmp_path / "state.jsonl")
    monkeypatch.setattr(train_module, "train_stack", real)
    again = run_grid(MANY, *data, folds=3, seed=3, state=tmp_path / "state.jsonl")
    assert again.rows == raced.rows
    assert again.trained.temperature == raced.trained.temperature


def test_an_interrupted_grid_continues_and_ends_the_same(data, result, tmp_path, monkeypatch):
    state = tmp_path / "state.jsonl"
    real, trained = train_module.train_stack, []

    def stops_after_ten(jobs, pairs, **choices):
        if len(trained) == 10:
            raise KeyboardInterrupt
        trained.append(len(jobs))
        return real(jobs, pairs, **choices)

    monkeypatch.setattr(train_module, "train_stack", stops_after_ten)
    with pytest.raises(KeyboardInterrupt):
        run_grid(SMALL, *data, repeats=2, seed=3, state=state)
    with state.open("ab") as file:
        file.write(b'{"77": {"qwk": [0.1')  # a kill in the middle of a line
    left = []

    def counts(jobs, pairs, **choices):
        left.extend(job for job in jobs if job.stop is None)  # refits stop where the folds say
        return real(jobs, pairs, **choices)

    monkeypatch.setattr(train_module, "train_stack", counts)
    again = run_grid(SMALL, *data, repeats=2, seed=3, state=state)
    assert 0 < len(left) < len(SMALL) * 10
    assert again.rows == result.rows
    assert again.trained.temperature == result.trained.temperature
    left.clear()
    assert run_grid(SMALL, *data, repeats=2, seed=3, state=state).rows == result.rows
    assert left == []


def test_the_number_of_threads_changes_nothing(data, result):
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert run_grid(SMALL, *data, repeats=2, seed=3).rows == result.rows
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)


def test_the_record_of_another_grid_is_refused(data, tmp_path):
    state = tmp_path / "state.jsonl"
    embeddings, labels, groups = data
    run_grid(SMALL[:1], embeddings, labels, groups, repeats=1, state=state)
    with pytest.raises(InputError, match="belongs to another grid or to other data: resume it with the same"):
        run_grid(SMALL[:2], embeddings, labels, groups, repeats=1, state=state)
    with pytest.raises(InputError, match="belongs to another grid or to other data"):
        run_grid(SMALL[:1], embeddings, labels[::-1].copy(), groups, repeats=1, state=state)
    state.write_text("a poem\n")
    with pytest.raises(InputError, match="is not a record of a grid"):
        run_grid(SMALL[:1], embeddings, labels, groups, repeats=1, state=state)


def test_the_best_heads_can_form_an_ensemble(data):
    embeddings, labels, groups = data
    together = run_grid(SMALL[:4], *data, repeats=1, ensemble=3)
    assert sorted(row["rank"] for row in together.rows if row["chosen"]) == [1, 2, 3]
    assert [member.config.as_dict()["loss"] for member in together.trained.members] == [
        row["loss"] for row in together.rows[:3]
    ]
    assert together.trained.predict_proba(embeddings).shape == (len(labels), 5)


def test_leaders_are_shown_while_the_grid_runs(data):
    shown = []
    run_grid(SMALL[:6], *data, repeats=1, watch=lambda leaders: shown.append([leader.mean for leader in leaders]))
    assert all(means == sorted(means, reverse=True) for means in shown)
    assert len(shown[-1]) == 5


def test_the_default_grid_has_no_duplicates():
    configs = default_grid()
    assert len(set(configs)) == len(configs)


def test_a_grid_file_is_every_combination(tmp_path):
    path = tmp_path / "grid.toml"
    path.write_text(
        """
        [[grid]]
        features = ["full", "product"]
        hidden = [[], [32, 16]]
        lr = [1e-3, 1e-2, 1e-2]

        [[grid]]
        hidden = [8]
        loss = "corn"
        """
    )
    configs = read_grid(path)
    assert len(configs) == 2 * 2 * 2 + 1
    assert configs[0] == HeadConfig(features="full", hidden=(), lr=1e-3)
    assert configs[-1] == HeadConfig(hidden=(8,), loss="corn")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("grid = [", "is not TOML"),
        ("", "expected tables .*, found nothing"),
        ("[other]\nlr = 1", "and nothing else, found other"),
        ("grid = 3", "expected tables"),
        ("[[grid]]\nlr = 1e-3\n[[grid]]\nrate = 1", "number 2: unknown head setting rate: expected features"),
        ('[[grid]]\nlr = ["fast"]', "number 1: lr is 'fast'"),
        ("[[grid]]\nhidden = 64", "number 1: hidden is 64: expected a list of widths"),
        ("[[grid]]\nlr = []", "an empty list leaves no configuration"),
    ],
)
def test_what_is_wrong_with_a_grid_file_is_said(tmp_path, text, message):
    path = tmp_path / "grid.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_grid(path)


def test_a_missing_grid_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"cannot read the grid file .*none.toml: No such file"):
        read_grid(tmp_path / "none.toml")


@pytest.fixture(scope="module")
def posts():
    return make_posts(240, hashtags=60)


def test_a_head_that_reads_the_post_is_chosen_with_one_that_does_not(posts):
    """Labels that only the context of the post tells; a post of few hashtags is answered by the other head."""
    pairs, _, names, _ = posts
    labels = np.digitize(pairs.context[:, 1], np.quantile(pairs.context[:, 1], [0.2, 0.4, 0.6, 0.8]))
    configs = [replace(SMALL[0], features=features, epochs=12) for features in ("product", "full", "product+post")]
    found = run_grid(configs, pairs, labels, names, repeats=2, seed=3)
    assert isinstance(found.trained, ByPost)
    assert (found.trained.post.config, found.post_head) == (configs[2], None)
    assert found.trained.pair.config in configs[:2]
    assert sorted(row["features"] for row in found.rows if row["chosen"])[-1] == "product+post"
    alone = run_grid(configs[:2], pairs, labels, names, repeats=2, seed=3)
    bare = replace(pairs, context=None)
    assert np.array_equal(found.trained.predict_proba(bare), alone.trained.predict_proba(bare))


def test_the_head_of_context_post_competes_on_the_same_folds(posts, tmp_path):
    pairs, labels, names, _ = posts
    configs, state = [SMALL[0]], tmp_path / "state.json"
    found = run_grid(configs, pairs, labels, names, folds=2, repeats=1, seed=3, post=PostConfig(), state=state)
    division = make_divisions(labels, names, folds=2, repeats=1, seed=3)[0]
    seeds = np.random.SeedSequence(3).generate_state(2).tolist()
    scores = []
    for fold, seed in enumerate(seeds):
        train, held = np.flatnonzero(division != fold), np.flatnonzero(division == fold)
        said = TrainedPostHead.fit(pairs.take(train), labels[train], seed=seed).predict(pairs.take(held)).predicted
        kappa = cohen_kappa_score(labels[held], said, weights="quadratic", labels=range(5))
        scores.append((kappa + f1_score(labels[held], said, average="macro", labels=range(5), zero_division=0)) / 2)
    np.testing.assert_allclose(found.post_head, scores)
    ahead = found.post_head - found.entries[0].folds()
    assert isinstance(found.trained, TrainedPostHead) == (ahead.mean() > ahead.std(ddof=1) / 2**0.5)
    lines = state.read_bytes().splitlines()
    state.write_bytes(b"\n".join(lines[:-1]) + b"\n")  # as if the last fold had not been finished
    again = run_grid(configs, pairs, labels, names, folds=2, repeats=1, seed=3, post=PostConfig(), state=state)
    assert np.array_equal(again.post_head, found.post_head)
    assert np.array_equal(again.trained.predict_proba(pairs), found.trained.predict_proba(pairs))
