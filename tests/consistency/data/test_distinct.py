"""Distinct values are numbered in the order in which they first appear, and groups are joined."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from consistency.data.distinct import join_groups, members_of, number_distinct


@given(st.lists(st.one_of(st.integers(0, 5), st.text(max_size=1)), max_size=30))
def test_numbers_follow_first_appearance(values: list[object]) -> None:
    firsts, index = number_distinct(values)
    order = list(dict.fromkeys(values))
    assert [values[first] for first in firsts] == order
    assert index.tolist() == [order.index(value) for value in values]
    assert firsts.tolist() == [values.index(value) for value in order]
    assert firsts.dtype == index.dtype == np.int64


def test_members_are_listed_by_number() -> None:
    assert [rows.tolist() for rows in members_of(np.array([0, 1, 0, 2, 1]))] == [[0, 2], [1, 4], [3]]


@settings(deadline=None)  # the first call imports SciPy
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=14))
def test_joined_groups_follow_chains(rows: list[tuple[int, int]]) -> None:
    one, other = (np.array([row[at] for row in rows], dtype=object) for at in (0, 1))
    together = [{row} for row in range(len(rows))]
    for _ in rows:  # until nothing changes, without a library
        together = [
            {b for a in same for b in range(len(rows)) if rows[a][0] == rows[b][0] or rows[a][1] == rows[b][1]}
            for same in together
        ]
    assert join_groups(one, other).tolist() == [one[min(same)] for same in together]
