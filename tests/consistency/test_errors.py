"""Errors say in one line what happened, and carry the exit code of the command."""

import errno
import inspect
from pathlib import Path

import pytest

from consistency import errors
from consistency.errors import (
    ConsistencyError,
    DataError,
    InputError,
    RunError,
    StorageError,
    is_out_of_memory,
    one_line,
    os_errors_as,
    os_reason,
)

CLASSES = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, ConsistencyError)]


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_says_when_it_is_raised_and_how_the_command_ends(kind: type[ConsistencyError]) -> None:
    assert kind.exit_code == (2 if issubclass(kind, InputError) else 1)
    assert (kind.__doc__ or "").startswith(("Raised when ", "Base of all errors"))
    assert kind.__name__ in (errors.__doc__ or "")
    assert kind in (ConsistencyError, InputError, RunError) or issubclass(kind, InputError | RunError)


def test_errors_of_the_system_become_ours(tmp_path: Path) -> None:
    with (
        pytest.raises(DataError) as error,
        os_errors_as(DataError, "a.csv cannot be read", advice="name another"),
        (tmp_path / "gone").open(),
    ):
        pass
    assert str(error.value) == "a.csv cannot be read: No such file or directory; name another"
    assert isinstance(error.value.__cause__, FileNotFoundError)
    with pytest.raises(StorageError, match="^x: Input/output error$"), os_errors_as(StorageError, "x"):
        raise OSError(errno.EIO, "Input/output error", "/some/file")


def test_other_errors_pass_through() -> None:
    for raised in (ValueError("odd"), DataError("ours")):
        with pytest.raises(type(raised)) as error, os_errors_as(StorageError, "x"):
            raise raised
        assert error.value is raised
    with os_errors_as(StorageError, "x"):
        pass


def test_reasons_are_never_empty() -> None:
    assert os_reason(OSError(errno.ENOSPC, "No space left on device", "/file")) == "No space left on device"
    assert os_reason(OSError("plain")) == "plain"
    assert os_reason(TimeoutError()) == "TimeoutError"


def test_what_is_a_lack_of_memory() -> None:
    class OutOfMemoryError(RuntimeError):
        """torch's, by its name."""

    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(OutOfMemoryError("CUDA"))
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: 1 bytes"))
    assert is_out_of_memory(RuntimeError("MPS backend out of memory"))
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
    assert not is_out_of_memory(ValueError("out of memory"))


def test_an_error_becomes_one_line() -> None:
    assert one_line(ValueError("two\n  lines")) == "two lines"
    assert one_line(KeyError()) == "KeyError"
