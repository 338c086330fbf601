"""Figures of the controls against predictions that the test makes itself."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, cohen_kappa_score
from sklearn.model_selection import GroupShuffleSplit

from consistency.data.files import find_images
from consistency.data.folds import make_folds
from consistency.data.inputs import Inputs
from consistency.data.pairs import PairTable
from consistency.errors import DataError
from consistency.evaluation.control_figures import ControlChoice, control_figures
from consistency.evaluation.controls import control_predictions, decide
from tests.builders.posts import drawn_posts
from tests.builders.tables import make_table


@pytest.fixture(scope="module")
def table() -> PairTable:
    posts, hashtags, labels = drawn_posts(posts=24, size=10)
    score = {}  # repeats agree
    for post, tag, label in zip(posts, hashtags, labels, strict=True):
        score.setdefault((post, tag.lstrip("#")), int(label) + 1)
    scores = [score[post, tag.lstrip("#")] for post, tag in zip(posts, hashtags, strict=True)]
    return make_table(posts.tolist(), hashtags.tolist(), scores)


def blind(table: PairTable) -> Inputs:
    """The table without images."""
    return Inputs(table, find_images(table.images, Path("nowhere")), ())


def kept_rows(table: PairTable) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    pairs = [(image, tag.lstrip("#")) for image, tag in zip(table.images, table.hashtags, strict=True)]
    return np.array([i for i, pair in enumerate(pairs) if pair not in pairs[:i]])


def test_grouped_figures_are_means_over_ten_divisions(table: PairTable) -> None:
    found = control_figures(blind(table), ControlChoice())
    assert (found.out_of_fold, found.order_gamma) == (None, None)
    assert found.by_protocol is not None
    assert list(found.by_protocol) == ["paper", "grouped"]
    kept = kept_rows(table)
    accuracies: dict[str, list[float]] = {"text-only": [], "text-and-post": []}
    for seed in range(10):
        shuffle = GroupShuffleSplit(1, test_size=0.2, random_state=seed)
        train, test = (kept[part] for part in next(shuffle.split(kept, groups=table.images[kept])))
        answers = control_predictions(table.images, table.hashtags, table.labels, train, test, groups=table.images)
        for system, figures in accuracies.items():
            figures.append(accuracy_score(table.labels[test], decide(system, answers[system])))
    for system, figures in accuracies.items():
        assert found.by_protocol["grouped"][system]["accuracy"] == pytest.approx(np.mean(figures))


def test_every_pair_is_predicted_out_of_fold_with_intervals_over_images(table: PairTable) -> None:
    found = control_figures(blind(table), ControlChoice(folds=4, ordered=True, seed=7)).out_of_fold
    assert found is not None
    assert list(found)[-2:] == ["text-and-post", "text-and-post-ordered"]
    kept = kept_rows(table)
    fold = make_folds(table.labels[kept], table.images[kept], folds=4, seed=7)
    predicted = np.empty(len(kept), dtype=np.int64)
    for number in range(4):
        train, test = kept[fold != number], kept[fold == number]
        columns = table.images, table.hashtags, table.labels, train, test
        chances = control_predictions(*columns, groups=table.images, order=table.rows)["text-and-post-ordered"]
        predicted[fold == number] = decide("text-and-post-ordered", chances)
    reached = cohen_kappa_score(table.labels[kept], predicted, weights="quadratic")
    entry = found["text-and-post-ordered"]
    assert entry["metrics"]["qwk"] == pytest.approx(reached)
    low, high = entry["ci95"]["qwk"]
    assert low < reached < high
    assert found["majority"]["ci95"].keys() == {"accuracy", "macro_f1", "mae", "qwk"}


def test_positions_in_a_table_sorted_by_score_are_refused(table: PairTable) -> None:
    by_score = table.take(np.argsort(-table.scores, kind="stable"))
    by_score = replace(by_score, rows=np.arange(1, len(table) + 1))
    with pytest.raises(DataError, match="sorted by score"):
        control_figures(blind(by_score), ControlChoice(ordered=True))
    assert control_figures(blind(by_score), ControlChoice()).by_protocol


def test_folds_need_as_many_images(table: PairTable) -> None:
    with pytest.raises(DataError, match="24 distinct images .* are too few for 30 folds"):
        control_figures(blind(table), ControlChoice(folds=30))


def test_a_column_of_posts_says_who_is_compared_and_held_out_together(table: PairTable) -> None:
    """With one hashtag to an image the post is known from its column alone."""
    posts = table.images.copy()
    images = np.array([f"{row}.png" for row in table.rows], dtype=object)
    single = control_figures(blind(replace(table, images=images)), ControlChoice()).by_protocol
    joined = control_figures(blind(replace(table, images=images, posts=posts)), ControlChoice()).by_protocol
    assert single is not None
    assert joined is not None
    apart, together = (figures["grouped"]["text-and-post"]["qwk"] for figures in (single, joined))
    assert apart is not None
    assert together is not None
    assert together > apart + 0.2
