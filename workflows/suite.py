"""Several runs under one folder, each skipped where it is already finished: what `demo` and `paper` are made of."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consistency.runs import Run, RunFolder, read_run
from workflows.evaluate import Outcome

PLAN = "plan.json"


@dataclass(frozen=True)
class Step:
    """One run: `work` gets the folder to write."""

    name: str
    work: Callable[[Path], Outcome]


@dataclass(frozen=True, eq=False)
class Done:
    """A finished run of a suite. seconds: what it took, 0 where an earlier start had finished it."""

    name: str
    run: Run
    seconds: float


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
        start = time.perf_counter()
        if (path / "run.json").is_file():
            say(f"[{number}/{len(steps)}] {step.name}: already there")
        else:
            say(f"[{number}/{len(steps)}] {step.name}")
            step.work(path)
        done.append(Done(step.name, read_run(path), time.perf_counter() - start))
    return done


def close_suite(folder: RunFolder, plan: Mapping[str, Any], seed: int, done: Sequence[Done]) -> None:
    """run.json of the suite: its plan, and the seconds of each run."""
    info = done[0].run.info
    folder.finish(
        plan,
        seeds={"seed": seed},
        data_digest=info["data_digest"],
        fingerprint=None,
        timings={step.name: sum(step.run.info["timings"].values()) for step in done},
    )
