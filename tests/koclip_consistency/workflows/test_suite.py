"""Suites of runs: what is finished is not run again, and another plan never continues in the same folder."""

from pathlib import Path

import pytest

from consistency.errors import InputError
from consistency.options import Output
from koclip_consistency.workflows.suite import PLAN, Step, close_suite, notes_of, open_suite, run_steps
from koclip_consistency.workflows.trial import Outcome
from tests.builders.results import make_result, write_run

CONFIG = {"seed": 1, "output": {"out": "x"}}


def test_the_same_plan_continues_and_another_is_moved_aside(tmp_path: Path) -> None:
    out = Output(out=tmp_path / "suite")
    first = open_suite(out, command="paper", backbone="tiny", config=CONFIG, digests={"data_digest": "a"})
    (first.path / "work").write_text("kept")
    again = open_suite(
        out, command="paper", backbone="tiny", config={**CONFIG, "output": {}}, digests={"data_digest": "a"}
    )
    assert (again.path / "work").read_text() == "kept"
    resume = Output(resume=tmp_path / "suite")
    assert (
        open_suite(resume, command="paper", backbone="tiny", config=CONFIG, digests={"data_digest": "a"}).path
        == first.path
    )
    with pytest.raises(InputError, match="other options or other data"):
        open_suite(resume, command="paper", backbone="tiny", config=CONFIG, digests={"data_digest": "b"})
    other = open_suite(out, command="paper", backbone="tiny", config={"seed": 2}, digests={"data_digest": "a"})
    assert not (other.path / "work").exists()
    assert (tmp_path / "suite.1" / "work").read_text() == "kept"


def test_finished_steps_are_not_run_again(tmp_path: Path) -> None:
    folder = open_suite(Output(out=tmp_path / "suite"), command="paper", backbone="tiny", config=CONFIG)
    ran: list[str] = []

    def step(name: str) -> Step:
        def work(out: Path) -> Outcome:
            ran.append(name)
            write_run(out, [make_result(name)], details={"division": {"notes": ["few", name]}})
            return Outcome(out, (), ())

        return Step(name, work)

    said: list[str] = []
    run_steps(folder, [step("one")], said.append)
    done = run_steps(folder, [step("one"), step("two")], said.append)
    assert ran == ["one", "two"]
    assert said == ["[1/1] one", "[1/2] one: already there", "[2/2] two"]
    assert notes_of(done) == ("few", "one", "two")
    assert [step.seconds for step in done] == [1.5, 1.5]
    close_suite(folder, 1, done)
    assert (folder.path / "run.json").is_file()
    assert (folder.path / PLAN).is_file()


def test_an_interrupted_step_says_how_the_suite_continues(tmp_path: Path) -> None:
    folder = open_suite(Output(out=tmp_path / "suite"), command="paper", backbone="tiny", config=CONFIG)

    def work(out: Path) -> Outcome:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        run_steps(folder, [Step("one", work)], lambda line: None)
    assert caught.value.__notes__ == [f"--out {folder.path}"]
