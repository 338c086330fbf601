"""Bytes of regular files alone are read, nothing blocks, and bytes that changed are refused."""

import hashlib
import os
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from consistency.data.files import find_images
from consistency.data.sources import MAX_BYTES, open_image, read_checked, read_digest
from consistency.errors import ImageError


def refusal(path: Path) -> str:
    started = time.monotonic()
    with pytest.raises(ImageError) as error, open_image(path):
        pass
    assert time.monotonic() - started < 1
    return str(error.value)


def test_a_regular_file_and_a_link_to_it_are_opened(tmp_path: Path) -> None:
    data = os.urandom(3_000_000)  # more than one part of the digest
    (tmp_path / "a.png").write_bytes(data)
    (tmp_path / "link.png").symlink_to("a.png")
    for name in ("a.png", "link.png"):
        assert read_digest(tmp_path / name) == hashlib.sha256(data).digest()
        with open_image(tmp_path / name) as stream:
            stream.read(7)
            assert read_checked(stream, None) == data  # from the beginning, wherever the stream was


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert refusal(tmp_path / "fifo") == "is not a regular file"
    assert refusal(Path("/dev/zero")) == "is not a regular file"
    assert refusal(tmp_path) == "is a folder"
    assert refusal(tmp_path / "gone.png") == "cannot be read: No such file or directory"
    with (tmp_path / "film.mp4").open("wb") as film:
        film.truncate(MAX_BYTES + 1)
    assert refusal(tmp_path / "film.mp4") == "is over 400 MB"
    with (tmp_path / "film.mp4").open("wb") as film:
        film.truncate(MAX_BYTES)
    with open_image(tmp_path / "film.mp4"):
        pass


def test_an_image_swapped_for_a_fifo_after_it_was_found_does_not_hang(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"an image")
    file = find_images(["a.png"], tmp_path)["a.png"]
    path.unlink()
    os.mkfifo(path)
    started = time.monotonic()
    with pytest.raises(ImageError, match="^is not a regular file$"):
        file.read()
    assert time.monotonic() - started < 1


def test_a_swap_between_looking_and_opening_does_not_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is judged by what was opened: here it becomes a FIFO just before every opening."""
    path = tmp_path / "a.png"
    plain = os.open

    def swap(name: Any, *arguments: Any, **options: Any) -> int:
        if Path(name) == path and not stat.S_ISFIFO(os.stat(path).st_mode):
            path.unlink()
            os.mkfifo(path)
        return plain(name, *arguments, **options)

    path.write_bytes(b"an image")
    monkeypatch.setattr(os, "open", swap)
    assert find_images(["a.png"], tmp_path)["a.png"].problem == "is not a regular file"


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"an image")
    os.mkfifo(tmp_path / "fifo.png")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        for name in ("a.png", "fifo.png"):
            find_images([name], tmp_path)
        refusal(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before


def test_bytes_that_changed_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"an image")
    right = hashlib.sha256(b"an image").digest()
    with open_image(tmp_path / "a.png") as stream:
        assert read_checked(stream, right) == b"an image"
        with pytest.raises(ImageError, match="^changed while it was read$"):
            read_checked(stream, bytes(32))
