"""Addresses, tokens, and the end of a server."""

import socket
from pathlib import Path

import pytest

from consistency.errors import InputError
from koclip_consistency.service.server import bind, read_token


def test_a_free_port_and_its_url() -> None:
    address = bind("127.0.0.1", 0, None)
    with address.socket:
        assert address.url == f"http://127.0.0.1:{address.port}/"
        assert address.port > 0
        assert address.socket.proto == socket.IPPROTO_TCP  # else each answer waits 40 ms for an acknowledgement


def test_a_port_in_use_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=rf"cannot listen on 127.0.0.1, port {port}: Address already in use; "):
            bind("127.0.0.1", port, None)


def test_other_machines_need_a_token(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--host 0\.0\.0\.0 lets other machines connect: give --token-file"):
        bind("0.0.0.0", 0, None)
    with pytest.raises(InputError, match="lets other machines connect"):
        bind("", 0, None)
    address = bind("0.0.0.0", 0, tmp_path / "token")
    with address.socket:
        assert address.url == f"http://127.0.0.1:{address.port}/#token={address.token}"


def test_a_token_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "token"
    token = read_token(path)
    assert len(token) >= 40
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_token(path) == token
    path.chmod(0o644)
    with pytest.raises(InputError, match=r"can be read by others: run chmod 600 "):
        read_token(path)


@pytest.mark.parametrize("content", ["", "short", "한글로 쓴 열여섯 글자 이상의 토큰입니다", "a\x07bcdefghijklmnopq"])
def test_a_file_without_a_token_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "token").write_text(content, encoding="utf-8")
    (tmp_path / "token").chmod(0o600)
    with pytest.raises(InputError, match="holds no token of 16 or more ASCII characters"):
        read_token(tmp_path / "token")


def test_a_token_file_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--token-file .* cannot be used: No such file"):
        read_token(tmp_path / "nowhere" / "token")
