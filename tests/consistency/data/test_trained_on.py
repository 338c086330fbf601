"""The record of what a backbone was trained on: counted by content, whatever the spelling and the file names."""

import hashlib
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from consistency.data.trained_on import RECORD, UNKNOWN, Digests, SeenByBackbone, TrainedOn
from consistency.errors import BackboneError


def objects(*values: str) -> npt.NDArray[np.object_]:
    return np.array(values, dtype=object)


RECORDED = TrainedOn(
    train=Digests.of(objects("a", "a", "b"), objects("#카페", "#바다", "#카페")),
    val=Digests.of(objects("b", "v"), objects("#산", "#산")),
)


def test_rows_are_counted_by_image_and_by_the_hashtags_identity() -> None:
    images = objects("a", "a", "b", "v", "v", "new")
    hashtags = objects("카페", "#산", "＃카페", "#산", "#강", "#카페")
    seen = RECORDED.seen(images, hashtags)
    assert seen == SeenByBackbone(n=6, pairs=3, n_images=4, images=3, only_validated=1)
    assert RECORDED.seen(objects("new"), objects("#카페")) == SeenByBackbone(1, 0, 1, 0)
    assert not RECORDED.seen(objects("new"), objects("#카페"))


def test_validated_images_count_as_those_that_trained() -> None:
    only = TrainedOn(val=RECORDED.val)
    assert only.seen(objects("v"), objects("산")) == SeenByBackbone(1, 1, 1, 1, only_validated=1)


def test_a_record_is_read_as_it_was_written_and_names_no_file_and_no_hashtag(tmp_path: Path) -> None:
    RECORDED.write(tmp_path)
    assert TrainedOn.read(tmp_path) == RECORDED
    text = (tmp_path / RECORD).read_text()
    record = json.loads(text)
    assert record["train"]["images"] == ["a", "b"]
    expected = sorted(hashlib.sha256(pair.encode()).hexdigest() for pair in ("a\n카페", "a\n바다", "b\n카페"))
    assert record["train"]["pairs"] == expected
    assert record["val"]["images"] == ["b", "v"]
    assert "카페" not in text
    assert "\\u" not in text
    assert TrainedOn.read(tmp_path / "none") is None


def test_several_trainings_are_joined() -> None:
    later = TrainedOn(Digests.of(objects("v"), objects("#새")))
    joined = RECORDED | later
    assert joined.train.images == {"a", "b", "v"}
    assert joined.val == RECORDED.val
    assert joined.complete
    assert joined.seen(objects("v"), objects("산")).only_validated == 0  # by now it has trained the backbone
    assert not (UNKNOWN | later).complete
    assert not (later | UNKNOWN).complete


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"complete": False}, "is damaged"),
        ({"train": {"images": [], "pairs": []}}, "is damaged"),
        ({"val": {"images": ["b"], "pairs": []}}, "is damaged"),
        ({"format": 9}, "newer version of this program .format 9, expected 1.: upgrade the program, or fine-tune"),
        ({"train": None}, "is no record of a fine-tuning"),
        ({"train": {"images": 3, "pairs": []}}, "is no record of a fine-tuning"),
        ({"train": {"images": []}}, "is no record of a fine-tuning"),
    ],
)
def test_a_changed_record_is_refused(tmp_path: Path, change: dict[str, object], said: str) -> None:
    RECORDED.write(tmp_path)
    record = json.loads((tmp_path / RECORD).read_text())
    (tmp_path / RECORD).write_text(json.dumps(record | change))
    with pytest.raises(BackboneError, match=said) as caught:
        TrainedOn.read(tmp_path)
    assert RECORD in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"format": 1}'])
def test_a_file_that_is_no_record_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / RECORD).write_text(text)
    with pytest.raises(BackboneError, match="is no record of a fine-tuning"):
        TrainedOn.read(tmp_path)


def test_the_counts_in_a_line() -> None:
    assert SeenByBackbone(360, 210, 36, 30).describe("runs/ft") == (
        "30 of 36 test images trained the backbone runs/ft, and 210 of 360 test pairs"
    )
    assert SeenByBackbone(1800, 1200, 1180, 1150, 40).describe("ft", split="cv") == (
        "1,150 of 1,180 images trained the backbone ft, and 1,200 of 1,800 pairs answered out of fold "
        "(40 of these images only validated it)"
    )
