"""The parts of a table are disjoint, make up the whole, and each hashtag belongs to one."""

from collections import Counter
from pathlib import Path

import pytest

from consistency.data.pairs import read_pairs
from consistency.data.shards import BLOCK, Shard, blocks
from consistency.errors import InputError


def test_parts_make_up_the_whole(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    rows = [f"{number % 200}.png,#태그{number % 70},3" for number in range(1000)]
    path.write_text("\n".join(["Image Filename,Hashtag,Score", *rows, ",#a,3", "7.png,#,3"]))
    table = read_pairs(path)
    parts = [Shard(number, 4).rows(table) for number in (1, 2, 3, 4)]
    assert sorted(row for part in parts for row in part.rows.tolist()) == table.rows.tolist()
    images = [set(part.images) for part in parts]
    assert sum(map(len, images)) == len(set.union(*images)) == 200
    assert min(map(len, images)) > 30  # of 50
    assert sorted(each.row for part in parts for each in part.skipped if each.row) == [1001, 1002]
    for number, part in enumerate(parts, 1):
        assert all(Shard(number, 4).has(each.image) for each in part.skipped)
    assert Shard(1, 1).rows(table).rows.tolist() == table.rows.tolist()


def test_texts_are_divided_in_whole_blocks_of_similar_length() -> None:
    texts = [f"{'가' * (number % 13)}{number}" for number in range(5 * BLOCK + 100)]
    whole = blocks(texts)
    assert [len(block) for block in whole] == [BLOCK] * 5 + [100]
    lengths = [len(text.encode()) for block in whole for text in block]
    assert lengths == sorted(lengths, reverse=True)
    parts = [Shard(number, 4).texts(texts) for number in (1, 2, 3, 4)]
    assert Counter(text for part in parts for text in part) == Counter(texts)
    assert [blocks(part) for part in parts] == [whole[0::4], whole[1::4], whole[2:3], whole[3:4]]
    assert Shard(2, 3).texts(["a", "b"]) == []  # fewer than a block: the first part encodes them


def test_shards_are_read_from_one_to_n() -> None:
    assert Shard.parse("3/17") == Shard(3, 17)
    for text in ("0/1", "2/1", "1/", "1", "", " 1/2", "1/2 ", "1.0/2"):
        with pytest.raises(InputError, match="expected I/N with I from 1 to N"):
            Shard.parse(text)
