"""Every model folder belongs to one library, whose packages and versions are recorded."""

from importlib import metadata
from pathlib import Path

from consistency.backbone.libraries import MARKS, library_of, versions


def test_the_library_is_that_of_the_configuration(made: Path, tmp_path: Path) -> None:
    assert library_of(made) == "transformers"
    assert library_of(tmp_path) == "transformers"  # which then says what is missing
    (tmp_path / MARKS[1]).write_text("{}")
    assert library_of(tmp_path) == "open_clip"


def test_versions_are_cut_after_the_first_number_that_is_not_zero() -> None:
    found = dict(line.split(" ") for line in versions("transformers").split(", "))
    assert list(found) == ["pillow", "tokenizers", "transformers"]
    assert found["pillow"] == metadata.version("pillow").split(".")[0]
    assert found["tokenizers"].startswith("0.")
