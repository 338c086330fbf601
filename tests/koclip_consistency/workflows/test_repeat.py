"""`--seeds`: what is refused, and how an interrupted run continues. tests/commands compares the trainings."""

import json
from pathlib import Path

import pytest

from tests.builders.commands import Run, data_options

PAPER = "the paper protocol has the same split for every seed"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--redraw-split"], "draws a split for each of several trainings: give --seeds N as well"),
        (["--redraw-split", "--seeds", 2, "--split", "s.csv"], "draws the splits that --split FILE gives"),
        (
            ["--redraw-split", "--seeds", 2, "--protocol", "paper"],
            "the paper protocol has the same split for every seed",
        ),
        (["--redraw-split", "--seeds", 2, "--preset", "paper"], "the paper protocol has the same split for every seed"),
    ],
)
@pytest.mark.parametrize("command", ["heads", "finetune"])
def test_a_split_that_cannot_be_redrawn(
    run: Run, small_demo: Path, tmp_path: Path, command: str, given: list[object], said: str
) -> None:
    (tmp_path / "s.csv").write_text("row,image,hashtag,split,fold\n")
    given = [tmp_path / "s.csv" if word == "s.csv" else word for word in given]
    words = [command, "--backbone", "tiny", *data_options(small_demo, tmp_path)[:4], "--out", tmp_path / "r"]
    ran = run(*words, *given)
    assert ran.code == 2
    assert said in " ".join(ran.stderr.split())
    assert not (tmp_path / "r").exists()


def test_trainings_that_were_done_are_not_repeated(run: Run, small_demo: Path, tmp_path: Path) -> None:
    """A run that was interrupted in its third training continues with it: the first two come from seeds.csv."""
    command = ["heads", "--backbone", "tiny", *data_options(small_demo, tmp_path), "--seeds", 3]
    assert run(*command, "--out", tmp_path / "whole").code == 0
    whole = (tmp_path / "whole" / "seeds.csv").read_text()
    interrupted = tmp_path / "interrupted"
    assert run(*command, "--out", interrupted).code == 0
    begun = {
        "command": "heads",
        "directory": str(Path.cwd()),
        "config": json.loads((interrupted / "run.json").read_text())["config"],
    }
    (interrupted / "run.json").unlink()
    (interrupted / ".unfinished").write_text(json.dumps(begun))
    lines = whole.splitlines(keepends=True)
    lines[2] = lines[2].rsplit(",", 1)[0] + ",0.125\n"  # a figure that no training gives: it was read
    (interrupted / "seeds.csv").write_text("".join(lines[:3]))
    ran = run("heads", "--resume", interrupted)
    assert ran.code == 0, ran.stderr
    assert (interrupted / "seeds.csv").read_text() == "".join([*lines[:3], whole.splitlines(keepends=True)[3]])
    (interrupted / "run.json").unlink()
    (interrupted / ".unfinished").write_text(json.dumps(begun))
    (interrupted / "seeds.csv").write_text("system,seed\nheads,x\n")
    ran = run("heads", "--resume", interrupted)
    assert ran.code == 1
    assert "seeds.csv is damaged" in ran.stderr
