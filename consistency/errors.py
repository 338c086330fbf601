"""Every error a user can cause, one line each; the command line prints the line and exits with `exit_code`.

ConsistencyError
├── InputError              exit 2: bad input or usage; nothing was written
│   ├── DataError           the pair table cannot be used
│   ├── ImageError          one image cannot be used (its row is skipped, unless --on-error abort)
│   └── BackboneError       a model cannot be found, or is not one we can load
└── RunError                exit 1: something failed while running
    ├── StorageError        a file could not be written or read (full disk, permissions)
    ├── CacheError          the embedding cache is damaged, or belongs to another model
    ├── OutOfMemory         the device has too little memory for the smallest batch
    └── DivergenceError     training produced NaN or infinite numbers
"""


class ConsistencyError(Exception):
    """Base of all. The message is one line: what was found, what was expected, what to do."""

    exit_code = 1


class InputError(ConsistencyError):
    exit_code = 2


class DataError(InputError):
    pass


class ImageError(InputError):
    pass


class BackboneError(InputError):
    pass


class RunError(ConsistencyError):
    pass


class StorageError(RunError):
    pass


class CacheError(RunError):
    pass


class OutOfMemory(RunError):
    pass


class DivergenceError(RunError):
    pass


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` is Python's, or torch's, word for too little memory of the machine or of a device."""
    # By name, since torch need not be there; a CPU says it in a RuntimeError's text.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)
