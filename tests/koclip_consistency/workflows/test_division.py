"""Who is tested on what, and what is said of it: leakage, the training of a fine-tuned backbone, few images."""

from pathlib import Path

import numpy as np
import pytest

from consistency.backbone.resolve import ResolvedBackbone
from consistency.data.inputs import Inputs
from consistency.data.leakage import Leakage
from consistency.data.split_file import import_split
from consistency.data.splits import Split, make_split
from consistency.data.trained_on import NOTHING, UNKNOWN, Digests, SeenByBackbone, TrainedOn
from consistency.runs.folder import split_csv
from koclip_consistency.workflows.division import clusters, describe_division
from tests.builders.inputs import IMAGES, inputs_of


def test_hashtags_are_drawn_where_whole_hashtags_are_tested(tmp_path: Path) -> None:
    hashtags = [f"#{number % 6}" for number in range(48)]
    inputs = inputs_of([IMAGES[number // 6] for number in range(48)], [IMAGES[n // 6] for n in range(48)], hashtags)
    by_hashtag, by_image, by_row = (
        clusters(make_split(inputs.table, inputs.identity, protocol=protocol), inputs)  # type: ignore[arg-type]
        for protocol in ("hashtag", "grouped", "paper")
    )
    assert by_hashtag.tolist() == [1 + number % 6 for number in range(48)]
    assert by_image.tolist() == by_row.tolist() == [1 + number // 6 * 6 for number in range(48)]
    split = make_split(inputs.table, inputs.identity, protocol="hashtag")
    path = tmp_path / "split.csv"
    path.write_bytes(split_csv(inputs.table, split))
    read = import_split(path, inputs.table, inputs.identity, seed=42)
    assert clusters(read, inputs).tolist() == by_hashtag.tolist()
    for known in (split, read):
        (note, few) = describe_division(known, inputs).notes
        assert "intervals are over hashtags" in note
        assert "leaks" not in note
        assert few.startswith(("only 1 hashtags", "only 2 hashtags", "only one of the hashtags is tested, so"))


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


def tuned(trained_on: TrainedOn) -> ResolvedBackbone:
    return ResolvedBackbone("runs/ft", "local", "sha256:0", Path("runs/ft/model"), (), trained_on=trained_on)


@pytest.fixture
def divided() -> tuple[Split, Inputs]:
    """Four images under two names each, three rows an image; c and d are tested, d's last row cannot be used."""
    contents = [image for image in "abcd" for _ in range(3)]
    names = [f"{image}{number % 2}.png" for number, image in enumerate(contents)]
    inputs = inputs_of(names, contents, ["#x", "#y", "#z"] * 4)
    side = np.array(["train"] * 6 + ["test"] * 6, dtype=object)
    fold = np.array([0, 1] * 6)
    return Split("grouped", 42, side, fold, np.arange(12) < 11, inputs.table.labels), inputs


def test_what_a_tuned_backbone_has_seen_is_counted_on_test_rows_and_out_of_fold(
    divided: tuple[Split, Inputs],
) -> None:
    split, inputs = divided
    record = TrainedOn(
        train=Digests.of(inputs.identity[3:7], np.array(["y", "X", "#z", "x"], dtype=object)),
        val=Digests.of(inputs.identity[9:12], inputs.table.hashtags[9:12]),
    )
    found = describe_division(split, inputs, None, tuned(record))
    assert found.trained_on == {
        "test": SeenByBackbone(n=5, pairs=3, n_images=2, images=2, only_validated=1),
        "cv": SeenByBackbone(n=11, pairs=6, n_images=4, images=3, only_validated=1),
    }
    assert found.trained_on_known
    said = (
        "2 of 2 test images trained the backbone runs/ft, and 3 of 5 test pairs (1 of these images only validated it)"
    )
    assert said in found.notes
    assert any(note.startswith("3 of 4 images trained the backbone runs/ft, and 6 of 11 pairs") for note in found.notes)
    usable = inputs.identity != inputs.identity[11]
    assert describe_division(split, inputs, usable, tuned(record)).trained_on["test"] == SeenByBackbone(3, 1, 1, 1)


def test_a_clean_split_of_a_fine_tuned_backbone_says_so(divided: tuple[Split, Inputs]) -> None:
    split, inputs = divided
    record = TrainedOn(Digests.of(inputs.identity[:6], inputs.table.hashtags[:6]))
    found = describe_division(split, inputs, None, tuned(record))
    assert found.trained_on["test"] == SeenByBackbone(5, 0, 2, 0)
    assert "0 of 2 test images trained the backbone runs/ft, and 0 of 5 test pairs" in found.notes


def test_a_model_without_a_record_is_unknown_and_a_published_one_is_not(divided: tuple[Split, Inputs]) -> None:
    split, inputs = divided
    published = describe_division(split, inputs, None, tuned(NOTHING))
    assert published == describe_division(split, inputs)
    unknown = describe_division(split, inputs, None, tuned(UNKNOWN))
    (note,) = set(unknown.notes) - set(published.notes)
    assert note.startswith("backbone runs/ft, a local model: what it was trained on is unknown")
    assert unknown.trained_on == {}
    assert not unknown.trained_on_known
    half = describe_division(
        split, inputs, None, tuned(UNKNOWN | TrainedOn(Digests.of(inputs.identity, inputs.identity)))
    )
    assert half.trained_on["test"].images == 2
    assert not half.trained_on_known
    assert any("what else the model it was tuned from was trained on is unknown" in note for note in half.notes)
