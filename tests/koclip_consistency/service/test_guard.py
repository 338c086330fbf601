"""What the guard refuses, on real connections to an application that echoes."""

import http.client
import json
import socket
import time
from collections.abc import Iterator

import pytest
from starlette.types import Receive, Scope, Send

from koclip_consistency.service.guard import Guard, Limits, is_loopback
from tests.builders.serving import Client, serving

LIMITS = Limits(body=1000, seconds=1.0)
TOKEN = "a-token-of-some-length"


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the number of bytes that it got; like a framework it fails when the client leaves."""
    got, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError("the client has left")
        got, more = got + len(message.get("body", b"")), message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"cache-control", b"max-age=60")]})
    await send({"type": "http.response.body", "body": json.dumps({"bytes": got}).encode()})


async def careful(scope: Scope, receive: Receive, send: Send) -> None:
    """As `echo`, but answers 400 where the client has left, as FastAPI does."""
    try:
        await echo(scope, receive, send)
    except ConnectionError:
        await send({"type": "http.response.start", "status": 400, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with serving(careful, limits=LIMITS) as found:
        yield found


def test_answers_have_the_policy_and_keep_their_own_headers(client: Client) -> None:
    reply = client.send("/v1/x", b"12345")
    assert (reply.status, reply.json()) == (200, {"bytes": 5})
    assert reply.headers["content-security-policy"].startswith("default-src 'self';")
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["cache-control"] == "max-age=60"
    assert "server" not in reply.headers


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:{port}", 200),
        ("localhost:{port}", 200),
        ("LOCALHOST:{port}", 200),
        ("[::1]:{port}", 200),
        ("127.0.0.1", 403),  # port 80
        ("127.0.0.1:1", 403),
        ("evil.example:{port}", 403),
        ("127.0.0.1.evil.example:{port}", 403),
        ("evil.example:{port}@127.0.0.1:{port}", 403),
        ("", 403),
    ],
)
def test_a_foreign_host_is_refused(client: Client, host: str, status: int) -> None:
    host = host.format(port=client.port)
    reply = client.send("/healthz", headers={"Host": host})
    assert reply.status == status
    if status == 403:
        assert reply.error == f"this server does not answer under the name {host!r}: use the address that it printed"


@pytest.mark.parametrize(
    ("name", "value", "path", "status"),
    [
        ("Origin", "http://127.0.0.1:{port}", "/v1/x", 200),
        ("Origin", "http://evil.example", "/v1/x", 403),
        ("Origin", "http://127.0.0.1:1", "/v1/x", 403),
        ("Origin", "null", "/v1/x", 403),
        ("Sec-Fetch-Site", "same-origin", "/v1/x", 200),
        ("Sec-Fetch-Site", "none", "/v1/x", 200),
        ("Sec-Fetch-Site", "cross-site", "/v1/x", 403),
        ("Sec-Fetch-Site", "same-site", "/api/x", 403),
        ("Sec-Fetch-Site", "cross-site", "/", 200),  # a link to a page, which holds no data
    ],
)
def test_requests_of_foreign_pages_are_refused(client: Client, name: str, value: str, path: str, status: int) -> None:
    reply = client.send(path, headers={name: value.format(port=client.port)})
    assert reply.status == status
    if status == 403:
        assert "only pages of this server may ask it" in reply.error


def test_a_token_is_asked_for_on_every_path_with_data() -> None:
    with serving(echo, token=TOKEN) as client:
        for path in ("/v1/runs", "/api/rows", "/openapi.json"):
            for given in ({}, {"Authorization": "Bearer x"}, {"Authorization": f"Bearer {TOKEN}é"}):
                reply = client.send(path, headers=given)
                assert (reply.status, reply.headers["www-authenticate"]) == (401, "Bearer")
                assert "with the token of --token-file" in reply.error
            assert client.send(path, headers={"Authorization": f"Bearer {TOKEN}"}).status == 200
        assert client.send("/healthz").status == 200
        assert client.send("/").status == 200


def test_a_body_that_is_declared_too_large_is_refused(client: Client) -> None:
    reply = client.send("/v1/x", b"x" * 1001)
    assert (reply.status, reply.error) == (413, "the request is over 0.000953674 MB: send a smaller image")
    assert client.send("/v1/x", b"x" * 1000).status == 200


def test_a_body_without_a_length_is_counted(client: Client) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=20)
    connection.request("POST", "/v1/x", iter([b"x" * 600, b"y" * 600, b"z" * 600]), encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()


def test_a_slow_body_ends_and_others_are_served_meanwhile(client: Client) -> None:
    with socket.create_connection(("127.0.0.1", client.port), timeout=20) as slow:
        head = f"POST /v1/x HTTP/1.1\r\nHost: 127.0.0.1:{client.port}\r\nContent-Length: 900\r\n\r\n"
        slow.sendall(head.encode() + b"x" * 10)
        started = time.monotonic()
        assert client.send("/v1/x", b"1").status == 200
        answer = b""
        while part := slow.recv(4096):
            answer += part
        assert time.monotonic() - started < 15
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"the request was not complete after 1 s" in answer


def test_a_client_that_leaves_harms_nobody(client: Client) -> None:
    for sent in (b"", b"POST /v1/x HTT", f"POST /v1/x HTTP/1.1\r\nHost: 127.0.0.1:{client.port}\r\n".encode()):
        socket.create_connection(("127.0.0.1", client.port)).close()
        with socket.create_connection(("127.0.0.1", client.port)) as leaving:
            leaving.sendall(sent + b"Content-Length: 900\r\n\r\nxx" * bool(sent))
    assert client.send("/v1/x", b"123").json() == {"bytes": 3}


@pytest.mark.parametrize(
    ("bound", "host", "ours"),
    [
        ("0.0.0.0", "192.168.1.7:8000", True),
        ("0.0.0.0", "[fe80::1]:8000", True),
        ("0.0.0.0", f"{socket.gethostname()}:8000", True),
        ("0.0.0.0", "evil.example:8000", False),
        ("192.168.1.7", "192.168.1.7:8000", True),
        ("192.168.1.7", "192.168.1.8:8000", False),
        ("192.168.1.7", "localhost:8000", False),
        ("127.0.0.1", "192.168.1.7:8000", False),
    ],
)
def test_the_names_of_a_server_on_another_address(bound: str, host: str, ours: bool) -> None:
    guard = Guard(echo, host=bound, port=8000, token=None, limits=LIMITS)
    assert (guard.refusal("/", {"host": host}) is None) == ours


def test_the_standard_port_may_be_left_out() -> None:
    guard = Guard(echo, host="127.0.0.1", port=80, token=None, limits=LIMITS)
    assert guard.refusal("/", {"host": "localhost"}) is None


def test_loopback_addresses() -> None:
    assert [is_loopback(host) for host in ("127.0.0.1", "127.3.2.1", "localhost", "::1", "0.0.0.0", "::", "x")] == [
        True, True, True, True, False, False, False,
    ]  # fmt: skip
