"""A text file is in the encoding that was named, or the message names one that reads all of it."""

from hashlib import sha256
from pathlib import Path

import pytest

from consistency.data.encodings import survey_text
from consistency.errors import DataError

TEXT = "이름,값\n" + "가나다,1\n" * 300_000  # more than one part


@pytest.mark.parametrize(
    ("encoding", "described"),
    [("utf-8", "UTF-8"), ("utf-8-sig", "UTF-8 with BOM"), ("cp949", "cp949"), ("utf-16", "UTF-16")],
)
def test_the_right_encoding_is_described(encoding: str, described: str, tmp_path: Path) -> None:
    path = tmp_path / "t"
    path.write_bytes(TEXT.encode(encoding))
    survey = survey_text(path, encoding)
    assert survey.encoding == described
    assert survey.start.startswith("이름,값\n")
    assert survey.digest == sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("written", "named", "line"),
    [("cp949", "utf-8-sig", 300_002), ("utf-16", "utf-8-sig", 1), ("utf-8", "cp949", 300_002)],
)
def test_another_encoding_is_found_and_never_the_one_that_failed(
    written: str, named: str, line: int, tmp_path: Path
) -> None:
    path = tmp_path / "t"
    head = "x,y\n" * 300_000
    path.write_bytes(head.encode() + TEXT.encode(written) if line > 1 else TEXT.encode(written))
    with pytest.raises(DataError) as error:
        survey_text(path, named)
    advised = "utf-8-sig" if written == "utf-8" else written
    first = line - 1 if line > 1 else 1
    assert str(error.value) == (
        f"{path}, line {first}: not {named}; all of it can be read as {advised}: --encoding {advised}"
    )
    survey_text(path, advised)


def test_no_encoding_reads_a_mixed_file(tmp_path: Path) -> None:
    path = tmp_path / "t"
    path.write_bytes("가을\n".encode() + "가을\n".encode("cp949"))
    for named in ("utf-8-sig", "cp949", "utf-8"):
        with pytest.raises(DataError, match=r"nor is all of it .*: save the file as UTF-8") as error:
            survey_text(path, named)
        assert "--encoding" not in str(error.value)
