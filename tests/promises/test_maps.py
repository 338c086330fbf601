"""The maps of `explain` find what a hashtag is about; 80 images are measured by `python -m benchmarks.explain`."""

import numpy as np

from benchmarks.explain import ATTENTION, FIXED, measure


def test_maps_of_two_hashtags_tell_two_objects_apart_and_order_patches_better_than_a_fixed_place() -> None:
    figures = measure(seed=1, images=16, names=(ATTENTION, FIXED))
    assert len(figures[ATTENTION].a_vs_b) == 16
    assert np.mean(figures[ATTENTION].a_vs_b) > 0.6
    assert np.mean(figures[FIXED].a_vs_b) == 0.5
    gaps, fixed = (np.array(figures[name].gaps) for name in (ATTENTION, FIXED))
    assert (gaps.mean(axis=0) > fixed.mean(axis=0) + 0.1).all()
    assert (gaps.mean(axis=1) > fixed.mean(axis=1)).mean() > 0.8
