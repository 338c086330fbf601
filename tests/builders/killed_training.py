"""Trainings in processes of their own, which may die on the way.

`python -m tests.builders.killed_training` imports everything once and forks a process for each training, so that a
kill and a fresh start cost no second import of torch.
"""

import itertools
import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from consistency import durable
from finetune.checkpoint import Cadence
from finetune.config import FinetuneConfig
from finetune.model import save_finetuned
from tests.builders.finetuning import Case

ROOT = Path(__file__).parents[2]
Training = tuple[Case, FinetuneConfig, Path, bool, int | None]  # the last two: resume, kill_at


@contextmanager
def trainings() -> Iterator[Callable[..., int]]:
    """A function that trains in a process of its own and returns its exit code, negative for a signal."""
    command = [sys.executable, "-m", "tests.builders.killed_training"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdin is not None
        assert server.stdout is not None

        def run(*training: Any) -> int:
            pickle.dump(training, server.stdin)
            server.stdin.flush()
            return int(server.stdout.readline())

        yield run
        server.stdin.close()


def train(case: Case, config: FinetuneConfig, out: Path, resume: bool, kill_at: int | None) -> None:
    """Train to the end, or die at event `kill_at`: a backward pass, or a call of the system that a file rests on."""
    import torch

    torch.set_num_threads(1)
    events = itertools.count()

    def ticking(call: Callable[..., Any]) -> Callable[..., Any]:
        def tick(*arguments: Any, **options: Any) -> Any:
            if next(events) == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **options)

        return tick

    torch.Tensor.backward = ticking(torch.Tensor.backward)  # type: ignore[method-assign]
    for name in ("open", "write", "fsync", "replace", "unlink"):
        setattr(durable.system, name, ticking(getattr(durable.System, name)))
    # Without a refit nothing is validated, so that the last weights are kept and every step counts.
    result = case.run(config, out, validate=config.refit, resume=resume, cadence=Cadence(steps=2, minutes=None))
    (out / "events").write_text(str(next(events)))
    save_finetuned(out, result.model)
    history = [{**record, "seconds": None} for record in result.history]
    (out / "history.json").write_text(json.dumps(history))


def main() -> None:
    """Fork a training for each one that comes in on stdin; its exit code goes to stdout."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a training prints is no answer
    while True:
        try:
            training: Training = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        process = os.fork()
        if process == 0:
            code = 1
            try:
                train(*training)
                code = 0
            finally:
                os._exit(code)
        _, status = os.waitpid(process, 0)
        print(os.waitstatus_to_exitcode(status), file=answers, flush=True)


if __name__ == "__main__":
    main()
