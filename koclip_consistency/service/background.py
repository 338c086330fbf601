"""Work that takes longer than a request: started once, asked about until it is done."""

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from consistency.errors import ConsistencyError

KEPT = 16  # results


class Background:
    """One thread that works through what was asked for, and remembers the last results."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="background")
        self._known: dict[Hashable, Future[Any]] = {}
        self._lock = threading.Lock()

    def ask(self, key: Hashable, work: Callable[[], Any]) -> dict[str, Any]:
        """The state of a piece of work, which begins with the first question.

        Returns
        -------
        dict
            {"state": "working"}, {"state": "done", "result": ...} or {"state": "failed", "error": one line}. Work that
            failed begins again with the next question.
        """
        with self._lock:
            if key not in self._known:
                self._known[key] = self._pool.submit(work)
                for old in list(self._known)[:-KEPT]:
                    if self._known[old].done():
                        del self._known[old]
            future = self._known[key]
            if not future.done():
                return {"state": "working"}
            error = future.exception()
            if error is None:
                return {"state": "done", "result": future.result()}
            del self._known[key]
        said = str(error) if isinstance(error, ConsistencyError) else f"{type(error).__name__}: {error}"
        return {"state": "failed", "error": said}

    def close(self) -> None:
        """Drop what has not begun."""
        self._pool.shutdown(wait=False, cancel_futures=True)
