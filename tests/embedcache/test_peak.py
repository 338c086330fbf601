"""The peak of memory is that since the measurement began."""

import sys

import numpy as np
import pytest

from embedcache.peak import peak_megabytes, start_peak


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak of a process")
def test_the_peak_counts_what_was_freed_and_forgets_what_was_before() -> None:
    def use(megabytes: int) -> None:
        assert np.ones(megabytes * 125_000).sum() > 0  # 8 bytes each

    start_peak()
    before = peak_megabytes()
    assert before is not None
    use(300)
    peak = peak_megabytes()
    assert peak is not None
    assert 290 < peak - before < 350
    start_peak()
    after = peak_megabytes()
    assert after is not None
    assert after < peak - 200
