"""Several runs under one folder, each skipped where it is already finished: what `demo` and `paper` are made of."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consistency.data.pairs import Skipped
from consistency.runs.folder import RunFolder
from consistency.runs.read import Run, read_run
from koclip_consistency.workflows.trial import BOOTSTRAP_SEED, Outcome, resumable

PLAN = "plan.json"


@dataclass(frozen=True)
class Step:
    """One run: `work` gets the folder to write."""

    name: str
    work: Callable[[Path], Outcome]


@dataclass(frozen=True, eq=False)
class Done:
    """A finished run of a suite."""

    name: str
    run: Run

    @property
    def seconds(self) -> float:
        """What the run took, whenever that was."""
        return round(sum(self.run.info["timings"].values()), 3)


def open_suite(out: Path | None, *, runs: Path, command: str, backbone: str, plan: Mapping[str, Any]) -> RunFolder:
    """The folder of a suite; an unfinished or finished one of the same plan is continued, not moved aside."""
    text = json.dumps(plan, ensure_ascii=False, indent=2, sort_keys=True)
    if out is not None and (out / PLAN).is_file() and (out / PLAN).read_bytes() == text.encode():
        return RunFolder.at(out, command=command, backbone=backbone)
    folder = RunFolder.create(out, runs=runs, command=command, backbone=backbone)
    folder.write_file(PLAN, text.encode())
    return folder


def run_steps(folder: RunFolder, steps: Sequence[Step], say: Callable[[str], None]) -> list[Done]:
    done = []
    for number, step in enumerate(steps, 1):
        path = folder.path / step.name
        if (path / "run.json").is_file():
            say(f"[{number}/{len(steps)}] {step.name}: already there")
        else:
            say(f"[{number}/{len(steps)}] {step.name}")
            with resumable("--out", folder.path):
                step.work(path)
        done.append(Done(step.name, read_run(path)))
    return done


def notes_of(done: Sequence[Done]) -> tuple[str, ...]:
    """What the runs say of who was tested on what, once: all of a suite divide the table alike."""
    return tuple(dict.fromkeys(note for step in done for note in step.run.config["division"]["notes"]))


def skipped_of(done: Sequence[Done]) -> tuple[Skipped, ...]:
    """What any of the runs left out, once."""
    return tuple(dict.fromkeys(skipped for step in done for skipped in step.run.skipped))


def close_suite(folder: RunFolder, plan: Mapping[str, Any], seed: int, done: Sequence[Done]) -> None:
    """skipped.csv and run.json of the suite: what its runs left out, its plan, and the seconds of each run."""
    folder.write_skipped(skipped_of(done))
    info = done[0].run.info
    folder.finish(
        plan,
        seeds={"seed": seed, "bootstrap": BOOTSTRAP_SEED},
        data_digest=info["data_digest"],
        pictures_digest=info.get("pictures_digest"),
        fingerprint=None,
        timings={step.name: step.seconds for step in done},
    )
