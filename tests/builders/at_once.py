"""How many calls run at the same time."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class AtOnce:
    """most: of the blocks under `call` that were inside together, the largest number."""

    def __init__(self) -> None:
        self.most = self._inside = 0
        self._lock = threading.Lock()

    @contextmanager
    def call(self) -> Iterator[None]:
        """A block that takes long enough for others to join."""
        with self._lock:
            self._inside += 1
            self.most = max(self.most, self._inside)
        time.sleep(0.005)
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
