"""The options of every command: names that do not collide, text for each, bounds that hold their defaults."""

from typing import Any

import pytest

from consistency import options
from consistency.options import Display, places

COMMANDS = [getattr(options, name) for name in options.__all__ if name.endswith("Options")]


@pytest.mark.parametrize("kind", COMMANDS, ids=lambda kind: kind.__name__)
def test_every_option_of_a_command_can_be_told_and_read(kind: type[Any]) -> None:
    found = [*places(kind), *places(Display)]
    names, flags = [place.name for place in found], [place.flag for place in found if not place.option.argument]
    assert len(set(names)) == len(names)
    assert len(set(flags)) == len(flags)
    for place in found:
        option = place.option
        assert option.help.endswith((".", "..."))
        assert option.help[0].isupper() or option.help.startswith(("...", "grouped:"))
        if option.low is not None and isinstance(place.default, int | float):
            assert option.low <= place.default
        if option.high is not None and isinstance(place.default, int | float):
            assert place.default <= option.high
        for other in (*option.excludes, *([option.needs] if option.needs else [])):
            assert other in names, f"{place.name} speaks of {other}"
