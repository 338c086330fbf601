"""What intervals draw as one, and what is said of who was tested on what."""

import hashlib
from pathlib import Path

import numpy as np

from consistency.data.files import ImageFile
from consistency.data.inputs import Inputs
from consistency.data.leakage import Leakage
from consistency.data.split_file import import_split
from consistency.data.splits import Split, make_split
from consistency.runs.folder import split_csv
from koclip_consistency.workflows.division import clusters, describe_division
from koclip_consistency.workflows.trial import Answers, evaluate_answers
from tests.builders.tables import make_table

PICTURES = [chr(97 + number) for number in range(8)]


def inputs_of(names: list[str], contents: list[str], hashtags: list[str]) -> Inputs:
    """Rows of images `names` with these contents, scores 1 to 5 in turn."""
    table = make_table(names, hashtags, [1 + number % 5 for number in range(len(names))])
    files = {
        name: ImageFile(name, Path(name), hashlib.sha256(content.encode()).digest(), None)
        for name, content in zip(names, contents, strict=True)
    }
    return Inputs(table, files, ())


def test_one_picture_under_two_names_is_drawn_as_one() -> None:
    contents = [picture for picture in PICTURES for _ in range(6)]
    aliases = [f"{picture}{number % 2}.png" for number, picture in enumerate(contents)]
    hashtags = [f"#{number}" for number in range(len(contents))]
    once, twice = inputs_of(contents, contents, hashtags), inputs_of(aliases, contents, hashtags)
    found = []
    for inputs in (once, twice):
        split = make_split(inputs.table, inputs.identity, test_fraction=0.5)
        rows = np.flatnonzero(split.kept)
        predicted = np.random.default_rng(0).integers(1, 6, len(rows))
        found.append(evaluate_answers("heads", "none", inputs, split, rows, Answers(predicted, predicted * 1.0)))
    assert found[0].ci95 == found[1].ci95
    assert found[1].predictions.clusters.tolist() == [1 + number // 6 * 6 for number in range(len(contents))]


def test_hashtags_are_drawn_where_whole_hashtags_are_tested(tmp_path: Path) -> None:
    hashtags = [f"#{number % 6}" for number in range(48)]
    inputs = inputs_of([PICTURES[number // 6] for number in range(48)], [PICTURES[n // 6] for n in range(48)], hashtags)
    by_hashtag, by_picture, by_row = (
        clusters(make_split(inputs.table, inputs.identity, protocol=protocol), inputs)  # type: ignore[arg-type]
        for protocol in ("hashtag", "grouped", "paper")
    )
    assert by_hashtag.tolist() == [1 + number % 6 for number in range(48)]
    assert by_picture.tolist() == by_row.tolist() == [1 + number // 6 * 6 for number in range(48)]
    split = make_split(inputs.table, inputs.identity, protocol="hashtag")
    path = tmp_path / "split.csv"
    path.write_bytes(split_csv(inputs.table, split))
    read = import_split(path, inputs.table, inputs.identity, seed=42)
    assert clusters(read, inputs).tolist() == by_hashtag.tolist()
    for known in (split, read):
        (note, few) = describe_division(known, inputs).notes
        assert "intervals are over hashtags" in note
        assert "leaks" not in note
        assert few.startswith(("only 1 hashtags", "only 2 hashtags", "a single one of the hashtags"))


def test_the_notes_count_only_rows_that_could_be_used() -> None:
    names = [PICTURES[number % 8] for number in range(48)]
    inputs = inputs_of(names, names, [f"#{number // 2}" for number in range(48)])
    side = np.array(["test" if number < 24 else "train" for number in range(48)], dtype=object)
    every = np.ones(48, dtype=bool)
    split = Split("paper", 42, side, np.full(48, -1), every, inputs.table.labels)
    whole = describe_division(split, inputs)
    assert whole.leakage == {"test": Leakage(24, 24, 0, 0)}
    assert "only 8 images are tested" in whole.notes[1]
    broken = np.isin(inputs.table.images, PICTURES[:6])
    usable = describe_division(split, inputs, ~broken)
    assert usable.leakage == {"test": Leakage(6, 6, 0, 0)}
    assert "only 2 images are tested" in usable.notes[1]


def test_two_way_intervals_ask_about_new_hashtags_too() -> None:
    names = [PICTURES[number // 8] for number in range(64)]
    inputs = inputs_of(names, names, [f"#{number % 8}" for number in range(64)])
    split = make_split(inputs.table, inputs.identity, test_fraction=0.5)
    rows = np.arange(64)
    scores = inputs.table.scores
    wrong = np.where(scores > 3, 1, 5)
    predicted = np.where(rows % 2 == 0, scores, wrong)  # every second hashtag is always right, the others never
    one, both = (
        evaluate_answers("heads", "none", inputs, split, rows, Answers(predicted, predicted * 1.0), two_way=two_way)
        for two_way in (False, True)
    )
    assert one.metrics == both.metrics
    widths = [np.subtract(*(result.ci95["accuracy"] or (0, 0))[::-1]) for result in (one, both)]
    assert widths[1] > widths[0] + 0.2
