"""Files of a newer version, and of the first ones: refused in one line or passed over, never read as something else.

The cache has the same promise in tests/embedcache/test_catalog.py and test_segments.py.
"""

import csv
import io
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from consistency.data.answer_files import AnswersFile, read_answers
from consistency.data.memo import DigestMemo
from consistency.data.trained_on import RECORD, TrainedOn
from consistency.errors import ConsistencyError
from consistency.evaluation.metrics import METRICS
from consistency.evaluation.results import Audited
from consistency.options import Encoding, Output
from consistency.runs.folder import UNFINISHED, RunFolder, read_unfinished
from consistency.runs.read import read_audit, read_info, read_run, read_sides
from consistency.runs.registry import delete_run, list_runs
from consistency.text import to_csv
from embedcache.adopt import read_verdict
from embedcache.texts import read_texts
from finetune.checkpoint import Cadence, Checkpoints
from finetune.model import load_finetuned
from heads.load import load_head
from heads.model import Head, HeadConfig, HeadEnsemble, TrainedHead
from heads.record import Record
from koclip_consistency.scoring.exported import Exported, read_exported
from koclip_consistency.workflows.relabel import read_relabelled
from koclip_consistency.workflows.repeat import COLUMNS as SEEDS_COLUMNS
from koclip_consistency.workflows.repeat import FILE, read_trainings
from tests.builders.annotations import answer
from tests.builders.commands import Run
from tests.builders.results import make_result, open_run, write_run

COLUMNS = "has columns that this version does not know (why): upgrade the program, or "


def head() -> TrainedHead:
    return TrainedHead(HeadConfig.paper(), Head(HeadConfig.paper(), 12, seed=3).eval(), 12, 3)


def write_audited(folder: Path) -> None:
    write_run(folder, [make_result("heads-audit", split="cv")], command="audit")
    rows = [Audited(1, 3, "a.png", "#a", 4, 5, 0.9, (0.0, 0.0, 0.0, 0.1, 0.9), (70, 80))]
    RunFolder.at(folder, command="audit", backbone="tiny", config={}).write_audit(rows)


def write_trainings(folder: Path) -> None:
    (folder / FILE).write_bytes(to_csv(SEEDS_COLUMNS, [("heads", 3, *(0.5 for _ in METRICS))]))


def write_answers(folder: Path) -> None:
    with AnswersFile(folder, "kim") as file:
        file.append([answer(1, 5)])


def write_checkpoint(folder: Path) -> None:
    Checkpoints(folder, {"data": "a"}, Cadence(steps=5)).write(3, {"epoch": 1}, {})


def read_checkpoint(folder: Path) -> object:
    return Checkpoints(folder, {"data": "a"}, Cadence()).read()


def write_export(folder: Path) -> None:
    Exported(folder, "heads", Encoding(), {}).write()


def record(folder: Path) -> Record:
    return Record(folder / "grid_state.json", "a")


def begin_run(folder: Path) -> None:
    open_run(Output(out=folder))


@dataclass(frozen=True)
class Format:
    """A file that the program writes into a folder and reads again; `ours` are its messages' last words."""

    file: str
    write: Callable[[Path], Any]
    read: Callable[[Path], Any]
    instead: str
    first: bool = False  # whether the first versions wrote no number


RUN_AGAIN = "run the command of its run again"
NUMBERED = [
    Format("run.json", lambda f: write_run(f, [make_result()]), read_run, RUN_AGAIN, first=True),
    Format("run.json", lambda f: write_run(f, []), read_info, RUN_AGAIN, first=True),
    Format(UNFINISHED, begin_run, lambda f: read_unfinished(f, "heads"), "begin the run again", first=True),
    Format("head.json", lambda f: head().save(f), load_head, "train again"),
    Format("head-2/head.json", lambda f: HeadEnsemble((head(), head())).save(f), load_head, "train again"),
    Format("grid_state.json", record, record, "start a new run", first=True),
    Format("checkpoint/checkpoint.json", write_checkpoint, read_checkpoint, "train again"),
    Format(RECORD, lambda f: TrainedOn().write(f), TrainedOn.read, "fine-tune again"),
    Format("export.json", write_export, read_exported, "export the run again"),
]


@pytest.mark.parametrize("of", NUMBERED, ids=lambda of: of.file)
def test_a_number_of_another_version_is_one_line(tmp_path: Path, of: Format) -> None:
    of.write(tmp_path)
    path = tmp_path / of.file
    of.read(tmp_path)
    content = json.loads(path.read_bytes())
    assert content["format"] == 1
    for number, told in (
        (2, f"{path} was written by a newer version of this program (format 2, expected 1): upgrade the program, or "),
        (0, f"{path} has format 0, expected 1: "),
    ):
        path.write_text(json.dumps({**content, "format": number}) + "\n")
        with pytest.raises(ConsistencyError) as caught:
            of.read(tmp_path)
        assert str(caught.value) == told + of.instead
    del content["format"]
    path.write_text(json.dumps(content) + "\n")
    if of.first:
        of.read(tmp_path)
    else:
        with pytest.raises(ConsistencyError) as caught:
            of.read(tmp_path)
        assert "\n" not in str(caught.value)


COLUMNED = [
    Format("predictions.csv", lambda f: write_run(f, [make_result()]), read_run, RUN_AGAIN),
    Format("audit.csv", write_audited, read_audit, RUN_AGAIN),
    Format(FILE, write_trainings, read_trainings, RUN_AGAIN),
    Format("answers-kim.csv", write_answers, lambda f: read_answers(f / "answers-kim.csv"), "move the file away"),
    Format("answers-kim.csv", write_answers, lambda f: AnswersFile(f, "kim").close(), "move the file away"),
]


@pytest.mark.parametrize("of", COLUMNED, ids=lambda of: of.file)
def test_a_column_of_a_newer_version_is_one_line(tmp_path: Path, of: Format) -> None:
    of.write(tmp_path)
    path = tmp_path / of.file
    of.read(tmp_path)
    header, *lines = csv.reader(io.StringIO(path.read_text(encoding="utf-8"), newline=""))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([[*header, "why"], *([*line, "so"] for line in lines)])
    path.write_text(text.getvalue(), encoding="utf-8")
    with pytest.raises(ConsistencyError) as caught:
        of.read(tmp_path)
    assert str(caught.value) == f"{path} {COLUMNS}{of.instead}"
    path.write_text(path.read_text(encoding="utf-8").split(",", 1)[1], encoding="utf-8")  # and without its first one
    with pytest.raises(ConsistencyError, match="its columns are ") as caught:
        of.read(tmp_path)
    assert "\n" not in str(caught.value)
    assert path.read_text(encoding="utf-8").startswith(",".join(header[1:2]))  # nothing has touched it


def test_a_newer_run_is_listed_and_refused_and_not_deleted(tmp_path: Path, run: Run) -> None:
    folder = write_run(tmp_path / "run", [make_result()])
    info = json.loads((folder / "run.json").read_bytes())
    (folder / "run.json").write_text(json.dumps({**info, "format": 2, "config": []}))
    (entry,) = list_runs(tmp_path)
    assert entry.state == "broken"
    newer = "was written by a newer version of this program (format 2, expected 1): upgrade the program, or "
    assert entry.problem == f"{folder / 'run.json'} {newer}run the command of its run again"
    ran = run("rerun", folder)
    assert (ran.code, ran.stderr.count("\n"), newer in ran.stderr) == (2, 1, True), ran.stderr
    with pytest.raises(ConsistencyError, match=r"cannot be told to be a run .* newer version"):
        delete_run(folder)
    assert (folder / "predictions.csv").exists()


def test_a_fine_tuned_model_of_a_newer_version(tmp_path: Path) -> None:
    """Its other files are not even looked at."""
    (tmp_path / "finetune.json").write_text(json.dumps({"format": 2, "config": {"unknown": 1}}))
    with pytest.raises(ConsistencyError, match=r"by a newer version .*: upgrade the program, or fine-tune again$"):
        load_finetuned(tmp_path)


def test_a_side_of_a_newer_version_is_no_row_of_ours(tmp_path: Path) -> None:
    """`split.csv` may get more columns only with another number in run.json."""
    (tmp_path / "split.csv").write_text("row,image,hashtag,split,fold,why\n1,a.png,#a,test,,x\n")
    with pytest.raises(ConsistencyError, match=r"does not know \(why\): upgrade the program"):
        read_sides(tmp_path)


def test_of_a_list_of_relabelled_rows_only_the_rows_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.relabelled.csv").write_text("why,row,new\nx,3,5\n,7,1\n")
    assert read_relabelled(tmp_path / "a.relabelled.csv") == {3, 7}


def test_a_memo_of_another_version_is_passed_over(tmp_path: Path) -> None:
    """Rows of another width, and rows whose stamps are made in another way, are those of no image."""
    image, memo = tmp_path / "a.png", tmp_path / "cache" / "memo"
    image.write_bytes(b"content")
    memo.mkdir(parents=True)
    for data in (os.urandom(48 * 3), os.urandom(64 * 3)):
        (memo / f"part-{len(data)}-{sha256(data).hexdigest()[:32]}.bin").write_bytes(data)
    with DigestMemo(tmp_path / "cache") as found:
        assert found.digest(image) == sha256(b"content").digest()


def test_what_another_version_keeps_beside_segments_is_passed_over(tmp_path: Path) -> None:
    verdict = {"fingerprint": "a", "libraries": "b", "images": 1, "texts": 1, "largest": 0.0, "tolerance": 1e-5}
    (tmp_path / f"compared-{'a' * 32}.json").write_text(json.dumps(verdict))
    assert read_verdict(tmp_path, "a" * 64) is not None
    (tmp_path / f"compared-{'a' * 32}.json").write_text(json.dumps({**verdict, "why": ""}))
    assert read_verdict(tmp_path, "a" * 64) is None
    for texts in ({"#a": 1}, [["#a"]], "#a", [1]):
        data = json.dumps(texts).encode()
        (tmp_path / f"texts-{len(data)}-{sha256(data).hexdigest()[:32]}.json").write_bytes(data)
    assert read_texts(tmp_path) == []
