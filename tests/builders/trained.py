"""Small runs that can score, trained from the command line in this process."""

from pathlib import Path

import pytest

from tests.builders.commands import data_options

COMMANDS = {
    "similarity": ["similarity", "--method", "exact"],
    "heads": ["heads"],
    "posts": ["heads", "--context", "post"],
    "audit": ["audit", "--repeats", "1"],
}


def train(data: Path, folder: Path, *names: str) -> Path:
    """Train runs of these names in `folder`/runs, with their cache in `folder`/cache."""
    from cli import main

    for name in names:
        line = ["cli.py", *COMMANDS[name], "--backbone", "tiny", *data_options(data, folder), "--quiet"]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.argv", list(map(str, [*line, "--out", folder / "runs" / name])))
            main()
    return folder
