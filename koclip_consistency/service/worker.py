"""The one thread that uses the models: requests wait in a queue and are encoded together in small batches."""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from consistency.options import ImageLimits
from koclip_consistency.scoring.scorer import Scorer

BATCH = 32  # requests
WAIT = 0.010  # seconds that a batch waits for more requests
QUEUE = 64  # requests


class Busy(Exception):
    """Raised when as many requests wait as may wait."""


@dataclass(eq=False)
class Job:
    """A question to a scorer.

    Attributes
    ----------
    scorer : callable
        Returns the scorer; called in the worker's thread, since it may load a run.
    answer : callable
        Given the scorer, the answer.
    images : sequence of bytes
        Images that are encoded together with those of other jobs before `answer` is called.
    hashtags : sequence of str
        Hashtags, likewise.
    done : Future
        The answer, or the error.
    """

    scorer: Callable[[], Scorer]
    answer: Callable[[Scorer], Any]
    images: Sequence[bytes] = ()
    hashtags: Sequence[str] = ()
    done: "Future[Any]" = field(default_factory=Future)


class Worker:
    """Answers jobs in the order in which they came.

    Parameters
    ----------
    limits : ImageLimits, optional
        Which images are refused.
    most : int
        Jobs that may wait, besides those being answered.
    """

    def __init__(self, limits: ImageLimits | None = None, *, most: int = QUEUE) -> None:
        self.limits = limits or ImageLimits()
        self._queue: queue.Queue[Job | None] = queue.Queue(most)
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> "Future[Any]":
        """Queue a job. Raises Busy if the queue is full."""
        try:
            self._queue.put_nowait(job)
        except queue.Full as error:
            raise Busy from error
        return job.done

    def close(self) -> None:
        """Answer what is queued, and end the thread."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        more = True
        while more:
            jobs, more = self._next()
            running = [job for job in jobs if job.done.set_running_or_notify_cancel()]
            scorers: dict[Scorer, list[Job]] = {}
            for job in running:
                try:
                    scorers.setdefault(job.scorer(), []).append(job)
                except Exception as error:
                    job.done.set_exception(error)
            for scorer, asked in scorers.items():
                self._answer(scorer, asked)

    def _next(self) -> tuple[list[Job], bool]:
        """At least one job, and those that come within WAIT; and whether more may come."""
        first = self._queue.get()
        if first is None:
            return [], False
        jobs, until = [first], time.monotonic() + WAIT
        while len(jobs) < BATCH:
            try:
                job = self._queue.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                break
            if job is None:
                return jobs, False
            jobs.append(job)
        return jobs, True

    def _answer(self, scorer: Scorer, jobs: Sequence[Job]) -> None:
        try:
            images = [image for job in jobs for image in job.images]
            scorer.remember(images, [hashtag for job in jobs for hashtag in job.hashtags], self.limits)
        except Exception as error:  # of the model or the device, so every job has it
            for job in jobs:
                job.done.set_exception(error)
            return
        for job in jobs:
            try:
                job.done.set_result(job.answer(scorer))
            except Exception as error:
                job.done.set_exception(error)
