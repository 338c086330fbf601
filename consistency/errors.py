"""Every error that a user can cause: one line each, which the command line prints before it exits with `exit_code`.

ConsistencyError
├── InputError              exit 2: bad input or usage; nothing was written
│   ├── DataError           the pair table cannot be used
│   ├── ImageError          one image cannot be used (its row is skipped, unless --on-error abort)
│   └── BackboneError       a model cannot be found, or cannot be loaded
└── RunError                exit 1: something failed while running
    ├── StorageError        a file could not be written or read (full disk, permissions)
    ├── CacheError          the embedding cache is damaged, or belongs to another model
    ├── OutOfMemory         the device has too little memory for the smallest batch
    └── DivergenceError     training produced NaN or infinite numbers
"""

from collections.abc import Iterator
from contextlib import contextmanager


class ConsistencyError(Exception):
    """Base of all errors here. The message is one line: what was found, what was expected, what to do.

    Attributes
    ----------
    exit_code : int
        The exit code of the command that raises the error.
    """

    exit_code = 1


class InputError(ConsistencyError):
    """Raised when an option, a file or a folder that the user names cannot be used; nothing has been written."""

    exit_code = 2


class DataError(InputError):
    """Raised when the pair table cannot be read, or is unfit for what is asked of it."""


class ImageError(InputError):
    """Raised when one image cannot be read or decoded; its rows are skipped unless `--on-error abort` is given."""


class BackboneError(InputError):
    """Raised when a model cannot be found or fetched, is not a supported dual encoder, or its files are damaged."""


class RunError(ConsistencyError):
    """Raised when a command fails while it is running, for a reason other than its input."""


class StorageError(RunError):
    """Raised when the system refuses to read or write a file of ours: a full disk, a missing permission."""


class CacheError(RunError):
    """Raised when the embedding cache is damaged, lacks embeddings, or belongs to another model."""


class OutOfMemory(RunError):
    """Raised when the device has too little memory even for a batch of one."""


class DivergenceError(RunError):
    """Raised when training produces NaN or infinite numbers."""


@contextmanager
def os_errors_as(kind: type[ConsistencyError], what: str, *, advice: str = "") -> Iterator[None]:
    """Turn an OSError of the block into an error of `kind`: "WHAT: the system's reason; ADVICE".

    Parameters
    ----------
    kind : type of ConsistencyError
        The error to raise.
    what : str
        What could not be done, and to which file.
    advice : str, optional
        What the user can do about it.
    """
    try:
        yield
    except OSError as error:
        raise kind(f"{what}: {os_reason(error)}" + (f"; {advice}" if advice else "")) from error


def os_reason(error: OSError) -> str:
    """The system's reason without number and file name, for example "No space left on device"."""
    return error.strerror or str(error) or type(error).__name__


def one_line(error: BaseException) -> str:
    """The message of any error on one line; its type if it has none."""
    return " ".join(str(error).split()) or type(error).__name__


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that the machine or a device has too little memory, in Python's words or in torch's."""
    # By name, since torch need not be installed; on a CPU it raises a RuntimeError whose text says so.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)
