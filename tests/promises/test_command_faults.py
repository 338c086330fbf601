"""Commands at which every call of the system fails once: training, a grid, reports, answers of annotators."""

import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from consistency import durable
from consistency.data.annotations import Annotation
from consistency.data.answer_files import AnswersFile, read_answers
from consistency.errors import StorageError
from tests.builders.crash_workers import FAULTS
from tests.builders.faults import Faulty

ROOT = Path(__file__).parents[2]


def faulty(scenario: str, data: Path, work: Path, stride: int) -> dict[str, Any]:
    """Run tests.builders.faulty_commands; what it found."""
    command = [sys.executable, "-m", "tests.builders.faulty_commands", scenario, data, work, "--stride", str(stride)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=3000)
    assert ran.returncode == 0, ran.stderr
    return dict(json.loads(ran.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def few_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from demo.dataset import write_demo

    out = tmp_path_factory.mktemp("few")
    write_demo(out, seed=7, images=12)
    return out


@pytest.mark.parametrize(
    ("scenario", "stride"),
    [
        ("report", 5),
        pytest.param("report", 1, marks=pytest.mark.slow),
        pytest.param("grid", 2, marks=pytest.mark.slow),
        pytest.param("finetune", 3, marks=pytest.mark.slow),
        pytest.param("figures", 41, marks=pytest.mark.slow),
    ],
)
def test_a_command_survives_a_fault_at_any_call(few_images: Path, tmp_path: Path, scenario: str, stride: int) -> None:
    """Killed before and after a call, ENOSPC, EIO, writes cut short; and once every call is slow.

    A failure is one line and exit code 1, no half-written file is taken for whole, and what resumes a run, or the
    command once more, ends in the bytes of a run that nothing disturbed.
    """
    found = faulty(scenario, few_images, tmp_path, stride)
    assert found["faults"] == []
    assert found["undurable"] == []  # every file goes through consistency.durable
    assert found["killed"] + found["failed"] + found["finished"] == found["cases"] > 3
    assert found["killed"] > 0


LINES = [
    Annotation(
        "Mina", "2026-11-27T04:52:41.000Z", f"answer-{row}", row, "0" * 64, "#봄", row, "", "a, b", "random", True
    )
    for row in range(1, 4)
]


def told(folder: Path, system: durable.System) -> int:
    """The exit code of a process that keeps answers one by one as an app does, and lists what it acknowledged."""
    process = os.fork()
    if not process:
        code = 70
        try:
            durable.system = system
            with AnswersFile(folder, "Mina") as file:
                for line in LINES:
                    file.append([line])
                    with folder.with_suffix(".ledger").open("a") as ledger:
                        ledger.write(f"{line.id}\n")
            code = 0
        except StorageError as error:
            code = 1 if "\n" not in str(error) else 71
        except OSError:  # of the last close; the command line has a line for it
            code = 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_no_acknowledged_answer_is_lost_at_any_call(tmp_path: Path) -> None:
    """Whatever fails, the acknowledged answers are there, and sending all again gives the bytes of a clean run."""
    counter = Faulty(-1, "none")
    durable.system = counter
    try:
        with AnswersFile(tmp_path / "clean", "Mina") as file:
            for line in LINES:
                file.append([line])
    finally:
        durable.system = durable.System()
    clean = (tmp_path / "clean" / "answers-Mina.csv").read_bytes()
    codes = []
    for at, fault in itertools.product(range(counter.calls), FAULTS):
        folder = tmp_path / f"{at}-{fault}"
        codes.append(told(folder, Faulty(at, fault)))
        ledger, path = folder.with_suffix(".ledger"), folder / "answers-Mina.csv"
        kept = ledger.read_text().split() if ledger.exists() else []
        there = [line.id for line in read_answers(path)] if path.exists() else []
        assert there[: len(kept)] == kept
        assert len(there) <= len(kept) + 1  # the last one was written, and not acknowledged yet
        with AnswersFile(folder, "Mina") as file:
            file.append(LINES)
        assert path.read_bytes() == clean
    assert set(codes) == {0, 1, -signal.SIGKILL}
    assert codes.count(-signal.SIGKILL) == 2 * counter.calls > 20
    assert codes.count(1) > counter.calls
