"""Several runs in one folder, for `demo` and `paper`. Runs that are already finished are not repeated."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consistency.data.pairs import Skipped
from consistency.errors import InputError
from consistency.evaluation.intervals import BOOTSTRAP_SEED
from consistency.options import Output
from consistency.runs.folder import RunFolder
from consistency.runs.read import Run, read_run
from koclip_consistency.workflows.trial import Outcome, resumable

PLAN = "plan.json"


@dataclass(frozen=True)
class Step:
    """One run; `work` takes the folder to write to."""

    name: str
    work: Callable[[Path], Outcome]


@dataclass(frozen=True, eq=False)
class Done:
    """A finished run of the folder."""

    name: str
    run: Run

    @property
    def seconds(self) -> float:
        """Duration of the run."""
        return round(sum(self.run.info["timings"].values()), 3)


def open_suite(
    output: Output, *, command: str, backbone: str, config: Mapping[str, Any], digests: Mapping[str, str] | None = None
) -> RunFolder:
    """Open the folder of several runs; a folder with the same options and data is continued, not moved aside.

    Raises
    ------
    InputError
        If the folder of `--resume` was begun with other options or data.
    """
    plan = {name: value for name, value in config.items() if name != "output"} | {**(digests or {})}
    text = json.dumps(plan, ensure_ascii=False, indent=2, sort_keys=True).encode()
    here = output.resume or output.out
    if here is not None and (here / PLAN).is_file():
        if (here / PLAN).read_bytes() == text:
            return RunFolder.at(here, command=command, backbone=backbone, config=config)
        if output.resume is not None:
            raise InputError(f"{here} began with other options or other data: resume it with the same ones")
    folder = RunFolder.open(output, command=command, backbone=backbone, config=config)
    folder.write_file(PLAN, text)
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
    """The notes of the runs about splits and leakage, each once."""
    return tuple(dict.fromkeys(note for step in done for note in step.run.detail("division", "notes")))


def skipped_of(done: Sequence[Done]) -> tuple[Skipped, ...]:
    """Rows and images that any of the runs left out, each once."""
    return tuple(dict.fromkeys(skipped for step in done for skipped in step.run.skipped))


def close_suite(folder: RunFolder, seed: int, done: Sequence[Done]) -> None:
    """Write skipped.csv and run.json of the folder: what its runs left out, and the duration of each."""
    folder.write_skipped(skipped_of(done))
    info = done[0].run.info
    folder.finish(
        {},
        seeds={"seed": seed, "bootstrap": BOOTSTRAP_SEED},
        data_digest=info["data_digest"],
        pictures_digest=info.get("pictures_digest"),
        fingerprint=None,
        timings={step.name: step.seconds for step in done},
    )
