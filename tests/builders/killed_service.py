"""An app in a process of its own that can be killed at any moment and started again, on the same port.

`python -m tests.builders.killed_service DATA IMAGES ANSWERS PORT` imports everything once and forks the app, so that a
kill and a fresh start cost milliseconds.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Killed:
    """The app, which runs until it is killed."""

    port: int
    words: IO[bytes]
    answers: IO[bytes]

    def start(self) -> None:
        self._ask(b"start\n")
        until = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
                return
            except OSError:
                assert time.monotonic() < until
                time.sleep(0.01)

    def kill(self) -> None:
        """SIGKILL: the app can do nothing more."""
        self._ask(b"kill\n")

    def _ask(self, word: bytes) -> None:
        self.words.write(word)
        self.words.flush()
        assert self.answers.readline() == word


@contextmanager
def killed_service(data: Path, answers: Path) -> Iterator[Killed]:
    """The app on a data set, started."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [str(data / "combined_data.csv"), str(data / "image"), str(answers), str(port)]
    command = [sys.executable, "-m", "tests.builders.killed_service", *words]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        found = Killed(port, process.stdin, process.stdout)
        found.start()
        yield found
        found.kill()
        process.stdin.close()


def main() -> None:
    """Start or kill the app for each word on stdin."""
    from consistency.options import Source
    from koclip_consistency.scoring.loading import load_scorer
    from koclip_consistency.service.annotations import Annotations
    from koclip_consistency.service.api import Service, create_api
    from koclip_consistency.service.guard import Limits
    from koclip_consistency.service.pages import add_pages
    from koclip_consistency.service.server import bind, run_server
    from koclip_consistency.service.shelf import Shelf
    from koclip_consistency.service.study import Study
    from koclip_consistency.service.worker import Worker

    data, images, answers, port = sys.argv[1:]
    child = 0
    for word in sys.stdin.buffer:
        if word == b"start\n":
            child = os.fork()
            if not child:
                shelf = Shelf(Path(answers) / "no-runs", load_scorer)
                service = Service(shelf, Worker())
                api = create_api(service)
                study = Study(shelf, Source(data=Path(data), images=Path(images)))
                add_pages(api, service, study, Annotations(study, Path(answers)))
                run_server(api, bind("127.0.0.1", int(port), None), Limits(), lambda: None)
                os._exit(0)
        else:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        sys.stdout.buffer.write(word)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
