"""Only the expected version passes; a newer one names the remedy that helps."""

from pathlib import Path

import pytest

from consistency.errors import BackboneError, InputError
from consistency.format_version import check_format


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (
            3,
            "head.json was written by a newer version of this program (format 3, expected 2): upgrade the program, or "
            "train again",
        ),
        (1, "head.json has format 1, expected 2: train again"),
        (True, "head.json has format True, expected 2: train again"),
        (2.0, "head.json has format 2.0, expected 2: train again"),
        ("\n" * 60, "head.json has format '" + "\\n" * 19 + "\\, expected 2: train again"),
        (None, "head.json has format None, expected 2: train again"),
    ],
)
def test_another_version_is_one_line(found: object, said: str) -> None:
    with pytest.raises(InputError) as caught:
        check_format(Path("head.json"), found, 2, instead="train again")
    assert str(caught.value) == said


def test_the_expected_version_passes_and_the_kind_of_error_is_chosen() -> None:
    check_format(Path("head.json"), 2, 2, instead="train again")
    with pytest.raises(BackboneError):
        check_format(Path("head.json"), 3, 2, instead="train again", kind=BackboneError)
