"""Option records from keyword arguments."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from consistency.errors import InputError
from consistency.options import Encoding, Evaluation, Source
from koclip_consistency.keywords import record_of


@dataclass(frozen=True)
class Variable:
    """As much of an option as names its environment variable."""

    env: str | None = None


@dataclass(frozen=True)
class Record:
    folder: Path = field(default=Path("a"), metadata={"option": Variable("TOY_FOLDER")})
    other: Path | None = None
    name: str = field(default="b", metadata={"option": Variable()})


def test_nothing_given_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("KOCLIP_DATA", "KOCLIP_IMAGES", "KOCLIP_CACHE", "KOCLIP_BACKBONE"):
        monkeypatch.delenv(variable, raising=False)
    for kind in (Source, Encoding, Evaluation):
        assert record_of(kind, {}) == kind()
    assert record_of(Encoding, {"backbone": None, "cache": "elsewhere"}) == Encoding(cache=Path("elsewhere"))


def test_an_option_that_can_be_repeated_takes_one_value_or_several() -> None:
    assert record_of(Encoding, {"templates": "{}의 사진"}).templates == ("{}의 사진",)
    assert record_of(Encoding, {"templates": ["{}의 사진", "{}"]}).templates == ("{}의 사진", "{}")


def test_what_is_given_wins_over_the_environment_and_that_over_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOY_FOLDER", "from the environment")
    assert record_of(Record, {}) == Record(Path("from the environment"))
    assert record_of(Record, {"folder": None}) == Record(Path("from the environment"))
    assert record_of(Record, {"folder": "given", "other": "x", "name": "y"}) == Record(Path("given"), Path("x"), "y")
    monkeypatch.setenv("TOY_FOLDER", "")
    assert record_of(Record, {}) == Record()


def test_an_unknown_option_names_those_there_are() -> None:
    with pytest.raises(InputError, match="there is no option colour, shape: expected some of folder, other, name"):
        record_of(Record, {"shape": 1, "colour": 2})
