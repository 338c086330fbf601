"""The seconds of each step are told and added up."""

import time

from koclip_consistency.workflows.clock import Clock


def test_laps_of_a_step_are_added_up() -> None:
    said: list[str] = []
    clock, started = Clock(said.append), time.perf_counter()
    for step in ("read", "encode", "read"):
        time.sleep(0.02)
        clock.lap(step)
    assert list(clock.seconds) == ["read", "encode"]
    assert clock.seconds["read"] >= 0.04
    assert sum(clock.seconds.values()) <= time.perf_counter() - started + 0.002  # each is rounded to a thousandth
    assert [line.partition(":")[0] for line in said] == ["read", "encode", "read"]
