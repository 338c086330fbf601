"""Finished jobs survive a kill in the middle of a line, and belong to one grid."""

from pathlib import Path

import pytest

from consistency.errors import InputError
from heads.record import Record


def test_a_line_cut_short_is_dropped_and_the_rest_stays(tmp_path: Path) -> None:
    path = tmp_path / "state.jsonl"
    first = Record(path, "grid")
    first.add({3: {"merit": [0.1, 0.2]}, 4: {"merit": []}})
    whole = path.read_bytes()
    with path.open("ab") as file:
        file.write(b'{"5": {"merit": [0.')
    again = Record(path, "grid")
    assert again.curves == first.curves == {3: {"merit": [0.1, 0.2]}, 4: {"merit": []}}
    assert path.read_bytes() == whole
    again.add({5: {"merit": [0.3]}})
    assert Record(path, "grid").curves[5] == {"merit": [0.3]}


def test_without_a_path_nothing_is_written(tmp_path: Path) -> None:
    record = Record(None, "grid")
    record.add({0: {"merit": [1.0]}})
    assert record.curves == {0: {"merit": [1.0]}}
    assert list(tmp_path.iterdir()) == []


def test_the_record_of_another_grid_is_refused(tmp_path: Path) -> None:
    Record(tmp_path / "state.jsonl", "one")
    with pytest.raises(InputError, match="belongs to another grid or to other data"):
        Record(tmp_path / "state.jsonl", "other")
