"""Fields as click parameters: types, bounds and what help says of defaults."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import click
import pytest

from consistency.options import option, places
from koclip_consistency.screen.parameters import parameter_of


@dataclass(frozen=True)
class Options:
    switch: bool = option(True, "A switch.", flag="--switch/--no-switch")
    chosen: bool | None = option(None, "Unset, on or off.", flag="--chosen", default_text="off")
    words: tuple[Literal["a", "b"], ...] = option(("a", "b"), "Words.", flag="--word", paper=("a",))
    number: int = option(3, "A number.", low=1, high=9)
    share: float | None = option(None, "A share.", low=0, high=1, open_low=True)
    size: int | Literal["auto"] = option("auto", "A size.", low=1)
    limit: int | None = option(None, "A limit.", low=0, bare=8)
    place: Path = option(Path("x"), "A place.", env="PLACE")
    files: tuple[Path, ...] = option((), "Files.", argument=True, required=True)


@pytest.fixture
def command() -> click.Command:
    found: dict[str, Any] = {}
    return click.Command("c", params=list(map(parameter_of, places(Options))), callback=lambda **v: found.update(v))


def parsed(command: click.Command, *arguments: str) -> dict[str, Any]:
    return command.make_context("c", ["file", *arguments]).params


def test_defaults_are_those_of_the_fields(command: click.Command) -> None:
    values = parsed(command)
    assert values == {
        "switch": True, "chosen": None, "words": ("a", "b"), "number": 3, "share": None, "size": "auto", "limit": None,
        "place": Path("x"), "files": (Path("file"),),
    }  # fmt: skip


def test_values_are_typed(command: click.Command) -> None:
    values = parsed(command, "--no-switch", "--chosen", "--word", "b", "--size", "7", "--limit", "--share", "0.5")
    assert (values["switch"], values["chosen"], values["words"], values["size"]) == (False, True, ("b",), 7)
    assert (values["limit"], values["share"]) == (8, 0.5)
    assert parsed(command, "--limit", "3")["limit"] == 3


@pytest.mark.parametrize(
    "arguments", [("--number", "10"), ("--share", "0"), ("--size", "0"), ("--size", "big"), ("--word", "c")]
)
def test_values_out_of_bounds_are_refused(command: click.Command, arguments: tuple[str, str]) -> None:
    with pytest.raises(click.BadParameter, match=arguments[1]):
        parsed(command, *arguments)


def test_help_says_the_default_in_words(command: click.Command) -> None:
    helps = {parameter.name: parameter.help for parameter in command.params if isinstance(parameter, click.Option)}
    assert helps["switch"] == "A switch.  [default: switch]"
    assert helps["chosen"] == "Unset, on or off.  [default: off]"
    assert helps["words"] == "Words.  [default: a, b; a with --preset paper]"
    assert helps["place"] == "A place.  [default: x; env: PLACE]"
    assert helps["share"] == "A share."


def test_a_required_option_must_be_given() -> None:
    @dataclass(frozen=True)
    class Needs:
        file: Path = option(None, "A file.", flag="-o --output", required=True)

    needs = click.Command("c", params=list(map(parameter_of, places(Needs))))
    with pytest.raises(click.MissingParameter):
        needs.make_context("c", [])
    assert needs.make_context("c", ["-o", "x"]).params == {"file": Path("x")}
