"""What a checkpoint holds besides weights comes back as it was."""

import json
from dataclasses import asdict

import numpy as np

from finetune.state import Chosen, LabelledRows, Position


def test_what_was_chosen_comes_back() -> None:
    answers = np.random.default_rng(0).dirichlet(np.ones(5), 7)
    chosen = Chosen(3, 0.4, 2, 1.25, [{"epoch": 1, "qwk": None}], answers)
    values, tensors = chosen.state()
    back = Chosen.of(json.loads(json.dumps(values)), tensors)
    assert (back.epochs, back.share, back.best_epoch, back.temperature, back.history) == (
        3, 0.4, 2, 1.25, [{"epoch": 1, "qwk": None}],
    )  # fmt: skip
    assert back.probabilities is not None
    assert back.probabilities.tobytes() == answers.tobytes()


def test_a_position_comes_back() -> None:
    at = Position(epoch=2, step=7, lr=1e-4, history=[{"epoch": 1}])
    assert Position(**json.loads(json.dumps(asdict(at)))) == at


def test_test_rows_are_watched_only_where_nothing_is_validated() -> None:
    labels, rows = np.zeros(6, dtype=np.int64), np.arange(2)
    validated = LabelledRows(labels, rows, rows + 2, rows + 4, np.ones(5))
    assert (validated.watched[0], validated.watched[1].tolist()) == ("val", [2, 3])
    published = LabelledRows(labels, rows, None, rows + 4, np.ones(5))
    assert (published.watched[0], published.watched[1].tolist()) == ("test", [4, 5])
