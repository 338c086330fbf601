"""Answers files: nothing that was confirmed is lost by a kill, a full disk or a loss of power, and names are safe."""

import errno
import random
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest

from consistency import durable
from consistency.data.annotations import annotations_csv
from consistency.data.answer_files import (
    AnswersFile,
    answers_path,
    check_name,
    list_annotators,
    read_all,
    read_answers,
)
from consistency.errors import DataError, InputError, StorageError
from tests.builders.annotations import answer, undoing
from tests.builders.faults import Faulty, Recording

LINES = [answer(1, 4), answer(2, 0, hashtag='줄\n"바꿈"', note="메모, 하나"), answer(3, 5)]


def test_lines_are_added_once(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "answers"
    with AnswersFile(folder, "kim") as file:
        assert file.append(LINES[:2]) == LINES[:2]
        assert file.append([LINES[1], LINES[2], LINES[2]]) == LINES[2:]
        assert file.append(LINES) == []
        assert file.torn is None
    assert (folder / "answers-kim.csv").read_bytes() == annotations_csv(LINES)
    with AnswersFile(folder, "kim") as file:
        assert file.lines == LINES
        assert file.append([LINES[0], undo := undoing(LINES[2])]) == [undo]
        with pytest.raises(DataError, match="has been used for another answer"):
            file.append([replace(LINES[0], score=2)])
    assert read_answers(folder / "answers-kim.csv") == [*LINES, undo]


@pytest.mark.parametrize(
    "name",
    ["", "  ", "../kim", "a/b", "a\\b", ".kim", "kim.", "-", "kim ", "a\0b", "a:b", "a\nb", "x" * 41, "a,b", '"'],
)
def test_names_that_could_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    if name == "kim ":
        assert check_name(name) == "kim"
        return
    with pytest.raises(InputError, match="the annotator's name is"):
        AnswersFile(tmp_path / "answers", name)
    assert not (tmp_path / "answers").exists()


def test_korean_names_in_any_form_are_one(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "김 철수")
    for name in ("김 철수", decomposed):
        with AnswersFile(tmp_path, name) as file:
            file.append([answer(1, 3, annotator="김 철수")])
    assert [path.name for path in tmp_path.iterdir()] == ["answers-김 철수.csv"]
    assert list(list_annotators(tmp_path)) == ["김 철수"]
    assert len(read_all(tmp_path)["김 철수"]) == 2
    AnswersFile(tmp_path, "Kim").close()
    with pytest.raises(InputError, match="there is an annotator 'Kim' already"):
        answers_path(tmp_path, "kim")


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "private.csv").write_bytes(annotations_csv(LINES))
    (tmp_path / "answers").mkdir()
    (tmp_path / "answers" / "answers-kim.csv").symlink_to(tmp_path / "private.csv")
    assert read_all(tmp_path / "answers") == {}
    with pytest.raises(StorageError, match="cannot be opened for writing"):
        AnswersFile(tmp_path / "answers", "kim")


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    with AnswersFile(tmp_path, "kim") as file:
        file.append(LINES[:1])
        with pytest.raises(InputError, match="is being written by another program"):
            AnswersFile(tmp_path, "kim")
        assert read_all(tmp_path) == {"kim": LINES[:1]}  # reading is free
        AnswersFile(tmp_path, "lee").close()
    AnswersFile(tmp_path, "kim").close()


def test_wherever_a_write_was_cut_whole_lines_are_kept_and_the_rest_is_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable.system, "fsync", lambda fd: None)  # slow, and no power fails here
    data, path = annotations_csv(LINES), tmp_path / "answers-kim.csv"
    ends = [len(annotations_csv(LINES[:n])) for n in range(len(LINES) + 1)]
    for length in sorted({*range(0, len(data), 3), *ends, *(end - 1 for end in ends), *(end + 1 for end in ends[:-1])}):
        for left in tmp_path.iterdir():
            left.unlink()
        path.write_bytes(data[:length])
        whole = sum(end <= length for end in ends) - 1
        assert whole < 0 or read_answers(path) == LINES[:whole]
        with AnswersFile(tmp_path, "kim") as file:
            assert file.lines == LINES[: max(0, whole)]
            if length in (0, *ends):
                assert file.torn is None
            else:
                assert file.torn is not None
                assert file.torn.read_bytes() == data[ends[whole] if whole >= 0 else 0 : length]
            file.append(LINES)
        assert path.read_bytes() == data


def test_a_line_damaged_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "answers-kim.csv"
    for wrong, said in (
        (annotations_csv(LINES).replace(b",4,", b",9,"), "line 2: score is '9'"),
        (annotations_csv(LINES).replace("바다".encode(), b"\xff"), "is damaged"),
        (b"a,b\n1,2\n", "is no answers file: its columns are a, b"),
        (annotations_csv(LINES) + b"x\n", "line 5: 1 cells, expected 11"),
    ):
        path.write_bytes(wrong)
        for read in (lambda: read_answers(path), lambda: AnswersFile(tmp_path, "kim")):
            with pytest.raises(DataError, match="answers-kim.csv") as error:
                read()
            assert said in str(error.value)
        assert path.read_bytes() == wrong


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EIO, "short"])
def test_a_full_disk_adds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str | int) -> None:
    with AnswersFile(tmp_path, "kim") as file:
        file.append(LINES[:1])
        before = file.path.read_bytes()
        for call in range(2):  # write, fsync
            with monkeypatch.context() as patch:
                patch.setattr(durable, "system", Faulty(call, fault))
                if fault == "short":  # the rest is written by a second call
                    file.append([LINES[1 + call]])
                    continue
                with pytest.raises(StorageError, match="was not written"):
                    file.append(LINES[1:])
            assert file.path.read_bytes() == before
            assert file.lines == LINES[:1]
        file.append(LINES[1:])
    assert read_answers(tmp_path / "answers-kim.csv") == LINES


@pytest.mark.parametrize("drop", [None, "file", "folder"])
def test_confirmed_answers_survive_a_loss_of_power(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drop: str | None
) -> None:
    """Without one of the two fsyncs the same test finds a loss."""
    root = tmp_path / "disk"
    root.mkdir()
    recording = Recording(root, drop)
    with monkeypatch.context() as patch:
        patch.setattr(durable, "system", recording)
        with AnswersFile(root, "kim") as file:
            for line in LINES:
                file.append([line])
                recording.acknowledge(line)
    monkeypatch.setattr(durable.system, "fsync", lambda fd: None)
    lost = 0
    for seed in range(100):
        target = tmp_path / f"after-{seed}"
        confirmed = recording.power_cut(target, random.Random(seed))
        try:
            with AnswersFile(target, "kim") as file:
                lost += file.lines[: len(confirmed)] != confirmed
        except DataError:
            lost += 1
    assert (lost > 0) == (drop is not None)
