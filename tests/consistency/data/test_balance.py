"""Whole groups are chosen so that every score has its share."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consistency.data.balance import choose_groups, scores_per_group


def test_scores_are_counted_by_group_in_order_of_appearance() -> None:
    groups = np.array(["b", "a", "b", "c"], dtype=object)
    counts, index = scores_per_group(np.array([4, 0, 4, 2]), groups)
    assert index.tolist() == [0, 1, 0, 2]
    assert counts.tolist() == [[0, 0, 0, 0, 2], [1, 0, 0, 0, 0], [0, 0, 1, 0, 0]]


@settings(deadline=None, max_examples=40)
@given(
    rows=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9)), min_size=2, max_size=60),
    fraction=st.sampled_from([0.1, 0.2, 0.5, 0.9]),
    spare=st.integers(1, 3),
    seed=st.integers(0, 9),
)
def test_some_groups_are_chosen_and_some_are_left(
    rows: list[tuple[int, int]], fraction: float, spare: int, seed: int
) -> None:
    labels, groups = (np.array(column) for column in zip(*rows, strict=True))
    counts, _ = scores_per_group(labels, groups.astype(object))
    if len(counts) <= spare:
        return
    chosen = choose_groups(counts, fraction, np.random.default_rng(seed), spare=spare)
    assert 1 <= len(chosen) <= len(counts) - spare
    assert len(set(chosen.tolist())) == len(chosen)
    again = choose_groups(counts, fraction, np.random.default_rng(seed), spare=spare)
    assert chosen.tolist() == again.tolist()


@pytest.mark.parametrize("seed", range(5))
def test_no_exchange_of_two_groups_is_better(seed: int) -> None:
    """Against a plain search over all exchanges."""
    counts = np.random.default_rng(seed).integers(0, 6, (14, 5))
    counts[:, 0] += 1
    chosen = set(choose_groups(counts, 0.3, np.random.default_rng(seed), spare=1).tolist())
    all_counts = np.column_stack([counts, counts.sum(axis=1)]).astype(float)
    target = 0.3 * all_counts.sum(axis=0)

    def misfit(groups: set[int]) -> float:
        return float(((all_counts[sorted(groups)].sum(axis=0) - target) ** 2 / np.maximum(target, 1)).sum())

    here = misfit(chosen)
    for leave in chosen:
        for enter in set(range(14)) - chosen:
            assert misfit(chosen - {leave} | {enter}) >= here - 1e-6
