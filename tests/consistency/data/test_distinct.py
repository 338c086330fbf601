"""Distinct values are numbered in the order in which they first appear."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from consistency.data.distinct import number_distinct


@given(st.lists(st.one_of(st.integers(0, 5), st.text(max_size=1)), max_size=30))
def test_numbers_follow_first_appearance(values: list[object]) -> None:
    firsts, index = number_distinct(values)
    order = list(dict.fromkeys(values))
    assert [values[first] for first in firsts] == order
    assert index.tolist() == [order.index(value) for value in values]
    assert firsts.tolist() == [values.index(value) for value in order]
    assert firsts.dtype == index.dtype == np.int64
