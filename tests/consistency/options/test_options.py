"""Options reach every place from one field: --help, the environment, koclip.toml, run.json, --resume and rerun."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import click
import pytest
from click.testing import CliRunner, Result

from consistency.options import Output, RerunOptions, SimilarityOptions, option, record
from consistency.runs.read import read_info, read_options
from koclip_consistency.screen.command import command
from koclip_consistency.workflows import rerun
from koclip_consistency.workflows.similarity import run_similarity
from tests.builders.commands import data_options


@dataclass(frozen=True)
class ToyOptions(SimilarityOptions):
    """`similarity` with one option more: this field is all that an option takes."""

    flavour: Literal["plain", "sweet"] = option("plain", "How it tastes.", group="Taste", env="KOCLIP_FLAVOUR")
    output: Output = record(Output)


@pytest.fixture
def toy() -> tuple[click.Group, list[ToyOptions]]:
    app, seen = click.Group("app"), list[ToyOptions]()

    @command(app, "similarity", ToyOptions, "--flavour sweet")
    def similarity(options: ToyOptions, screen: Any) -> None:
        """A toy."""
        seen.append(options)

    return app, seen


def ran(app: click.Group, *arguments: object, env: dict[str, str] | None = None) -> Result:
    result = CliRunner().invoke(app, ["similarity", *map(str, arguments)], env=env)
    assert result.exit_code == 0, result.output
    return result


def test_help_shows_it_in_its_group_with_default_and_variable(toy: tuple[click.Group, list[ToyOptions]]) -> None:
    text = " ".join(ran(toy[0], "--help").output.split())
    assert "Taste: --flavour [plain|sweet] How it tastes. [default: plain; env: KOCLIP_FLAVOUR]" in text
    assert text.endswith("similarity --flavour sweet")


def test_option_before_environment_before_file_before_default(
    toy: tuple[click.Group, list[ToyOptions]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, seen = toy
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KOCLIP_RUNS", raising=False)
    ran(app)
    Path("koclip.toml").write_text('flavour = "sweet"\nruns = "elsewhere"\n')
    ran(app)
    ran(app, env={"KOCLIP_FLAVOUR": "plain"})
    ran(app, "--flavour", "sweet", env={"KOCLIP_FLAVOUR": "plain"})
    Path("other.toml").write_text('flavour = "sweet"\n[similarity]\nflavour = "plain"\nseed = 7\nmethod = ["exact"]\n')
    ran(app, "--config", "other.toml")
    assert [options.flavour for options in seen] == ["plain", "sweet", "plain", "sweet", "plain"]
    assert [str(options.output.runs) for options in seen] == ["runs", "elsewhere", "elsewhere", "elsewhere", "runs"]
    assert (seen[-1].evaluation.seed, seen[-1].methods) == (7, ("exact",))


def test_run_json_and_rerun_have_it(small_demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def run_toy(options: ToyOptions, reporter: Any) -> Any:
        seen.append(options.flavour)
        return run_similarity(options, reporter)

    monkeypatch.setitem(rerun.REPEATABLE, "similarity", (ToyOptions, run_toy))
    data = dict(zip(*[iter(map(str, data_options(small_demo, tmp_path)))] * 2, strict=True))
    options = ToyOptions(flavour="sweet", methods=("exact",))
    options = replace(
        options,
        source=replace(options.source, data=Path(data["--data"]), images=Path(data["--images"])),
        encoding=replace(options.encoding, backbone="tiny", cache=Path(data["--cache"])),
        output=Output(out=tmp_path / "run"),
    )
    run_similarity(options)
    info = read_info(tmp_path / "run")
    assert info["config"]["flavour"] == "sweet"
    assert read_options(tmp_path / "run.json", info["config"], ToyOptions) == options
    found = rerun.rerun(RerunOptions(run_dir=tmp_path / "run", output=Output(out=tmp_path / "again")))
    assert found.identical
    assert seen == ["sweet"]
    assert json.loads((tmp_path / "again" / "run.json").read_text())["config"]["flavour"] == "sweet"
