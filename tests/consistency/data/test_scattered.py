"""Numbers in any order come back in the order of their rows."""

from pathlib import Path

import numpy as np
import pytest

from consistency.data import scattered as module
from consistency.data.scattered import Scattered


@pytest.mark.parametrize(("part", "most"), [(7, 1000), (1, 3), (1000, 1000)])
def test_cells_are_read_in_the_order_of_their_rows(
    tmp_path: Path, part: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PART", part)
    monkeypatch.setattr(module, "MOST_PARTS", most)
    n, rng = 50, np.random.default_rng(0)
    known = {"a": rng.normal(size=n), "b": np.arange(n, dtype=float)}
    given = rng.permutation(n)[:41]  # the others stay unknown
    rows = Scattered(tmp_path / "rows", ["a", "b"], n)
    for some in np.array_split(given, 6):
        rows.put(some, {name: column[some] for name, column in known.items()})
    expected = {name: np.where(np.isin(np.arange(n), given), column, np.nan) for name, column in known.items()}
    for _ in range(2):
        found = list(rows.parts())
        assert len(found) <= max(most, -(-n // part))
        assert [start for start, _ in found] == np.cumsum([0, *(len(each["a"]) for _, each in found)])[:-1].tolist()
        for name, column in expected.items():
            np.testing.assert_array_equal(np.concatenate([each[name] for _, each in found]), column)


def test_no_rows(tmp_path: Path) -> None:
    assert list(Scattered(tmp_path / "rows", ["a"], 0).parts()) == []
