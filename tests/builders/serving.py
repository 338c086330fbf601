"""Servers on a free port, with their requests sent over real sockets."""

import http.client
import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import uvicorn
from starlette.types import ASGIApp

from koclip_consistency.service.guard import Limits
from koclip_consistency.service.server import Address, bind, make_server
from tests.builders.commands import Ran, Run


@dataclass(frozen=True)
class Reply:
    """An HTTP response."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        return str(self.json()["error"])


@dataclass(frozen=True)
class Client:
    """Sends requests to a server of these tests."""

    port: int

    def send(
        self,
        path: str,
        body: bytes | None = None,
        *,
        method: str | None = None,
        headers: dict[str, str] | None = None,
        timeout: float = 60,
    ) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method or ("GET" if body is None else "POST"), path, body, headers or {})
            response = connection.getresponse()
            return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def ask(self, path: str, image: bytes | None, **fields: str | int | Sequence[str]) -> Reply:
        """A multipart request."""
        body, kind = multipart(image, **fields)
        return self.send(path, body, headers={"Content-Type": kind})


def multipart(image: bytes | None, **fields: str | int | Sequence[str]) -> tuple[bytes, str]:
    """A multipart body and its content type; a sequence is a repeated field."""
    boundary = uuid4().hex
    parts = []
    for name, value in fields.items():
        for each in [str(value)] if isinstance(value, str | int) else value:
            parts.append(f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{each}\r\n'.encode())
    if image is not None:
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
        parts.append(head.encode() + image + b"\r\n")
    return b"".join(parts) + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


@contextmanager
def running(server: uvicorn.Server, address: Address) -> Iterator[Client]:
    """The server in a thread of its own."""
    address.socket.listen(2048)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [address.socket]}, daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield Client(address.port)
    finally:
        server.should_exit = True
        thread.join(30)
        address.socket.close()
        assert not thread.is_alive()


@contextmanager
def serving(application: ASGIApp, *, token: str | None = None, limits: Limits | None = None) -> Iterator[Client]:
    """An application behind its guard, on a free port of this machine."""
    free = bind("127.0.0.1", 0, None)
    address = Address(free.socket, free.host, token)
    with running(make_server(application, address, limits or Limits()), address) as client:
        yield client


def until_ctrl_c(run: Run, log: Path, visit: Callable[[Client], None], *words: object) -> Ran:
    """Run a command that serves, visit it once it listens, and press Ctrl-C."""
    ended, faults = threading.Event(), []

    def wait_and_visit() -> None:
        while not (found := re.search(r"http://127\.0\.0\.1:(\d+)/", log.read_text() if log.exists() else "")):
            if ended.wait(0.05):
                return
        try:
            visit(Client(int(found[1])))
        except BaseException as error:
            faults.append(error)
        finally:
            if not ended.is_set():
                os.kill(os.getpid(), signal.SIGINT)

    visitor = threading.Thread(target=wait_and_visit)
    visitor.start()
    try:
        return run(*words, "--port", 0, "--log-file", log)
    finally:
        ended.set()
        visitor.join()
        assert faults == []
