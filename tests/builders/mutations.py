"""Mutations of real files: of their bytes, of the words of a text, and of what lies behind a checksum or a packing."""

import io
import re
import struct
import zipfile
import zlib

from hypothesis import strategies as st

_PLACES = 2**16  # a place in a file is a share of its length
_WORD = re.compile(rb'"(?:[^"\\]|\\.)*"|[\w.+-]+|[^\w\s]|\s+')
_LARGE = b"9" * 5000
FRAGMENTS = (
    *(b"", b"0", b"-1", b"1e999", b"-1e999", b"1e308", b"NaN", b"nan", b"Infinity", b"9223372036854775808", _LARGE),
    *(
        b"null",
        b"true",
        b"{}",
        b"[]",
        b"[[]]",
        b'""',
        b'"x"',
        b'"\\ud800"',
        b'"\\u0000"',
        b'"../../x"',
        b'"/etc/passwd"',
    ),
    *(
        b'"',
        b",",
        b"\n",
        b"\r",
        b"\0",
        b"\xff",
        b"\xef\xbb\xbf",
        b"\xe2\x80\xa8",
        b"=1+1",
        b"{",
        b"}",
        b"[",
        b"]",
        b":",
    ),
    *(b"[" * 3000, b'{"a":' * 3000, b"1979-05-27", b"0x1F", b"'x'"),
)

Bytes = list[tuple[int, int, bytes]]
Words = list[tuple[int, str, bytes]]

byte_changes: st.SearchStrategy[Bytes] = st.lists(
    st.tuples(
        st.integers(0, _PLACES - 1),
        st.integers(0, 8),
        st.binary(max_size=6) | st.sampled_from([b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f"]),
    ),
    min_size=1,
    max_size=5,
)
word_changes: st.SearchStrategy[Words] = st.lists(
    st.tuples(
        st.integers(0, _PLACES - 1),
        st.sampled_from(["replace", "insert", "repeat", "cut"]),
        st.sampled_from(FRAGMENTS) | st.text(max_size=4).map(lambda text: text.encode("utf-8", "surrogatepass")),
    ),
    min_size=1,
    max_size=3,
)


def change_bytes(data: bytes, changes: Bytes) -> bytes:
    """Replace up to eight bytes at each place by up to six others."""
    for place, length, new in changes:
        start = place * len(data) // _PLACES
        data = data[:start] + new + data[start + length :]
    return data


def change_words(data: bytes, changes: Words) -> bytes:
    """Replace, precede, repeat or cut off words of a text, a quoted text being one word."""
    words = _WORD.findall(data)
    for place, how, new in changes:
        if words:
            at = place * len(words) // _PLACES
            if how == "replace":
                words[at] = new
            elif how == "insert":
                words.insert(at, new)
            elif how == "repeat":
                words[at:at] = words[at : at + 8]
            else:
                del words[at : at + 3]
    return b"".join(words)


def change_png(data: bytes, changes: Bytes) -> bytes:
    """Change the bytes of a PNG, and repair the checksums of its chunks, without which no decoder reads them."""
    data, at = bytearray(change_bytes(data, changes)), 8
    while at + 12 <= len(data):
        length = struct.unpack(">I", data[at : at + 4])[0]
        end = at + 8 + length
        if end + 4 > len(data):
            break
        data[end : end + 4] = struct.pack(">I", zlib.crc32(data[at + 4 : end]))
        at = end + 4
    return bytes(data)


def change_zip(data: bytes, changes: Words) -> bytes:
    """Change the words of one member of a ZIP archive, for example of a sheet, and pack it again."""
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(packed, "w") as again:
        members = archive.namelist()
        chosen = members[changes[0][0] * 7 % len(members)]
        for name in members:
            content = archive.read(name)
            again.writestr(name, change_words(content, changes) if name == chosen else content)
    return packed.getvalue()
