"""What a request must satisfy before the application sees it: Host, Origin, token, size and time."""

import asyncio
import hmac
import ipaddress
import json
import re
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = (
    "default-src 'self'; img-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}
LOOPBACK = ("127.0.0.1", "localhost", "::1")
ANY_ADDRESS = ("0.0.0.0", "::")
GUARDED = ("/v1/", "/api/", "/openapi.json")  # what needs the token: pages and health tell nothing about data
DRAINED = 8  # times the largest body: as much of a refused upload is read and dropped, so that its sender can read why
MEGABYTE = 1 << 20
_HOST = re.compile(r"(?P<name>\[[^\]]*\]|[^:]+)(?::(?P<port>\d{1,5}))?")


@dataclass(frozen=True)
class Limits:
    """What a request may ask for.

    Attributes
    ----------
    body : int
        Largest body in bytes.
    seconds : float
        For sending the body, and again for the answer.
    hashtags : int
        Most hashtags, or suggestions, in a request.
    """

    body: int = 20 * MEGABYTE
    seconds: float = 30.0
    hashtags: int = 100


class Guard:
    """ASGI middleware that refuses requests which no page or program of the user's own would send.

    A page of a foreign site can make a browser send requests to this machine, also under a name of its own that leads
    here (DNS rebinding); so Host and Origin are checked even on loopback, where no token is needed.

    Parameters
    ----------
    app : ASGI application
    host : str
        The address that the server is bound to.
    port : int
        Its port.
    token : str or None
        What requests for data must send as `Authorization: Bearer TOKEN`; None asks for none.
    limits : Limits
        The largest and slowest request.
    """

    def __init__(self, app: ASGIApp, *, host: str, port: int, token: str | None, limits: Limits) -> None:
        self._app, self._host, self._port, self._token, self._limits = app, host, port, token, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = _Request(receive, send, self._limits)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if refusal := self.refusal(scope["path"], headers):
            await request.refuse(*refusal)
        elif _length(headers) > self._limits.body:
            await request.refuse(413, request.too_large)
        else:
            await self._app(scope, request.receive, request.send)
            await request.finish()

    def refusal(self, path: str, headers: Mapping[str, str]) -> tuple[int, str] | None:
        """Status and reason if a request is refused for its origin; None if it is not."""
        host = headers.get("host", "")
        if not self._is_ours(host):
            return 403, f"this server does not answer under the name {host!r}: use the address that it printed"
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            return 403, f"requests from {origin!r} are refused: only pages of this server may ask it"
        guarded = path.startswith(GUARDED)
        if guarded and headers.get("sec-fetch-site") in ("cross-site", "same-site"):
            return 403, "requests from other sites are refused: only pages of this server may ask it"
        if guarded and self._token is not None:
            given = headers.get("authorization", "").removeprefix("Bearer ")
            if not hmac.compare_digest(given.encode(), self._token.encode()):
                return 401, "a token is needed: send `Authorization: Bearer TOKEN`, with the token of --token-file"
        return None

    def _is_ours(self, host: str) -> bool:
        """Whether the Host header names this server."""
        parts = _HOST.fullmatch(host)
        if parts is None or int(parts["port"] or 80) != self._port:
            return False
        name = parts["name"].strip("[]").lower()
        if self._host in ANY_ADDRESS:  # a numeric address cannot be rebound; of names, this machine's own
            return name in (*LOOPBACK, socket.gethostname().lower()) or _is_address(name)
        return name in (LOOPBACK if self._host in LOOPBACK else (self._host.lower(),))


class _Request:
    """A request whose body is counted and timed while it arrives, and whose answer gets this server's headers."""

    def __init__(self, receive: Receive, send: Send, limits: Limits) -> None:
        self._receive, self._send, self._limits = receive, send, limits
        self._until = time.monotonic() + limits.seconds
        self._bytes = 0
        self._whole = self._started = False
        self._refusal: tuple[int, str] | None = None

    @property
    def too_large(self) -> str:
        return f"the request is over {self._limits.body / MEGABYTE:g} MB: send a smaller image"

    async def receive(self) -> Message:
        if self._whole:  # the application waits for the client to leave
            return await self._receive()
        if self._refusal is None:
            message = await self._next()
            if message is not None and self._bytes <= self._limits.body:
                return message
            late = f"the request was not complete after {self._limits.seconds:g} s"
            self._refusal = (408, late) if message is None else (413, self.too_large)
        return {"type": "http.disconnect"}  # to the application the client has left

    async def send(self, message: Message) -> None:
        if self._refusal is not None and not self._started:
            return  # what the application says to a client that it takes for gone
        if message["type"] == "http.response.start":
            self._started = True
            named = {name for name, _ in message.get("headers", ())}
            extra = [(n.encode(), v.encode()) for n, v in HEADERS.items() if n.encode() not in named]
            message = {**message, "headers": [*message.get("headers", ()), *extra]}
        await self._send(message)

    async def finish(self) -> None:
        """Send the refusal of a body that was too large or too slow."""
        if self._refusal is not None and not self._started:
            await self.refuse(*self._refusal)

    async def refuse(self, status: int, reason: str) -> None:
        """Answer with an error, after the rest of the body has been dropped."""
        self._refusal = None
        while not self._whole and status != 408 and self._bytes <= DRAINED * self._limits.body:
            if await self._next() is None:
                break
        body = json.dumps({"error": reason}, ensure_ascii=False).encode()
        headers = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close"}
        if status == 401:
            headers["www-authenticate"] = "Bearer"
        start = {"type": "http.response.start", "status": status}
        await self.send({**start, "headers": [(name.encode(), value.encode()) for name, value in headers.items()]})
        await self.send({"type": "http.response.body", "body": body})

    async def _next(self) -> Message | None:
        """The next part of the body; None if it does not come in time."""
        try:
            message = await asyncio.wait_for(self._receive(), max(0.0, self._until - time.monotonic()))
        except TimeoutError:
            return None
        self._bytes += len(message.get("body", b""))
        self._whole = message["type"] == "http.disconnect" or not message.get("more_body", False)
        return message


def _length(headers: Mapping[str, str]) -> int:
    declared = headers.get("content-length", "0")
    return int(declared) if declared.isdecimal() else 0


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine reach a server that is bound to `host`."""
    return host in LOOPBACK or (_is_address(host) and ipaddress.ip_address(host).is_loopback)
