"""Checks that a text file is in the encoding that was named, and otherwise finds the one that reads all of it."""

import codecs
import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

from consistency.errors import DataError, os_errors_as

CANDIDATES = ("utf-8-sig", "utf-16", "cp949")
_BOMS_OF_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_PART = 1 << 20  # bytes
_BLANK = b"\xef\xbb\xbf\xff\xfe\0 \t\r\n"
_START = 4096  # characters


@dataclass(frozen=True)
class Survey:
    """What one pass over a text file tells.

    Attributes
    ----------
    digest : str
        SHA-256 of its bytes in hexadecimal.
    encoding : str
        Its encoding, for people.
    start : str
        Its first characters, without a byte-order mark.
    lines : int
        Number of its lines.
    """

    digest: str
    encoding: str
    start: str
    lines: int


def survey_text(path: Path, encoding: str) -> Survey:
    """Read a text file once, in parts, and check that all of it is in `encoding`.

    Raises
    ------
    DataError
        If it is empty or in another encoding; the message names one that reads all of it, if there is one.
    """
    try:
        decoder = codecs.getincrementaldecoder(encoding)()
        io.TextIOWrapper(io.BytesIO(), encoding=encoding)  # refuses codecs between texts, such as rot13
    except LookupError as error:
        raise DataError(f"there is no encoding {encoding!r}: use for example utf-8-sig, cp949 or utf-16") from error
    digest, head, start, blank, lines = hashlib.sha256(), b"", "", True, 1
    with os_errors_as(DataError, f"{path} cannot be read"), path.open("rb") as file:
        while True:
            part = file.read(_PART)
            digest.update(part)
            head = head or part[:3]
            blank = blank and not part.strip(_BLANK)
            try:
                text = decoder.decode(part, final=not part)
            except UnicodeError as error:
                if isinstance(error, UnicodeDecodeError):
                    lines += error.object.count(b"\n", 0, error.start)
                raise DataError(f"{path}, line {lines}: not {encoding}; {_advice(path, encoding)}") from error
            start = start or text[:_START]
            lines += part.count(b"\n")
            if not part:
                break
    if blank:
        raise DataError(f"{path} is empty, expected a header and rows")
    start = start.removeprefix("\ufeff")
    if "\0" in start[:2]:
        other = "utf-16-be" if start.startswith("\0") else "utf-16-le"
        raise DataError(f"{path} is not {encoding} but looks like UTF-16: --encoding {other}")
    return Survey(digest.hexdigest(), _described(encoding, head), start, lines)


def _described(encoding: str, head: bytes) -> str:
    if head.startswith(codecs.BOM_UTF8):
        return "UTF-8 with BOM"
    name = codecs.lookup(encoding).name.removesuffix("-sig")
    return name.upper() if name.startswith("utf") else name


def _advice(path: Path, refused: str) -> str:
    """What to do about a file that is not in the encoding `refused`; never to try that one again."""
    name = codecs.lookup(refused).name
    others = [other for other in CANDIDATES if codecs.lookup(other).name not in (name, f"{name}-sig")]
    for other in others:
        if _reads(path, other):
            return f"all of it can be read as {other}: --encoding {other}"
    return f"nor is all of it {' or '.join(others)}: save the file as UTF-8"


def _reads(path: Path, encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)()
    with os_errors_as(DataError, f"{path} cannot be read"), path.open("rb") as file:
        if encoding == "utf-16" and file.read(2) not in _BOMS_OF_UTF_16:
            return False
        file.seek(0)
        try:
            while part := file.read(_PART):
                decoder.decode(part)
            decoder.decode(b"", final=True)
        except UnicodeError:
            return False
    return True
