"""Clocks that jump: times in files lie in the future or the past, and the clock of the machine goes back."""

import fcntl
import json
import os
import re
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest

from consistency.data import memo as memo_module
from consistency.data.memo import DigestMemo
from consistency.durable import ABANDONED, TEMP_PREFIX, machine, sweep_temp
from consistency.options import Output
from consistency.runs import folder as folder_module
from consistency.runs.registry import list_runs
from tests.builders.results import make_result, open_run, write_run

ROOT = Path(__file__).parents[2]
FUTURE, PAST = 4e9, 1.0
# Who reads a clock that can jump, and why that is harmless; whatever measures a span reads time.monotonic.
READERS = {
    "consistency/data/memo.py": "an image whose time seems to be now or later is read again",
    "consistency/report/page.py": "the date in a report",
    "consistency/runs/folder.py": "names and dates of runs",
    "koclip_consistency/screen/console.py": "the date of a line in a log",
    "koclip_consistency/screen/listing.py": "the age of a run in a list",
    "koclip_consistency/screen/tables.py": "the age of a cache in a list",
    "koclip_consistency/workflows/relabel.py": "the date in a record",
}


def test_nothing_else_reads_the_clock_of_the_day() -> None:
    reads = re.compile(r"\btime\.time(_ns)?\b|\b(date|datetime)\.(now|utcnow|today)\b")
    packages = ("consistency", "embedcache", "heads", "finetune", "koclip_consistency")
    paths = [path for package in packages for path in (ROOT / package).rglob("*.py")]
    found = {path.relative_to(ROOT).as_posix() for path in paths if reads.search(path.read_text(encoding="utf-8"))}
    assert found == READERS.keys()


@pytest.mark.parametrize("when", [FUTURE, PAST])
def test_a_lock_decides_what_is_swept_and_no_time(tmp_path: Path, when: float) -> None:
    living, dead = (tmp_path / f"{TEMP_PREFIX}{machine()}-{pid}-{pid:016x}" for pid in (1, 2))
    for path in (living, dead):
        path.touch()
        os.utime(path, (when, when))
    with living.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert sweep_temp(tmp_path) == 1
        assert os.listdir(tmp_path) == [living.name]


def test_what_another_machine_wrote_in_the_future_stays(tmp_path: Path) -> None:
    path = tmp_path / f"{TEMP_PREFIX}0123456789ab-1-{1:016x}"
    path.touch()
    os.utime(path, (FUTURE, FUTURE))
    assert sweep_temp(tmp_path) == 0
    os.utime(path, (PAST, path.stat().st_ctime - ABANDONED - 60))
    assert sweep_temp(tmp_path) == 1


@pytest.mark.parametrize("shift", [-1e6, 0.0])
def test_an_image_of_now_or_of_the_future_is_not_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shift: float
) -> None:
    """Either its time lies in the future, or the clock went back after it was written."""
    image = tmp_path / "a.png"
    image.write_bytes(b"content")
    (tmp_path / "cache").mkdir()
    if shift:
        now = memo_module.time.time()
        monkeypatch.setattr(memo_module.time, "time", lambda: now + shift)
    else:
        os.utime(image, (FUTURE, FUTURE))
    with DigestMemo(tmp_path / "cache") as memo:
        assert memo.digest(image) == sha256(b"content").digest()
    assert not (tmp_path / "cache" / "memo").exists()


def test_runs_begun_when_the_clock_went_back_have_folders_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = datetime(2026, 11, 27, 12).astimezone()
    hours = iter((0, 1, 0, 1, 0))

    class Jumping(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return begun + timedelta(hours=next(hours))

    monkeypatch.setattr(folder_module, "datetime", Jumping)
    names = [open_run(Output(runs=tmp_path)).path.name for _ in range(5)]
    assert len({*names}) == 5
    assert names[2].endswith("-2")
    assert names[4].endswith("-3")


@pytest.mark.parametrize("when", [FUTURE, PAST, 2.0**40, -(2.0**40)])
def test_runs_of_any_time_are_listed(tmp_path: Path, when: float) -> None:
    begun = open_run(Output(out=tmp_path / "begun")).path
    for path in begun.iterdir():
        os.utime(path, (when, when))
    told = [entry.as_dict() for entry in list_runs(tmp_path)]
    assert [entry["state"] for entry in told] == ["unfinished"]
    datetime.fromisoformat(told[0]["changed"])


@pytest.mark.parametrize("finished", ["0001-01-01T00:00:00", "9999-12-31T23:59:59-14:00", "2126-01-01T00:00:00+00:00"])
def test_runs_that_say_any_time_are_listed(tmp_path: Path, finished: str) -> None:
    run = write_run(tmp_path / "run", [make_result()])
    info = json.loads((run / "run.json").read_bytes())
    (run / "run.json").write_text(json.dumps({**info, "finished": finished}))
    (entry,) = list_runs(tmp_path)
    assert entry.state in ("finished", "broken")
    datetime.fromisoformat(entry.as_dict()["changed"])
