"""Where an image's bytes come from: the one place that opens an image, without ever waiting for it.

Whoever needs the bytes of an image (for its digest, its header or its pixels) takes them from here, be it a file of its
own, part of an archive or an object of a store. The module knows nothing of names, folders and formats.
"""

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from consistency.data.archives import Member, open_member
from consistency.errors import ImageError, os_errors_as
from consistency.remote import RemotePath, open_remote

MAX_BYTES = 400_000_000  # 50 megapixels of 16-bit RGBA, not compressed


@contextmanager
def open_image(path: Path, member: Member | None = None, copy: Path | None = None) -> Iterator[BinaryIO]:
    """The regular file `path`, or a `member` of the archive `path`, opened for reading; links are followed.

    Opening never blocks, and what was opened is checked by its descriptor: a file that is swapped for a FIFO at any
    moment is refused. The bytes of a remote path are those of its `copy` on this machine, while that is there.

    Raises
    ------
    ImageError
        If it is no regular file, the image is larger than MAX_BYTES, or cannot be read.
    StorageError
        If an object store cannot be reached.
    """
    with os_errors_as(ImageError, "cannot be read"):
        if isinstance(path, RemotePath) and (copy is not None or member is None):
            descriptor = open_remote(path, copy, MAX_BYTES)
        else:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
        try:
            status = os.fstat(descriptor)
            if stat.S_ISDIR(status.st_mode):
                raise ImageError("is a folder")
            if not stat.S_ISREG(status.st_mode):
                raise ImageError("is not a regular file")
            if (status.st_size if member is None else member.size) > MAX_BYTES:
                raise ImageError(f"is over {MAX_BYTES / 1e6:g} MB")
            if member is not None:
                with open_member(descriptor, member) as stream:
                    yield stream
            else:
                with open(descriptor, "rb", closefd=False) as stream:
                    yield stream
        finally:
            os.close(descriptor)


def read_digest(path: Path, member: Member | None = None) -> bytes:
    """SHA-256 of an image, 32 bytes, whose bytes are not kept. Raises ImageError as `open_image` does."""
    digest = hashlib.sha256()
    with open_image(path, member) as stream:
        while part := stream.read(1 << 20):
            digest.update(part)
    return digest.digest()


def read_checked(stream: BinaryIO, digest: bytes | None) -> bytes:
    """All bytes of an open image from its beginning.

    Raises
    ------
    ImageError
        If `digest`, the SHA-256 that the image was listed with, is not that of the bytes.
    """
    stream.seek(0)
    data = stream.read()
    if digest is not None and hashlib.sha256(data).digest() != digest:
        raise ImageError("changed while it was read")
    return data
