"""A table in a spool holds what the table in memory holds."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from consistency.data import large_table
from consistency.data.files import find_images
from consistency.data.hashtags import identities
from consistency.data.inputs import open_source, read_inputs
from consistency.data.large_table import LargeTable
from consistency.data.spool import Spool
from consistency.errors import DataError
from consistency.options import Source
from tests.builders.large import stumbling_table


@pytest.mark.parametrize(("rows", "size"), [(65_536, 1000), (7, 4)])
def test_it_holds_the_same_rows(
    small_demo: Path, tmp_path: Path, rows: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large_table, "PART", rows)
    path = stumbling_table(small_demo, tmp_path)
    source = Source(data=path, images=tmp_path / "image")
    known = read_inputs(source)
    table = known.table
    with Spool() as spool:
        large = LargeTable.read(spool, source, open_source(source), require_scores=True)
        assert (large.n, large.score_counts.tolist()) == (len(table), table.score_counts)
        assert (large.skipped, large.first_skipped) == (len(table.skipped), table.skipped[:1])
        assert large.several == known.several
        names, texts = [*dict.fromkeys(table.images)], [*dict.fromkeys(table.hashtags)]
        assert (large.images, large.hashtags) == (len(names), len(texts))
        seen: dict[str, Counter[str]] = {"images": Counter(), "hashtags": Counter()}
        for part in large.parts(size):
            for kind, cells, every, first in (
                ("images", part.table.images, names, part.first_image),
                ("hashtags", part.table.hashtags, texts, part.first_hashtag),
            ):
                distinct = [*dict.fromkeys(cells)]
                assert len(distinct) <= size
                assert distinct == every[first : first + len(distinct)]
                seen[kind].update(distinct)
            files = find_images(part.table.images, source.images)
            large.record(part, files, {"broken.png": "broken"}, {})
        assert seen["hashtags"] == Counter(texts)
        assert set(seen["images"]) == set(names)
        large.code("skip")
        assert large.images_digest() == known.pictures_digest
        assert large.contents() == len({file.digest for file in known.files.values() if file.digest})
        (pairs,) = spool.batches("SELECT * FROM pairs")
        assert pairs["row"].tolist() == table.rows.tolist()
        assert [names[at] for at in pairs["image"]] == table.images.tolist()
        assert [texts[at] for at in pairs["hashtag"]] == table.hashtags.tolist()
        assert pairs["score"].tolist() == table.scores.tolist()
        for numbers, identity in ((pairs["shown"], known.identity), (pairs["tag"], identities(table.hashtags))):
            assert np.unique(numbers).size == np.unique(identity.astype(str)).size
            assert len(set(zip(numbers.tolist(), identity, strict=True))) == np.unique(numbers).size
        bad = [image == "broken.png" for image in table.images]
        assert [not usable for usable in pairs["usable"]] == bad
        skipped = [each for listed in large.skipped_parts() for each in listed]
        assert skipped[: len(table.skipped)] == list(table.skipped)
        assert [each.row for each in skipped[len(table.skipped) :]] == table.rows[bad].tolist()
        assert {each.reason for each in skipped[len(table.skipped) :]} == {"broken"}


def test_tables_that_cannot_be_used_are_refused_alike(small_demo: Path, tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    source = Source(data=path, images=small_demo / "image")
    for lines, options in (
        (["a.png,x,7", "a.png,y,9", "b.png,z,7"], {}),
        (["a.png,x,5", "a.png,y,5"], {}),
        (["a.png,x,5", "a.png,y,4", "a.png, ,4"], {"on_error": "abort"}),
        (["a.png, ,4"], {}),
    ):
        path.write_text("Image Filename,Hashtag,Score\n" + "\n".join(lines))
        asked = replace(source, **options)
        with pytest.raises(DataError) as known:
            read_inputs(asked, images_needed=False)
        with Spool() as spool, pytest.raises(DataError) as found:
            LargeTable.read(spool, asked, open_source(asked), require_scores=True)
        assert str(found.value) == str(known.value)
