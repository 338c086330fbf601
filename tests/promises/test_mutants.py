"""The planted faults of mutants.toml can be planted, and each promise of SECURITY.md has some."""

import re

from tests.promises.mutants import ROOT, read_mutants


def test_each_fault_can_be_planted() -> None:
    counts = {each: (ROOT / each.file).read_text(encoding="utf-8").count(each.before) for each in read_mutants()}
    assert [f"{count} times: {each}" for each, count in counts.items() if count != 1] == []
    assert [name for each in counts for name in each.tests.split() if not (ROOT / name).exists()] == []


def test_each_promise_is_broken_on_purpose() -> None:
    """By faults that must fail the tests named beside the promise."""
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\| ([^|]+) \| [^|]+ \| ([^|]*`tests/[^|]*) \|$", text, re.M)
    named = {promise: set(re.findall(r"`(tests/[^`]+)`", tests)) for promise, tests in lines}
    found = [each for each in read_mutants() if each.promise]
    assert named.keys() == {each.promise for each in found}
    assert [str(each) for each in found if not set(each.tests.split()) <= named[each.promise]] == []
