"""Which posts are shown, in what order, and with which images."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from consistency.report.gallery import THUMBNAIL, make_gallery, thumbnails
from tests.builders.results import make_result


def test_the_worst_disagreement_of_the_main_system_comes_first() -> None:
    control, main = make_result("majority", backbone="none", seed=3), make_result("heads", seed=1)
    gallery = make_gallery([control, main], main, None)
    assert gallery.systems == ("heads (tiny)", "majority")
    p = main.predictions
    off = {image: int(np.abs(p.predicted - p.scores)[p.images == image].max()) for image in p.images}
    shown = [post.image for post in gallery.posts]
    assert sorted(shown) == sorted(set(p.images))
    assert [off[image] for image in shown] == sorted(off.values(), reverse=True)
    for post in gallery.posts:
        assert [tag.off for tag in post.tags] == sorted((tag.off for tag in post.tags), reverse=True)
        rows = np.flatnonzero(p.images == post.image)
        expected = zip(
            p.hashtags[rows], p.scores[rows], p.predicted[rows], control.predictions.predicted[rows], strict=True
        )
        assert sorted((tag.hashtag, tag.label, *tag.predicted) for tag in post.tags) == sorted(expected)  # type: ignore[misc]


def test_a_system_that_answered_for_other_rows_has_no_answer() -> None:
    main, other, apart = make_result("heads"), make_result("finetune", n=30), make_result("heads-grid")
    apart.predictions.rows[:] += 1
    gallery = make_gallery([main, other, apart], main, None)
    assert gallery.systems == ("heads (tiny)", "finetune (tiny)")
    answers = [tag.predicted[1] for post in gallery.posts for tag in post.tags]
    # The first 30 pairs have the same labels only where the draw of 30 begins as that of 60 does.
    assert 0 < sum(answer is not None for answer in answers) < 60


def test_the_gallery_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consistency.report.gallery.MAX_POSTS", 5)
    whole, main = make_result("heads"), make_result("heads")
    gallery = make_gallery([whole], whole, None)
    assert len(gallery.posts) == 5
    assert gallery.hidden == len(set(main.predictions.images)) - 5


def test_thumbnails_are_small_jpegs_of_what_can_be_read(tmp_path: Path) -> None:
    folder = tmp_path / "image"
    folder.mkdir()
    Image.new("RGB", (900, 300), (200, 30, 30)).save(folder / "넓은.png")
    (folder / "broken.png").write_bytes(b"<html>")
    Image.new("RGB", (50, 50)).save(tmp_path / "outside.png")
    (folder / "link.png").symlink_to(tmp_path / "outside.png")
    found = thumbnails(["넓은.png", "broken.png", "link.png", "../outside.png", "missing.png"], folder)
    assert list(found) == ["넓은.png"]
    data = base64.b64decode(found["넓은.png"].removeprefix("data:image/jpeg;base64,"))
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "JPEG"
        assert image.size == (THUMBNAIL, round(THUMBNAIL / 3))
        red, green, _ = image.convert("RGB").getpixel((20, 20))  # type: ignore[misc]
        assert red > 150 > 80 > green


def test_unfamiliar_hashtags_are_marked() -> None:
    result = make_result("heads")
    strange = str(result.predictions.hashtags[0])
    gallery = make_gallery([result], result, None, {strange})
    marked = {tag.hashtag for post in gallery.posts for tag in post.tags if tag.unfamiliar}
    assert marked == {strange}
