"""The peak of memory while embeddings are computed."""

import re
import sys
from pathlib import Path

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def start_peak() -> None:
    """Begin a new measurement, on a GPU and, under Linux, of the process."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    try:
        RESET.write_text("5")  # forgets the largest resident size so far
    except OSError:  # no Linux
        return


def peak_megabytes() -> float | None:
    """The peak since `start_peak` in MB of 10^6 bytes: memory of the GPU if there is one, else of the whole process.

    The process is its resident memory, with the program and its libraries (about 0.5 GB). None where the system does
    not say.
    """
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / 1e6, 1)
    try:
        found = re.search(r"^VmHWM:\s+(\d+) kB$", STATUS.read_text(), re.MULTILINE)
    except OSError:
        return None
    return None if found is None else round(int(found[1]) * 1024 / 1e6, 1)
