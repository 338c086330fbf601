"""Pair tables with their images, without files."""

import hashlib
from pathlib import Path

from consistency.data.files import ImageFile
from consistency.data.inputs import Inputs
from tests.builders.tables import make_table

IMAGES = [chr(97 + number) for number in range(8)]


def inputs_of(names: list[str], contents: list[str], hashtags: list[str]) -> Inputs:
    """Rows of images `names` with these contents, scores 1 to 5 in turn."""
    table = make_table(names, hashtags, [1 + number % 5 for number in range(len(names))])
    files = {
        name: ImageFile(name, Path(name), hashlib.sha256(content.encode()).digest(), None)
        for name, content in zip(names, contents, strict=True)
    }
    return Inputs(table, files, ())
