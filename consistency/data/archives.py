"""Images in a ZIP or tar archive: where each one lies, so that it is read without unpacking the rest."""

import io
import os
import tarfile
import zipfile
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from consistency.errors import DataError, ImageError, one_line

_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZ": "bzip2", b"\xfd7": "xz", b"\x28\xb5": "zstd"}
_LOCAL_HEADER = 30  # bytes of a ZIP member's header before its name
_ENCRYPTED, _UTF_8 = 0x1, 0x800  # flags of a ZIP member


@dataclass(frozen=True, slots=True)
class Member:
    """An image in an archive.

    Attributes
    ----------
    start : int
        Position in the archive: of its bytes in a tar, of its header in a ZIP.
    size : int
        Number of its bytes.
    packed : int or None
        Number of its bytes in a ZIP where they are deflated; None where they are stored as they are.
    header : bool
        Whether a ZIP member's header comes before its bytes.
    """

    start: int
    size: int
    packed: int | None = None
    header: bool = False


def index_archive(path: Path) -> dict[str, Member | str]:
    """Where each file of an archive lies, by its name in it; for one that cannot be read, the reason.

    If all files are in one folder, they are also found without its name. Names that lead out of the archive are left
    out.

    Raises
    ------
    DataError
        If `path` is no ZIP and no uncompressed tar, or is damaged.
    """
    try:
        status = path.stat()
        return _index(path, status.st_size, status.st_mtime_ns)
    except (OSError, zipfile.BadZipFile, tarfile.TarError, NotImplementedError) as error:
        raise DataError(f"--images {path} cannot be read: {one_line(error)}") from error


@lru_cache(maxsize=1)  # a table that is read in batches looks up the images of each
def _index(path: Path, size: int, changed: int) -> dict[str, Member | str]:
    with path.open("rb") as file:
        head = file.read(2)
    if zipfile.is_zipfile(path):
        found = _index_zip(path)
    elif head in _COMPRESSED:
        raise DataError(
            f"--images {path} is compressed with {_COMPRESSED[head]}, so its images cannot be read one by one: "
            "unpack it, or name a ZIP or an uncompressed tar"
        )
    elif tarfile.is_tarfile(path):
        found = _index_tar(path)
    else:
        raise DataError(f"--images {path} is a file, expected a folder, a ZIP or a tar of images")
    found = {name.removeprefix("./"): member for name, member in found.items()}
    found = {name: member for name, member in found.items() if name[:1] != "/" and ".." not in name.split("/")}
    tops = {name.split("/")[0] for name in found if not name.startswith("__MACOSX/")}
    if len(tops) == 1 and not tops & found.keys():
        top = f"{tops.pop()}/"
        found |= {name.removeprefix(top): member for name, member in found.items() if name.startswith(top)}
    return found


def _index_zip(path: Path) -> dict[str, Member | str]:
    found: dict[str, Member | str] = {}
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.is_dir():
                continue
            member: Member | str
            if info.flag_bits & _ENCRYPTED:
                member = "is encrypted in the archive"
            elif info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                member = f"is compressed by method {info.compress_type} in the archive, expected stored or deflated"
            else:
                packed = info.compress_size if info.compress_type == zipfile.ZIP_DEFLATED else None
                member = Member(info.header_offset, info.file_size, packed, header=True)
            found[_zip_name(info)] = member
    return found


def _zip_name(info: zipfile.ZipInfo) -> str:
    """The name of a member; where none is declared as UTF-8, Korean systems write cp949."""
    if info.flag_bits & _UTF_8:
        return info.filename
    try:
        return info.orig_filename.encode("cp437").decode("cp949")
    except UnicodeError:
        return info.filename


def _index_tar(path: Path) -> dict[str, Member | str]:
    found: dict[str, Member | str] = {}
    with tarfile.open(path, "r:") as archive:
        for info in archive:
            if info.isreg() and not info.issparse():
                found[info.name] = Member(info.offset_data, info.size)
            elif info.islnk():  # a second name of an earlier file
                found[info.name] = found.get(info.linkname, "is a link in the archive")
            elif not info.isdir():
                found[info.name] = "is not a regular file in the archive"
            archive.members = []  # type: ignore[attr-defined]  # else every header stays in memory
    return found


def open_member(descriptor: int, member: Member) -> BinaryIO:
    """The bytes of an image in the archive that is open as `descriptor`.

    Raises
    ------
    ImageError
        If they are not what the index of the archive says.
    """
    start = member.start
    if member.header:
        header = os.pread(descriptor, _LOCAL_HEADER, start)
        if len(header) < _LOCAL_HEADER or not header.startswith(b"PK\3\4"):
            raise ImageError("is damaged in the archive")
        start += _LOCAL_HEADER + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    window = _Window(descriptor, start, member.size if member.packed is None else member.packed)
    if member.packed is None:
        return io.BufferedReader(window)
    try:
        inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        data = inflate.decompress(window.read(), member.size + 1)
    except zlib.error as error:
        raise ImageError(f"is damaged in the archive: {error}") from error
    if len(data) != member.size:
        raise ImageError("is damaged in the archive: its size is not what the archive says")
    return io.BytesIO(data)


class _Window(io.RawIOBase):
    """A part of an open file, at positions of its own, so that threads can share the file."""

    def __init__(self, descriptor: int, start: int, size: int) -> None:
        self._descriptor, self._start, self._size, self._at = descriptor, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
        wanted = min(len(buffer), max(0, self._size - self._at))
        part = os.pread(self._descriptor, wanted, self._start + self._at)
        buffer[: len(part)] = part
        self._at += len(part)
        return len(part)
