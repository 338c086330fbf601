"""Tables that wait on disk."""

import tempfile
from pathlib import Path

import numpy as np
import pytest

from consistency.data.spool import Spool, spooled, whole_groups
from consistency.data.tables import open_table
from consistency.errors import InputError, StorageError


def test_what_is_appended_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts of any kind, missing cells, and the exact numbers; nothing stays in the temporary folder."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    texts = ["#바다", "", "a\0b", "\ud800", None, "😀", "#바다"]
    numbers = np.array([3, 1, 2, 2**62, -1, 0, 7])
    values = [0.1, None, np.pi, 1e-300, -0.0, 2.0, 3.0]
    with Spool() as spool:
        spool.create("given", {"number": "BIGINT", "text": "BLOB", "value": "DOUBLE", "known": "BOOLEAN"})
        for part in (slice(0, 3), slice(3, 7)):
            known = [True, None, False, True, True, False, None][part]
            spool.append("given", {"number": numbers[part], "text": texts[part], "value": values[part], "known": known})
        spool.seal("given")
        found = list(spool.batches("SELECT * FROM given ORDER BY number", size=4))
        assert spool.one("SELECT count(*) FROM given WHERE number > ?", 2) == (3,)
        assert len(list(tmp_path.rglob("given.parquet"))) == 1
        spool.drop("given")
        assert not list(tmp_path.rglob("given.parquet"))
    order = np.argsort(numbers)
    assert [cell for batch in found for cell in batch["text"]] == [texts[at] for at in order]
    assert [cell for batch in found for cell in list(batch["value"])] == [values[at] for at in order]
    assert [cell for batch in found for cell in batch["known"]] == [
        [True, None, False, True, True, False, None][at] for at in order
    ]
    assert np.concatenate([batch["number"] for batch in found]).tolist() == sorted(numbers.tolist())
    assert not any(tmp_path.iterdir())


def test_a_table_is_spooled_beyond_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text("Image Filename,Hashtag\n" + "a.png,b\n" * 9)
    table = open_table(path)
    assert table.most_rows in (10, 11)  # lines
    assert spooled(table, 11) == (False, None)
    assert spooled(table, 9) == (True, None)
    monkeypatch.setattr("consistency.data.spool.find_spec", lambda name: None)
    large, note = spooled(table, 9)
    assert not large
    assert note is not None
    assert "koclip-consistency[tables]" in note
    with pytest.raises(InputError, match=r"koclip-consistency\[tables\]"):
        Spool()


def test_a_full_disk_is_an_error_of_the_storage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consistency.data.spool.MEMORY", "16MB")
    with Spool() as spool:
        spool.run("SET max_temp_directory_size = '1MB'")
        with pytest.raises(StorageError, match="TMPDIR"):
            spool.run("CREATE TABLE t AS SELECT i, hash(i) AS h FROM range(4000000) r(i) ORDER BY h")


def test_rows_are_appended_while_a_query_is_read() -> None:
    with Spool() as spool:
        spool.run("CREATE TABLE asked AS SELECT range AS place, hash(range) AS mixed FROM range(100000)")
        spool.create("answers", {"place": "BIGINT"})
        for batch in spool.batches("SELECT place FROM asked ORDER BY mixed"):
            spool.append("answers", {"place": batch["place"]})
        spool.seal("answers")
        found = np.concatenate([batch["place"] for batch in spool.batches("SELECT * FROM answers")])
        mixed = np.concatenate([batch["place"] for batch in spool.batches("SELECT place FROM asked ORDER BY mixed")])
    np.testing.assert_array_equal(found, mixed)
    np.testing.assert_array_equal(np.sort(found), np.arange(100_000))


def test_texts_by_number() -> None:
    with Spool() as spool:
        spool.create("tags", {"number": "BIGINT", "cell": "BLOB"})
        spool.append("tags", {"number": [4, 0, 9], "cell": ["바다", "", "\ud800"]})
        spool.seal("tags")
        assert spool.texts("tags", np.array([9, 4, 4, 0])).tolist() == ["\ud800", "바다", "바다", ""]
        assert spool.texts("tags", np.array([], np.int64)).tolist() == []


def test_groups_are_cut_at_their_ends() -> None:
    """For every size of batches and parts, a batch ends at the first end of a group from `size` rows on."""
    rng = np.random.default_rng(0)
    first = np.repeat(np.arange(20), rng.integers(1, 6, 20))
    rows = {"first": first, "image": [f"{post}.png" for post in first]}
    ends = [*(np.flatnonzero(np.diff(first)) + 1).tolist(), len(first)]
    for size in (1, 4, 7, 1000):
        expected, start = [], 0
        while start < len(first):
            stop = next((end for end in ends if end >= start + size), len(first))
            expected.append(first[start:stop].tolist())
            start = stop
        for part in (1, 3, 8, 500):
            parts = [
                {name: column[at : at + part] for name, column in rows.items()} for at in range(0, len(first), part)
            ]
            found = list(whole_groups(parts, size, "first"))
            assert [batch["first"].tolist() for batch in found] == expected
            assert [batch["image"] for batch in found] == [[f"{p}.png" for p in post] for post in expected]
    assert list(whole_groups([], 5, "first")) == []
