"""Running the command line in this process, and reading what it leaves behind."""

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Ran:
    """A finished command."""

    code: int
    stdout: str
    stderr: str

    def json(self) -> Any:
        return json.loads(self.stdout)


Run = Callable[..., Ran]  # the fixture `run`: run("heads", "--backbone", "tiny", ...)


def data_options(folder: Path, tmp_path: Path) -> list[object]:
    """Options for the data set in `folder` and a cache in `tmp_path`; the first four are those without the cache."""
    return ["--data", folder / "combined_data.csv", "--images", folder / "image", "--cache", tmp_path / "cache"]


def rows_of(path: Path) -> list[dict[str, str]]:
    """A CSV file's rows."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))
