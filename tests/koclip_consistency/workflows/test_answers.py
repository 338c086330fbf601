"""What a system says becomes a result with intervals."""

import numpy as np

from consistency.data.splits import make_split
from koclip_consistency.workflows.answers import Answers, evaluate_answers
from tests.builders.inputs import IMAGES, inputs_of


def test_one_picture_under_two_names_is_drawn_as_one() -> None:
    contents = [picture for picture in IMAGES for _ in range(6)]
    aliases = [f"{picture}{number % 2}.png" for number, picture in enumerate(contents)]
    hashtags = [f"#{number}" for number in range(len(contents))]
    once, twice = inputs_of(contents, contents, hashtags), inputs_of(aliases, contents, hashtags)
    found = []
    for inputs in (once, twice):
        split = make_split(inputs.table, inputs.identity, test_fraction=0.5)
        rows = np.flatnonzero(split.kept)
        predicted = np.random.default_rng(0).integers(1, 6, len(rows))
        found.append(evaluate_answers("heads", None, inputs, split, rows, Answers(predicted, predicted * 1.0)))
    assert found[0].ci95 == found[1].ci95
    assert found[1].predictions.clusters.tolist() == [1 + number // 6 * 6 for number in range(len(contents))]


def test_two_way_intervals_ask_about_new_hashtags_too() -> None:
    names = [IMAGES[number // 8] for number in range(64)]
    inputs = inputs_of(names, names, [f"#{number % 8}" for number in range(64)])
    split = make_split(inputs.table, inputs.identity, test_fraction=0.5)
    rows = np.arange(64)
    scores = inputs.table.scores
    wrong = np.where(scores > 3, 1, 5)
    predicted = np.where(rows % 2 == 0, scores, wrong)  # every second hashtag is always right, the others never
    one, both = (
        evaluate_answers("heads", None, inputs, split, rows, Answers(predicted, predicted * 1.0), two_way=two_way)
        for two_way in (False, True)
    )
    assert one.metrics == both.metrics
    widths = [np.subtract(*(result.ci95["accuracy"] or (0, 0))[::-1]) for result in (one, both)]
    assert widths[1] > widths[0] + 0.2
