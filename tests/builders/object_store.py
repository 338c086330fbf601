"""An object store on this machine: moto's S3 server on the loopback, for s3fs, and what it was asked."""

import logging
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from consistency import remote

LOOPBACK = ("127.0.0.1", "::1", "localhost")
_connected: list[str] | None = None


@dataclass
class Store:
    """A running server.

    environment: what s3fs needs to find it. requests: "METHOD /bucket/key", in their order.
    """

    environment: dict[str, str]
    requests: list[str] = field(default_factory=list)

    def system(self) -> Any:
        """An fsspec file system of its own."""
        return remote.filesystem(remote.RemotePath("s3:", "tests"))

    def bucket(self, name: str) -> str:
        """A new bucket's URL."""
        self.system().mkdir(f"s3://{name}")
        return f"s3://{name}"

    def put_folder(self, folder: Path, url: str) -> None:
        """Upload every file of a folder."""
        for file in folder.rglob("*"):
            if file.is_file():
                self.system().pipe_file(f"{url}/{file.relative_to(folder).as_posix()}", file.read_bytes())


class _Requests(logging.Handler):
    def __init__(self, requests: list[str]) -> None:
        super().__init__(logging.INFO)
        self.requests = requests

    def emit(self, record: logging.LogRecord) -> None:
        words = record.getMessage().partition('"')[2].split()
        if len(words) > 1:
            self.requests.append(f"{words[0].rpartition('m')[2]} {words[1].partition('?')[0]}")


@contextmanager
def running_store() -> Iterator[Store]:
    """Start a server, to which s3:// leads until the block ends, in this process and in those it starts."""
    from moto.server import ThreadedMotoServer

    logger, store = logging.getLogger("werkzeug"), Store({})
    handler = _Requests(store.requests)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    store.environment = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "do-not-record-this",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in store.environment.items():
            patch.setenv(name, value)
        remote._make.cache_clear()
        try:
            yield store
        finally:
            system = store.system()
            system.close_session(system.loop, system._s3)
            remote._make.cache_clear()
            server.stop()
            logger.removeHandler(handler)


@contextmanager
def connections() -> Iterator[list[str]]:
    """Every address that this process connects to, or asks a name server for, during the block."""
    global _connected
    if not getattr(sys, "_connections_are_heard", False):
        sys._connections_are_heard = True  # type: ignore[attr-defined]  # a hook stays until the process ends
        sys.addaudithook(_hear)
    _connected = found = []
    try:
        yield found
    finally:
        _connected = None


def beyond_loopback(addresses: Sequence[str]) -> list[str]:
    """Those that are of another machine."""
    return [address for address in addresses if address not in LOOPBACK]


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if _connected is None:
        return
    if event == "socket.connect" and arguments[0].family in (socket.AF_INET, socket.AF_INET6):
        _connected.append(str(arguments[1][0]))
    elif event == "socket.getaddrinfo":
        _connected.append(str(arguments[0]))


def memory_folder(folder: Path, url: str) -> None:
    """Copy a folder to memory://, which only this process sees."""
    import fsspec

    for file in folder.rglob("*"):
        if file.is_file():
            place = f"{url}/{file.relative_to(folder).as_posix()}"
            fsspec.filesystem("memory").pipe_file(place, file.read_bytes())


def environment(store: Store) -> dict[str, str]:
    """The environment of a process that uses the store."""
    return {**os.environ, **store.environment}
