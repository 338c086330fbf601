"""A file is there in full or not at all; a digest beside it tells damage."""

import errno
import fcntl
import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from consistency import durable
from consistency.durable import (
    ABANDONED,
    TEMP_PREFIX,
    System,
    append_bytes,
    check_digest,
    check_folder,
    check_output,
    machine,
    make_folder,
    remove_replaced,
    sweep_temp,
    try_lock,
    write_file,
    write_with_digest,
    writing,
)
from consistency.errors import InputError, StorageError
from tests.builders.faults import Faulty, Killed, Recording


def install(monkeypatch: pytest.MonkeyPatch, system: System) -> None:
    monkeypatch.setattr(durable, "system", system)


def calls_of(monkeypatch: pytest.MonkeyPatch, work: Callable[[], None]) -> int:
    counter = Faulty(-1, "none")
    with monkeypatch.context() as patch:
        patch.setattr(durable, "system", counter)
        work()
    return counter.calls


def test_writes_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for data in (b"first", b"", b"\0" * 100_000):
        write_file(path, data)
        assert path.read_bytes() == data
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.skipif(hasattr(fcntl, "F_FULLFSYNC"), reason="this system flushes its drives")
def test_a_file_system_that_cannot_flush_its_drive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here the kernel refuses the call of macOS as a network share does there; a plain fsync takes its place."""
    monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
    with (tmp_path / "file").open("wb") as file, pytest.raises(OSError, match="Invalid argument"):
        fcntl.fcntl(file, 51)
    write_file(tmp_path / "file", b"x")
    assert (tmp_path / "file").read_bytes() == b"x"


def test_a_file_may_be_read_by_others_as_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    write_file(tmp_path / "file", b"x")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_temporary_file_in_another_folder(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    write_file(tmp_path / "file", b"x", temp=tmp_path / "tmp")
    assert (tmp_path / "file").read_bytes() == b"x"
    assert not os.listdir(tmp_path / "tmp")


@pytest.mark.parametrize("parts", [[b"new"], [b"n", b"", b"ew"]])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_an_error_at_any_call_is_one_clean_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, parts: list[bytes]
) -> None:
    path = tmp_path / "file"

    def work() -> None:
        with writing(path) as write:
            for part in parts:
                write(part)

    for at in range(calls_of(monkeypatch, work)):
        path.write_bytes(b"old")
        install(monkeypatch, Faulty(at, code))
        with pytest.raises(StorageError) as failure:
            work()
        assert os.strerror(code) in str(failure.value)
        assert "\n" not in str(failure.value)
        assert path.read_bytes() in (b"old", b"new")
        install(monkeypatch, System())
        assert os.listdir(tmp_path) == ["file"]


def test_what_is_written_in_parts_appears_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with writing(path) as write:
        write(b"one ")
        assert not path.exists()
        write(b"two")
    assert path.read_bytes() == b"one two"

    def fails() -> None:
        with writing(path) as write:
            write(b"three")
            raise KeyError("the work, not the disk")

    with pytest.raises(KeyError):
        fails()
    assert (path.read_bytes(), os.listdir(tmp_path)) == (b"one two", ["file"])


def test_short_writes_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = os.urandom(1000)
    for at in range(calls_of(monkeypatch, lambda: write_file(tmp_path / "file", data))):
        install(monkeypatch, Faulty(at, "short"))
        write_file(tmp_path / "file", data)
        assert (tmp_path / "file").read_bytes() == data


def test_an_interrupt_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(System):
        @staticmethod
        def fsync(fd: int) -> None:
            raise KeyboardInterrupt

    install(monkeypatch, Interrupted())
    with pytest.raises(KeyboardInterrupt):
        write_file(tmp_path / "file", b"x")
    assert not os.listdir(tmp_path)


def test_order_of_the_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recording = Recording(tmp_path)
    install(monkeypatch, recording)
    write_file(tmp_path / "file", b"x")
    order = [operation for operation, *_ in recording.records]
    assert order == ["create", "write", "fsync file", "replace", "fsync folder"]


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"nowhere/file was not written \(No such file or directory\); choose"):
        write_file(tmp_path / "nowhere" / "file", b"x")


def test_where_an_output_cannot_go_is_told_beforehand(tmp_path: Path) -> None:
    check_output(tmp_path / "file")
    with pytest.raises(InputError, match="is a folder, expected the name of a file"):
        check_output(tmp_path)
    with pytest.raises(InputError, match="the folder .*/nowhere does not exist; create it or name another"):
        check_output(tmp_path / "nowhere" / "out.csv")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="/file is a file, expected a folder"):
        check_output(tmp_path / "file" / "out.csv")
    with pytest.raises(InputError, match="/file is a file, expected a folder"):
        check_folder(tmp_path / "file" / "a" / "b")
    check_folder(tmp_path / "a" / "b")


def test_folders_are_made_durable_from_the_top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recording = Recording(tmp_path)
    install(monkeypatch, recording)
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert recording.records == [
        ("mkdir", tmp_path / "a"),
        ("fsync folder", tmp_path),
        ("mkdir", tmp_path / "a" / "b"),
        ("fsync folder", tmp_path / "a"),
        ("fsync folder", tmp_path / "a"),
    ]


def test_a_folder_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="Not a directory"):
        make_folder(tmp_path / "file" / "folder")


def test_sources_go_only_after_what_replaces_them_is_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [tmp_path / name for name in "ab"]
    for path in paths:
        path.touch()
    recording = Recording(tmp_path)
    install(monkeypatch, recording)
    remove_replaced(paths, tmp_path)
    assert recording.records == [("fsync folder", tmp_path), ("unlink", paths[0]), ("unlink", paths[1])]
    with pytest.raises(StorageError, match="could not be tidied"):
        remove_replaced(paths, tmp_path)


def temp_name(host: str, pid: int) -> str:
    return f"{TEMP_PREFIX}{host}-{pid}-{pid:016x}"


def test_files_of_another_machine_are_swept_when_they_are_a_day_old(tmp_path: Path) -> None:
    """Its locks may be invisible here, and its clock may differ: the clock of the disk decides."""
    other = "0123456789ab"
    assert other != machine()
    old, young, locked = (tmp_path / temp_name(other, pid) for pid in range(3))
    unknown = tmp_path / f"{TEMP_PREFIX}17-0123456789abcdef"  # of an earlier version, which did not name its machine
    for path in (old, young, locked, unknown):
        path.touch()
    for path in (old, locked):
        os.utime(path, times=(0, path.stat().st_mtime - ABANDONED - 1))
    os.utime(young, times=(0, young.stat().st_mtime - ABANDONED + 60))
    with locked.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert sweep_temp(tmp_path) == 1
    assert sorted(os.listdir(tmp_path)) == sorted(path.name for path in (young, locked, unknown))


def test_the_name_of_a_file_being_written(tmp_path: Path) -> None:
    with writing(tmp_path / "file"):
        (name,) = os.listdir(tmp_path)
    assert re.fullmatch(rf"\.writing-{machine()}-{os.getpid()}-[0-9a-f]{{16}}", name)


def test_sweep_takes_what_no_living_writer_holds(tmp_path: Path) -> None:
    dead, living = (tmp_path / temp_name(machine(), pid) for pid in (1, 2))
    other = tmp_path / "file"
    for path in (dead, living, other):
        path.touch()
    with living.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert sweep_temp(tmp_path) == 1
        assert sorted(os.listdir(tmp_path)) == sorted([living.name, other.name])
    assert sweep_temp(tmp_path) == 1
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """Files are written all the same, and no sweep removes what it cannot lock."""

    class Lockless(System):
        @staticmethod
        def flock(fd: int, operation: int) -> None:
            raise OSError(code, os.strerror(code))

        @staticmethod
        def fsync(fd: int) -> None:
            assert sweep_temp(tmp_path) == 0  # by another process, while this one writes
            os.fsync(fd)

    install(monkeypatch, Lockless())
    write_file(tmp_path / "file", b"x")
    assert (tmp_path / "file").read_bytes() == b"x"
    assert os.listdir(tmp_path) == ["file"]


def test_a_sweep_between_create_and_lock_costs_only_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Swept(System):
        swept = False

        def flock(self, fd: int, operation: int) -> None:  # type: ignore[override]
            if not self.swept:
                self.swept = True
                assert sweep_temp(tmp_path) == 1
            fcntl.flock(fd, operation)

    install(monkeypatch, Swept())
    write_file(tmp_path / "file", b"x")
    assert os.listdir(tmp_path) == ["file"]


def test_digest_tells_damage(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    write_with_digest(path, b"content")
    assert check_digest(path) == hashlib.sha256(b"content").hexdigest()
    assert (tmp_path / "weights.sha256").read_text().endswith("  weights\n")
    path.write_bytes(b"c0ntent")
    with pytest.raises(StorageError, match=r"weights is damaged: its SHA-256 is .* restore it or create it again"):
        check_digest(path)
    (tmp_path / "weights.sha256").unlink()
    with pytest.raises(StorageError, match=r"cannot be checked .* it needs weights\.sha256 beside it"):
        check_digest(path)


def test_a_kill_while_a_file_and_its_digest_are_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights"
    write_with_digest(path, b"old")
    calls = calls_of(monkeypatch, lambda: write_with_digest(path, b"old"))
    contents = set()
    for at in range(calls):
        install(monkeypatch, Faulty(at, "dead"))
        with pytest.raises(Killed):
            write_with_digest(path, b"new")
        install(monkeypatch, System())
        check_digest(path)
        contents.add(path.read_bytes())
    assert contents == {b"old", b"new"}
    write_with_digest(path, b"newest")
    assert len((tmp_path / "weights.sha256").read_text().splitlines()) == 1


def test_what_is_appended_is_there_in_full_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"first\n")
    fd = os.open(path, os.O_RDWR | os.O_APPEND)
    for at, fault in ((0, errno.ENOSPC), (1, errno.EIO)):  # write, fsync
        with monkeypatch.context() as patch:
            install(patch, Faulty(at, fault))
            with pytest.raises(StorageError, match="log was not written"):
                append_bytes(fd, path, b"second\n")
        assert path.read_bytes() == b"first\n"
    append_bytes(fd, path, b"second\n")
    os.close(fd)
    assert path.read_bytes() == b"first\nsecond\n"


def test_a_lock_is_held_until_the_file_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = (os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT) for _ in range(2))
    assert try_lock(one)
    assert not try_lock(other)
    with monkeypatch.context() as patch:
        install(patch, Faulty(0, errno.ENOSYS))  # a file system without locks
        assert try_lock(other)
    os.close(one)
    assert try_lock(other)
    os.close(other)
