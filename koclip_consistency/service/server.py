"""Starts the server: binds its address, guards it with a token where others can reach it, and ends on Ctrl-C."""

import os
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from consistency.errors import InputError, os_errors_as, os_reason
from koclip_consistency.service.guard import ANY_ADDRESS, Guard, Limits, is_loopback

SHORTEST_TOKEN = 16  # characters
CONNECTIONS = 512
GRACE = 3  # seconds that requests have left when the server ends


@dataclass(frozen=True)
class Address:
    """A bound address.

    Attributes
    ----------
    socket : socket.socket
        Not listening yet.
    host : str
        As it was given.
    token : str or None
        What requests must send; None asks for none.
    """

    socket: socket.socket
    host: str
    token: str | None

    @property
    def port(self) -> int:
        return int(self.socket.getsockname()[1])

    @property
    def url(self) -> str:
        """Where a browser on this machine finds the server; the token is in the fragment, which is never sent."""
        host = "127.0.0.1" if self.host in ANY_ADDRESS else self.host
        fragment = f"#token={self.token}" if self.token else ""
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/{fragment}"


def bind(host: str, port: int, token_file: Path | None) -> Address:
    """Bind an address; port 0 takes any free one.

    Raises
    ------
    InputError
        If the address is in use or unknown, the token file cannot be used, or other machines could connect without a
        token.
    """
    if token_file is None and not is_loopback(host):
        raise InputError(f"--host {host} lets other machines connect: give --token-file, whose token they must send")
    token = None if token_file is None else read_token(token_file)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named, because asyncio sends small packets at once (TCP_NODELAY) only on sockets that name their protocol.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        reason = os_reason(error)
        raise InputError(f"cannot listen on {host}, port {port}: {reason}; choose another with --port") from error
    return Address(bound, host, token)


def read_token(path: Path) -> str:
    """The token in a file, which is written with a random one if it does not exist.

    Raises
    ------
    InputError
        If the file cannot be read or written, others may read it, or its token is too short.
    """
    with os_errors_as(InputError, f"--token-file {path} cannot be used"):
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            if path.stat().st_mode & 0o077:
                raise InputError(f"--token-file {path} can be read by others: run chmod 600 {path}") from None
            token = path.read_text(encoding="utf-8").strip()
        else:
            token = secrets.token_urlsafe(32)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(token + "\n")
    if len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable():
        raise InputError(f"--token-file {path} holds no token of {SHORTEST_TOKEN} or more ASCII characters")
    return token


def make_server(application: ASGIApp, address: Address, limits: Limits) -> uvicorn.Server:
    """The server of an application behind its guard; `run(sockets=[address.socket])` serves it."""
    guarded = Guard(application, host=address.host, port=address.port, token=address.token, limits=limits)
    return uvicorn.Server(
        uvicorn.Config(
            guarded,
            http="h11",
            ws="none",
            lifespan="off",
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=CONNECTIONS,
            timeout_graceful_shutdown=GRACE,
        )
    )


def run_server(application: ASGIApp, address: Address, limits: Limits, announce: Callable[[], None]) -> None:
    """Serve until Ctrl-C or SIGTERM; `announce` is called when connections are accepted."""
    server = make_server(application, address, limits)
    address.socket.listen(2048)
    announce()
    try:
        server.run(sockets=[address.socket])
    except KeyboardInterrupt:  # uvicorn has ended, and passes the signal on
        pass
    finally:
        address.socket.close()
