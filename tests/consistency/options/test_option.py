"""Records of options become plain values and come back, for every command; what is not known is refused."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consistency import options
from consistency.errors import InputError
from consistency.options import (
    DemoOptions,
    Encoding,
    FinetuneOptions,
    HeadsOptions,
    Output,
    Source,
    as_config,
    build,
    from_config,
    places,
    typed,
)

COMMANDS = [getattr(options, name) for name in options.__all__ if name.endswith("Options")]


@pytest.mark.parametrize("kind", COMMANDS, ids=lambda kind: kind.__name__)
def test_every_command_comes_back_from_its_config(kind: type[Any]) -> None:
    record = build(kind, {place.name: Path("given") for place in places(kind) if place.hint is Path})
    config = json.loads(json.dumps(as_config(record)))
    assert from_config(kind, config) == record
    recorded = {place.path for place in places(kind) if place.option.recorded}
    assert paths_of(config, {f.name for f in fields(kind) if "without" in f.metadata}) == recorded


def paths_of(config: dict[str, Any], shared: set[str]) -> set[tuple[str, ...]]:
    found: set[tuple[str, ...]] = set()
    for name, value in config.items():
        found |= {(name, inside) for inside in value} if name in shared else {(name,)}
    return found


def test_a_command_records_the_options_it_has_and_no_others() -> None:
    config = as_config(FinetuneOptions())
    assert {"cache", "store", "extract", "batch_size"}.isdisjoint(config["encoding"])
    assert set(as_config(DemoOptions())["encoding"]) == {"cache", "device", "threads"}
    assert "resume" not in as_config(HeadsOptions())["output"]


@given(
    st.sampled_from(["epochs", "lora", "patience"]),
    st.integers(1, 10**6),
    st.sampled_from([None, 3, "image", "text"]),
    st.booleans() | st.none(),
)
def test_options_that_were_chosen_come_back(name: str, number: int, freeze: Any, refit: Any) -> None:
    source = Source(data=Path("표.csv"), score_map={"low": 1, "high": 5})
    chosen: dict[str, Any] = {name: number, "freeze": freeze, "refit": refit}
    record = FinetuneOptions(source=source, output=Output(out=Path("a b")), **chosen)
    assert from_config(FinetuneOptions, json.loads(json.dumps(as_config(record)))) == record


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"colour": 1}, "no option colour"),
        ({"grid": None}, "None is recorded where bool was expected"),
        ({"ensemble": "2"}, "'2' is recorded where int was expected"),
        ({"ensemble": True}, "True is recorded where int was expected"),
        ({"encoding": 7}, "expected an object"),
        ({"output": {"out": None, "runs": ["a"]}}, "is recorded where Path was expected"),
        ({"preset": "book"}, "'book' is recorded"),
    ],
)
def test_what_no_version_recorded_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        from_config(HeadsOptions, {**as_config(HeadsOptions()), **change})


def test_a_missing_option_is_named_unless_defaults_are_asked_for() -> None:
    config = as_config(HeadsOptions())
    del config["ensemble"], config["encoding"]["store"]
    with pytest.raises(InputError, match="ensemble is not recorded"):
        from_config(HeadsOptions, config)
    assert from_config(HeadsOptions, config, complete=False) == HeadsOptions()
    with pytest.raises(InputError, match="does not have it"):
        from_config(FinetuneOptions, {**as_config(FinetuneOptions()), "encoding": {"cache": "x"}})


def test_build_fills_records_by_option_name_and_keeps_the_rest() -> None:
    base = HeadsOptions(ensemble=3, encoding=Encoding(backbone="tiny"), output=Output(resume=Path("r")))
    built = build(HeadsOptions, {"grid": True, "device": "cpu", "encoding": "cp949"}, base=base)
    assert (built.grid, built.ensemble, built.output.resume) == (True, 3, Path("r"))
    assert (built.encoding.backbone, built.encoding.device) == ("tiny", "cpu")
    assert built.source.encoding == "cp949"  # of the CSV


@pytest.mark.parametrize("value", [1, 1.5, "a", None, True, [1], {"a": 1}])
@pytest.mark.parametrize(
    "hint", [int, float, str, bool, Path, int | None, Literal["a", "b"] | None, tuple[str, ...], int | Literal["auto"]]
)
def test_a_value_of_another_type_never_passes(hint: Any, value: Any) -> None:
    try:
        found = typed(hint, value)
    except InputError:
        return
    assert found == value or found == Path("a")
    assert isinstance(found, bool) == isinstance(value, bool)
