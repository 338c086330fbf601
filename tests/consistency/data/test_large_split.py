"""Values that are counted part by part; the split itself is compared in tests of the workflow `large_similarity`."""

import numpy as np
import pytest

from consistency.data.large_split import grouped_values
from consistency.data.spool import Spool


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_values_are_counted_across_parts(size: int) -> None:
    rng = np.random.default_rng(0)
    values, scores = rng.integers(0, 8, 60) / 8, rng.integers(1, 6, 60)
    with Spool() as spool:
        spool.create("given", {"value": "DOUBLE", "score": "TINYINT"})
        spool.append("given", {"value": values, "score": scores})
        spool.seal("given")
        found = list(grouped_values(spool.batches("SELECT * FROM given ORDER BY value", size=size)))
    distinct = np.unique(values)
    np.testing.assert_array_equal(np.concatenate([each for each, _ in found]), distinct)
    expected = [[int(((values == value) & (scores == score)).sum()) for score in range(1, 6)] for value in distinct]
    np.testing.assert_array_equal(np.concatenate([counts for _, counts in found]), expected)


def test_no_values() -> None:
    assert list(grouped_values(iter(()))) == []
