"""What intervals draw as one, and what is said about who is tested on what."""

from pathlib import Path

import numpy as np

from consistency.data.leakage import Leakage
from consistency.data.split_file import import_split
from consistency.data.splits import Split, make_split
from consistency.runs.folder import split_csv
from koclip_consistency.workflows.division import clusters, describe_division
from tests.builders.inputs import IMAGES, inputs_of


def test_hashtags_are_drawn_where_whole_hashtags_are_tested(tmp_path: Path) -> None:
    hashtags = [f"#{number % 6}" for number in range(48)]
    inputs = inputs_of([IMAGES[number // 6] for number in range(48)], [IMAGES[n // 6] for n in range(48)], hashtags)
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
    names = [IMAGES[number % 8] for number in range(48)]
    inputs = inputs_of(names, names, [f"#{number // 2}" for number in range(48)])
    side = np.array(["test" if number < 24 else "train" for number in range(48)], dtype=object)
    every = np.ones(48, dtype=bool)
    split = Split("paper", 42, side, np.full(48, -1), every, inputs.table.labels)
    whole = describe_division(split, inputs)
    assert whole.leakage == {"test": Leakage(24, 24, 0, 0)}
    assert "only 8 images are tested" in whole.notes[1]
    broken = np.isin(inputs.table.images, IMAGES[:6])
    usable = describe_division(split, inputs, ~broken)
    assert usable.leakage == {"test": Leakage(6, 6, 0, 0)}
    assert "only 2 images are tested" in usable.notes[1]
