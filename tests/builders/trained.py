"""Runs that can score: one is trained from the command line in this process, the others are made from it."""

import json
import re
import shutil
from pathlib import Path

import pytest

from consistency.evaluation.results import Audited
from consistency.runs.folder import RunFolder
from heads.similarity import SimilarityModel
from tests.builders.commands import data_options, rows_of
from tests.builders.results import make_result, write_run


def train(data: Path, folder: Path) -> Path:
    """Train a head in `folder`/runs/heads, with its cache in `folder`/cache, and make the others from it."""
    from cli import main

    runs = folder / "runs"
    words = ["heads", "--backbone", "tiny", *data_options(data, folder), "--quiet"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["cli.py", *map(str, words), "--out", str(runs / "heads")])
        main()
    _make_similarity(runs / "heads", runs / "similarity")
    _make_audit(runs / "audit", data)
    return folder


def _make_similarity(trained: Path, run: Path) -> None:
    """A run of fixed thresholds on the same embeddings, with the other's predictions under its name."""
    shutil.copytree(trained, run)
    for path in [*run.glob("*.safetensors*"), *run.glob("*.npz*"), run / "head.json"]:
        if "familiarity" not in path.name:
            path.unlink()
    for name, of_the_head in (("predictions.csv", r"^heads(?=,)"), ("metrics.json", r'(?<="system": ")heads(?=")')):
        text = (run / name).read_text(encoding="utf-8")
        (run / name).write_text(re.sub(of_the_head, "similarity-exact", text, flags=re.M), encoding="utf-8")
    thresholds = SimilarityModel("exact", (-0.1, 0.1, 0.2, 0.3), "macro-f1", 0.5).as_dict()
    (run / "thresholds.json").write_text(json.dumps({"similarity-exact": thresholds}))


def _make_audit(run: Path, data: Path) -> None:
    """An audit that doubts every seventh label."""
    write_run(run, [make_result("heads-audit", split="cv")], command="audit")
    lines = list(enumerate(rows_of(data / "combined_data.csv"), start=1))[::7]
    audited = [
        Audited(rank, row, line["Image Filename"], line["Hashtag"], int(line["Score"]), 1 + int(line["Score"]) % 5,
                1.0 - 0.005 * rank, (0.2,) * 5, ())
        for rank, (row, line) in enumerate(lines, start=1)
    ]  # fmt: skip
    RunFolder.at(run, command="audit", backbone="tiny", config={}).write_audit(audited)
