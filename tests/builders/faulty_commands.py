"""Commands whose every call of the system fails once, in every way, in processes of their own.

`python -m tests.builders.faulty_commands SCENARIO DATA FOLDER --stride N` imports everything once, runs the command to
its end, and then again: at each moment at which no file is open it forks a process for every call up to the next such
moment and every fault, which meets that fault and goes on as it can. What each of them leaves on the disk is kept, and
judged by what another process makes of it: `report` must not take it for whole, and `--resume`, or the command once
more, must end in the bytes of a run that nothing disturbed.
"""

import argparse
import builtins
import errno
import fcntl
import hashlib
import io
import json
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from consistency import durable
from consistency.durable import TEMP_PREFIX
from consistency.errors import InputError
from consistency.runs.folder import UNFINISHED, RunFolder
from consistency.runs.read import read_run

FAULTS: tuple[str | int, ...] = ("kill before", "kill after", "short", errno.ENOSPC, errno.EIO)
BY_PATH = ("open", "replace", "rename", "unlink", "remove", "mkdir", "rmdir", "truncate")
BY_FD = ("write", "fsync", "close", "ftruncate")
GRID = """
[[grid]]
hidden = [[], [4]]
epochs = [2]
"""
# What differs between two runs of the same command: times, and what holds times.
TIMED = ("run.json", "history.csv", "finetune.json", "leaderboard.csv", "report.html", UNFINISHED)
STATE = ("grid_state.json", "history.json")  # of an unfinished run, which grow


@dataclass(frozen=True)
class Scenario:
    """A command that makes a run folder OUT, which `resume` continues, or one that makes other files and is run again.

    `before` is a command whose result it needs.
    """

    words: tuple[str, ...]
    resume: tuple[str, ...] | None = None
    before: tuple[str, ...] = ()


def scenarios(data: Path, work: Path) -> dict[str, Scenario]:
    (work / "grid.toml").write_text(GRID)
    source = ("--data", str(data / "combined_data.csv"), "--images", str(data / "image"), "--backbone", "tiny")
    common = (*source, "--threads", "1", "--seed", "3", "--quiet")
    cached = (*common, "--cache", str(work / "cache"))
    out = str(work / "disk" / "out")
    grid = ("--grid", "--grid-file", str(work / "grid.toml"), "--inner-folds", "2")
    small = ("--epochs", "1", "--checkpoint-steps", "2", "--batch-size", "16", "--workers", "1", "--no-refit")
    reported = ("similarity", *cached, "--out", str(work / "run"))
    page = ("--output", str(work / "disk" / "report.html"))
    return {
        "grid": Scenario(("heads", *grid, *cached, "--out", out), ("heads", "--grid", "--resume", out, "--quiet")),
        "finetune": Scenario(("finetune", *small, *common, "--out", out), ("finetune", "--resume", out, "--quiet")),
        "report": Scenario(("report", str(work / "run"), *page, "--quiet"), before=reported),
        "figures": Scenario(("report", str(work / "run"), "--paper", out, "--quiet"), before=reported),
    }


@dataclass
class Interposed:
    """Every call of the system that changes a file below `root`, counted; what happens at each is up to `at_call`."""

    root: Path
    at_call: Callable[[str, Callable[[], Any], Callable[[], Any]], Any]
    open_fds: set[int] = field(default_factory=set)
    paused: bool = False
    undurable: list[str] = field(default_factory=list)

    def install(self) -> None:
        for name in BY_PATH:
            setattr(os, name, self._by_path(name, getattr(os, name)))
        for name in BY_FD:
            setattr(os, name, self._by_fd(name, getattr(os, name)))
        fcntl.flock = self._by_fd("flock", fcntl.flock)
        for name in ("open", "write", "close", "replace", "unlink", "mkdir"):
            setattr(durable.system, name, getattr(os, name))
        durable.system.truncate = os.ftruncate
        durable.system.flock = fcntl.flock
        for module in (builtins, io):
            module.open = self._counted_open(module.open)  # type: ignore[attr-defined]

    def _below(self, path: object) -> bool:
        below = isinstance(path, str | os.PathLike) and os.path.abspath(path).startswith(f"{self.root}/")
        return below and not self.paused

    def _by_path(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(path: Any, *arguments: Any, **options: Any) -> Any:
            flags = arguments[0] if name == "open" and arguments else 0
            reads = name == "open" and not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if not self._below(path) or (reads and not os.path.isdir(path)):
                return call(path, *arguments, **options)

            def work() -> Any:
                result = call(path, *arguments, **options)
                if name == "open":
                    self.open_fds.add(result)
                return result

            return self.at_call(name, work, work)

        return wrapped

    def _by_fd(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(fd: Any, *arguments: Any) -> Any:
            if self.paused or fd not in self.open_fds:
                return call(fd, *arguments)

            def work() -> Any:
                if name == "close":
                    self.open_fds.discard(fd)
                return call(fd, *arguments)

            def half() -> Any:
                return call(fd, arguments[0][: len(arguments[0]) // 2]) if name == "write" else work()

            return self.at_call(name, work, half)

        return wrapped

    def _counted_open(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(path: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            if self._below(path) and set(mode) & set("wax+"):
                self.undurable.append(str(path))
            return call(path, mode, *arguments, **options)

        return wrapped


class Meeting:
    """Meets one fault at one call, and is harmless elsewhere."""

    def __init__(self, at: int, fault: str | int, calls: int = 0) -> None:
        self.at, self.fault, self.calls = at, fault, calls

    def __call__(self, name: str, work: Callable[[], Any], half: Callable[[], Any]) -> Any:
        self.calls += 1
        if self.calls - 1 != self.at:
            return work()
        if self.fault == "kill before":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fault == "short":
            return half()
        if isinstance(self.fault, int):
            if name == "close":  # the descriptor is gone even where close reports an error
                work()
            raise OSError(self.fault, os.strerror(self.fault), "injected")
        try:
            return work()
        finally:
            if self.fault == "kill after":
                os.kill(os.getpid(), signal.SIGKILL)


def tree(folder: Path) -> dict[str, str]:
    """Digest of every file below a folder, and "" for every folder; temporary files without their random names."""
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.name.startswith(TEMP_PREFIX):
            name = str(Path(name).parent / TEMP_PREFIX)
        found[name] = "" if path.is_dir() else hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def command(words: tuple[str, ...]) -> int:
    """Run the command line in this process; its exit code."""
    from cli import main

    sys.argv = ["cli.py", *words]
    try:
        main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def forked(work: Callable[[], int], errors: Path) -> tuple[int, str]:
    """Exit code of a process that does `work` (negative for a signal), and what it wrote to stderr."""
    process = os.fork()
    if not process:
        code = 70
        try:
            fd = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(fd, 2)
            os.dup2(fd, 1)
            code = work()
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    return code, errors.read_text()


def count_calls(scenario: Scenario, work: Path) -> tuple[list[tuple[str, bool]], list[str]]:
    """The calls of the command, each with whether a file is open before it; and files that it opened in another way."""

    def run() -> int:
        calls: list[tuple[str, bool]] = []

        def at_call(name: str, do: Callable[[], Any], half: Callable[[], Any]) -> Any:
            calls.append((name, bool(interposed.open_fds)))
            time.sleep(0.005)  # a slow disk
            return do()

        interposed = Interposed(work / "disk", at_call)
        interposed.install()
        code = command(scenario.words)
        interposed.paused = True
        (work / "calls.json").write_text(json.dumps([calls, interposed.undurable]))
        return code

    code, error = forked(run, work / "stderr")
    assert code == 0, error
    calls, undurable = json.loads((work / "calls.json").read_text())
    return [(name, held) for name, held in calls], undurable


@dataclass
class Case:
    """A fault at a call: how the process ended, and the state that it left by its digest."""

    call: int
    name: str
    fault: str | int
    code: int
    error: str
    state: str


def explore(
    scenario: Scenario, work: Path, calls: list[tuple[str, bool]], stride: int, faults: tuple[str | int, ...]
) -> list[Case]:
    """Run the command once, and on the way meet one of `stride` cases of every call and each of the faults."""
    disk, backup, met = work / "disk", work / "backup", work / "met.jsonl"
    (work / "states").mkdir()
    # Fault by fault, so that every kind has its share of the cases.
    chosen = [
        (call, fault) for fault in faults for call in range(len(calls)) if fault != "short" or calls[call][0] == "write"
    ][::stride]

    def run() -> int:
        count = 0

        def at_call(name: str, do: Callable[[], Any], half: Callable[[], Any]) -> Any:
            nonlocal count
            held = bool(interposed.open_fds)
            assert (name, held) == calls[count], "the command took another way"
            if not held:
                end = next((n for n in range(count + 1, len(calls)) if not calls[n][1]), len(calls))
                for call, fault in (case for case in chosen if count <= case[0] < end):
                    interposed.paused = True
                    put(disk, backup)
                    errors = work / "met"
                    process = os.fork()
                    if not process:  # this process meets the fault, and goes on until it ends
                        os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
                        interposed.paused, interposed.at_call = False, Meeting(call, fault, count)
                        return interposed.at_call(name, do, half)
                    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
                    left = tree(disk)
                    state = hashlib.sha256(json.dumps(left).encode()).hexdigest()[:16]
                    if not (work / "states" / state).exists():
                        put(disk, work / "states" / state)
                    put(backup, disk)
                    with met.open("a") as file:
                        case = [call, calls[call][0], fault, code, errors.read_text(), state]
                        file.write(json.dumps(case) + "\n")
                    interposed.paused = False
            count += 1
            return do()

        interposed = Interposed(disk, at_call)
        interposed.install()
        return command(scenario.words)

    code, error = forked(run, work / "stderr")
    assert code == 0, error
    return [Case(*json.loads(line)) for line in met.read_text().splitlines()]


def put(source: Path, target: Path) -> None:
    """Make `target` a copy of a folder."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)


def lasting(found: dict[str, str]) -> dict[str, str]:
    """What is the same after every run of the command, of what `tree` found."""
    return {name: digest for name, digest in found.items() if Path(name).name not in TIMED}


def judge(scenario: Scenario, work: Path, whole: dict[str, str], state: str) -> int:
    """Raise AssertionError unless a state is told from a whole one, and the command brings it to the end of one."""
    disk, out = work / "disk", work / "disk" / "out"
    put(work / "states" / state, disk)
    left = tree(disk)
    finished = "out/run.json" in left
    for name, digest in lasting(left).items():
        grows = name.startswith("out/checkpoint") or Path(name).name in STATE or TEMP_PREFIX in name
        assert grows or whole.get(name) == digest, f"{name} is another than that of a whole run"
    if scenario.resume:
        try:
            read_run(out)
            assert finished
        except InputError:
            assert not finished
    if finished:
        assert lasting(whole).keys() <= left.keys()
        return 0
    again = scenario.resume if scenario.resume and RunFolder.is_unfinished(out) else scenario.words
    code = command(again)
    assert code == 0, f"{' '.join(again)} ends with {code}"
    now = tree(disk)
    assert lasting(now) == lasting(whole), set(lasting(now).items()) ^ set(lasting(whole).items())
    return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario")
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--stride", type=int, default=1, help="one of how many cases")
    parser.add_argument("--errors", action="store_true", help="no kills: ENOSPC, EIO and writes cut short alone")
    parser.add_argument("--short", action="store_true", help="writes cut short alone")
    options = parser.parse_args()
    work = options.work
    scenario = scenarios(options.data, work)[options.scenario]
    (work / "disk").mkdir()
    assert not scenario.before or command(scenario.before) == 0
    assert command(scenario.words) == 0  # and everything is imported now
    whole = tree(work / "disk")
    empty(work / "disk")
    calls, undurable = count_calls(scenario, work)
    assert lasting(tree(work / "disk")) == lasting(whole), "a slow disk changes the result"
    empty(work / "disk")
    met = tuple(fault for fault in FAULTS if not (options.errors and str(fault).startswith("kill")))
    met = ("short",) if options.short else met
    cases = explore(scenario, work, calls, options.stride, met)
    faults: list[str] = []
    for state in {case.state: case for case in cases}.values():
        code, error = forked(lambda state=state: judge(scenario, work, whole, state.state), work / "stderr")  # type: ignore[misc]
        if code:
            faults.append(f"call {state.call} ({state.name}), {state.fault}: {error.strip().splitlines()[-1]}")
    for case in cases:
        killed = str(case.fault).startswith("kill")
        told = case.error.startswith("Error: ") and case.error.count("\n") == 1
        if not (case.code == -signal.SIGKILL if killed else case.code == 0 or (case.code == 1 and told)):
            faults.append(f"call {case.call} ({case.name}), {case.fault}: exit {case.code}, {case.error.strip()!r}")
    codes = [case.code for case in cases]
    print(
        json.dumps(
            {
                "calls": len(calls),
                "cases": len(cases),
                "killed": codes.count(-signal.SIGKILL),
                "failed": codes.count(1),
                "finished": codes.count(0),
                "of": {str(fault): [case.code for case in cases if case.fault == fault] for fault in met},
                "states": len({case.state for case in cases}),
                "undurable": sorted({Path(path).name for path in undurable}),
                "faults": faults,
            }
        )
    )


def empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()


if __name__ == "__main__":
    main()
