"""The requests of the pages Annotate and Agreement: what is confirmed is in the file, and figures are the command's."""

import errno
import json
import os
import resource
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consistency import durable
from consistency.data.annotations import standing
from consistency.data.answer_files import AnswersFile, read_answers
from consistency.options import AgreementOptions, AnnotateExportOptions, Source
from consistency.options.annotating import Answering
from koclip_consistency.scoring.loading import load_scorer
from koclip_consistency.service.annotations import Annotations
from koclip_consistency.service.api import Service, create_api
from koclip_consistency.service.pages import add_pages
from koclip_consistency.service.shelf import Shelf
from koclip_consistency.service.study import Study
from koclip_consistency.service.worker import Worker
from koclip_consistency.workflows.agreement import run_agreement
from koclip_consistency.workflows.annotate import export_answers
from tests.builders.commands import rows_of
from tests.builders.faults import Faulty
from tests.builders.serving import Client, Reply, serving


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("annotating")


@pytest.fixture(scope="module")
def source(small_demo: Path) -> Source:
    return Source(data=small_demo / "combined_data.csv", images=small_demo / "image")


@pytest.fixture(scope="module")
def client(trained: Path, source: Source, folder: Path) -> Iterator[Client]:
    (folder / "rows.csv").write_text("row\n7\n3\n")
    shelf = Shelf(trained / "runs", load_scorer)
    study = Study(shelf, source)
    annotations = Annotations(study, folder / "answers", folder / "rows.csv")
    service = Service(shelf, Worker())
    api = create_api(service)
    add_pages(api, service, study, annotations)
    with serving(api) as found:
        yield found
    service.worker.close()
    study.close()
    annotations.close()
    AnswersFile(folder / "answers", "kim").close()  # another program may write it again


def line(item: dict[str, Any], score: int | None, number: int, **fields: Any) -> dict[str, Any]:
    found = {
        "id": f"answer-{number:04}",
        "time": f"2026-11-27T10:{number // 60:02}:{number % 60:02}Z",
        "queue": "random",
    }
    return {**found, "row": item["row"], "hashtag": item["hashtag"], "score": score, **fields}


def send(client: Client, name: str, *lines: dict[str, Any]) -> Reply:
    body = json.dumps({"annotator": name, "lines": lines}).encode()
    return client.send("/api/annotate/answers", body, headers={"Content-Type": "application/json"})


def queue(client: Client, name: str, query: str = "") -> dict[str, Any]:
    reply = client.send(f"/api/annotate/queue?name={name}{query}")
    assert reply.status == 200, reply.body
    found: dict[str, Any] = reply.json()
    return found


def test_what_is_confirmed_is_in_the_file_once(client: Client, folder: Path, source: Source) -> None:
    asked = queue(client, "kim")
    items, path = asked["items"], folder / "answers" / "answers-kim.csv"
    assert asked["file"] == str(path)
    assert (asked["lines"], asked["torn"]) == ([], None)
    lines = [line(items[0], 4, 1, note=" a\nb "), line(items[1], 0, 2), line(items[0], 2, 3, blind=False)]
    assert send(client, "kim", *lines).json() == {"saved": [each["id"] for each in lines]}
    assert send(client, "kim", lines[0], lines[2]).json() == {"saved": ["answer-0001", "answer-0003"]}
    assert send(client, "kim", line(items[0], None, 4, undo_of="answer-0003")).status == 200
    found = read_answers(path)
    assert [(each.row, each.score, each.note, each.blind) for each in found] == [
        (items[0]["row"], 4, "a b", True),
        (items[1]["row"], 0, "", True),
        (items[0]["row"], 2, "", False),
        (items[0]["row"], None, "", True),
    ]
    image = rows_of(source.data)[items[0]["row"] - 1]["Image Filename"]
    assert found[0].image_sha256 == sha256((source.images / image).read_bytes()).hexdigest()
    again = queue(client, "kim")
    assert [(each["id"], each["score"], each["note"]) for each in again["lines"]] == [
        ("answer-0001", 4, "a b"),
        ("answer-0002", 0, ""),
    ]


def test_queues(client: Client, trained: Path) -> None:
    rows = [item["row"] for item in queue(client, "lee")["items"]]
    assert sorted(set(rows)) == sorted(rows)
    assert [item["row"] for item in queue(client, "lee", "&limit=5")["items"]] == rows[:5]
    assert [item["row"] for item in queue(client, "lee", "&seed=1")["items"]] != rows
    assert [item["row"] for item in queue(client, "lee", "&kind=list")["items"]] == [7, 3]
    doubtful = [item["row"] for item in queue(client, "lee", "&kind=doubtful&audit=audit&limit=3")["items"]]
    audit = rows_of(trained / "runs" / "audit" / "audit.csv")
    assert doubtful == [int(each["row"]) for each in audit[:3]]
    for query, said in (
        ("&kind=mine", "the queue is 'mine', expected one of"),
        ("&kind=doubtful&audit=x", "there is no run 'x'"),
        ("&kind=doubtful&audit=heads", "holds no audit.csv"),
    ):
        reply = client.send(f"/api/annotate/queue?name=lee{query}")
        assert (reply.status, said in reply.error) == (422, True)
    assert client.send("/api/annotate/queue?name=lee&limit=0").status == 422
    assert client.send("/api/annotate").json()["list"].endswith("rows.csv")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"row": 99_999}, "there is no row 99999"),
        ({"hashtag": "다른"}, "is another pair in"),
        ({"score": 6}, "score is '6', expected 1 to 5"),
        ({"time": "now"}, "time is 'now'"),
        ({"id": "../../../x"}, "id is '../../../x'"),
        ({"queue": "x"}, "queue is 'x'"),
    ],
)
def test_what_is_no_answer_is_refused_with_all_that_came_beside_it(
    client: Client, folder: Path, wrong: dict[str, Any], said: str
) -> None:
    items = queue(client, "park")["items"]
    reply = send(client, "park", line(items[0], 3, 1), {**line(items[1], 3, 2), **wrong})
    assert (reply.status, said in reply.error) == (422, True)
    assert read_answers(folder / "answers" / "answers-park.csv") == []


@pytest.mark.parametrize("name", ["../kim", "a/b", "", "%00"])
def test_names_stay_inside_the_folder(client: Client, folder: Path, name: str) -> None:
    reply = client.send(f"/api/annotate/queue?name={name}")
    assert (reply.status, "the annotator's name is" in reply.error) == (422, True)
    assert send(client, name).status == 422
    assert {path.suffix for path in folder.rglob("*") if path.is_file()} == {".csv"}
    assert not list(folder.glob("*kim*"))


def test_a_foreign_page_cannot_answer(client: Client) -> None:
    body = json.dumps({"annotator": "kim", "lines": []}).encode()
    headers = {"Content-Type": "application/json", "Origin": "https://elsewhere.example"}
    assert client.send("/api/annotate/answers", body, headers=headers).status == 403


def test_another_program_cannot_write_meanwhile(client: Client, folder: Path) -> None:
    queue(client, "choi")
    with pytest.raises(Exception, match="is being written by another program"):
        AnswersFile(folder / "answers", "choi")
    with AnswersFile(folder / "answers", "busy"):
        reply = client.send("/api/annotate/queue?name=busy")
    assert (reply.status, "is being written by another program" in reply.error) == (422, True)
    assert queue(client, "busy")["lines"] == []


def test_a_full_disk_confirms_nothing_and_loses_nothing(
    client: Client, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = queue(client, "jung")["items"]
    assert send(client, "jung", line(items[0], 3, 1)).status == 200
    with monkeypatch.context() as patch:
        patch.setattr(durable, "system", Faulty(0, errno.ENOSPC))
        reply = send(client, "jung", line(items[1], 4, 2))
    assert (reply.status, "No space left on device" in reply.error) == (507, True)
    assert send(client, "jung", line(items[1], 4, 2), line(items[2], 5, 3)).status == 200
    scores = [each.score for each in standing(read_answers(folder / "answers" / "answers-jung.csv")).values()]
    assert scores == [3, 4, 5]


def test_labels_and_others_are_hidden_until_the_pair_is_answered(client: Client) -> None:
    items = queue(client, "han")["items"]
    assert {"row", "image", "hashtag"} == set(items[0])
    where = f"/api/annotate/others?name=han&row={items[5]['row']}&run=heads&system=heads"
    hidden = client.send(where)
    assert (hidden.status, "once the pair is answered" in hidden.error) == (422, True)
    send(client, "yoon", line(items[5], 1, 1, note="why"))
    queue(client, "han")
    send(client, "han", line(items[5], 2, 1))
    told = client.send(where).json()
    assert told["label"] in range(1, 6)
    assert {"annotator": "yoon", "score": 1, "note": "why"} in told["others"]
    assert "han" not in [each["annotator"] for each in told["others"]]
    unanswered = client.send(f"/api/annotate/others?name=han&row={items[6]['row']}&unanswered=true")
    assert unanswered.json()["label"] in range(1, 6)


def test_agreement_is_that_of_the_command(client: Client, source: Source, folder: Path, trained: Path) -> None:
    items, rng = queue(client, "one")["items"], np.random.default_rng(0)
    for name in ("one", "two"):
        lines = []
        for number, item in enumerate(items[:80]):
            kind = "doubtful" if number % 4 == 0 else "random"
            lines.append(line(item, int(rng.integers(1, 6)), number, queue=kind))
        assert send(client, name, *lines).status == 200
    raters = client.send("/api/raters").json()
    assert raters["chosen"][0] == "Score"
    assert {"one", "two"} <= set(raters["chosen"]) < {*raters["raters"], "x"}
    asked = "/api/agreement?rater=Score&rater=one&rater=two&run=heads"
    while (told := client.send(asked).json())["state"] == "working":
        pass
    assert told["state"] == "done", told
    found = told["result"]

    answering = Answering(answers=folder / "answers")
    export_answers(AnnotateExportOptions(answering=answering, source=source, file=folder / "rated.csv"))
    rated = AgreementOptions(
        columns="Score,one,two", run=trained / "runs" / "heads", source=replace(source, data=folder / "rated.csv")
    )
    expected = json.loads(json.dumps(run_agreement(rated).as_dict()))
    for key in ("rows", "images", "by_doubt", "krippendorff_alpha_ordinal", "pairs", "models", "ceilings"):
        assert found[key] == expected[key], key
    assert found["by_doubt"] == 19  # kim has met the first of 20 in a random queue
    assert found["disagreeing"] == len(expected["disagreements"])
    shown = [{key: each[key] for key in each if key != "id"} for each in found["disagreements"]]
    assert shown == expected["disagreements"][: len(shown)]
    while (told := client.send("/api/agreement?rater=one").json())["state"] == "working":
        pass
    assert told["error"] == "1 raters are chosen, expected at least two"


def test_columns_of_the_table_can_be_raters(source: Source, trained: Path, tmp_path: Path) -> None:
    table = rows_of(source.data)[:30]
    lines = [f"{row['Image Filename']},{row['Hashtag']},{row['Score']},{1 + n % 5}," for n, row in enumerate(table)]
    header = "Image Filename,Hashtag,Score,human,chosen_by"
    (tmp_path / "rated.csv").write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    rated = replace(source, data=tmp_path / "rated.csv")
    study = Study(Shelf(trained / "runs", load_scorer), rated)
    annotations = Annotations(study, tmp_path / "answers")
    assert annotations.raters() == {"chosen": ["Score"], "raters": ["Score"], "columns": ["human"]}
    found = annotations.agreement(["Score", "human"], "")
    expected = run_agreement(AgreementOptions(columns="Score,human", source=rated)).as_dict()
    assert found["pairs"] == expected["pairs"]
    study.close()


class Broken(durable.System):
    """A disk that fails at every call of some names, until it is mended."""

    def __init__(self, code: int, *names: str) -> None:
        def fails(*_: object) -> Any:
            raise OSError(code, os.strerror(code), "injected")

        for name in names:
            setattr(self, name, fails)


def closing_with_an_error(fd: int) -> None:
    os.close(fd)
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_whatever_fails_exactly_the_confirmed_answers_are_there(
    client: Client, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call fails once, is cut short, or fails until the disk is mended; the annotator sends again."""
    items, path = queue(client, "faults")["items"], folder / "answers" / "answers-faults.csv"
    closing = Broken(errno.EIO, "write")
    closing.close = closing_with_an_error  # type: ignore[assignment]
    disks: list[durable.System] = [closing]
    disks += [
        Broken(code, *names) for code in (errno.ENOSPC, errno.EIO) for names in (("write",), ("fsync", "truncate"))
    ]
    disks += [Faulty(at, fault) for at in range(4) for fault in (errno.ENOSPC, errno.EIO, "short")]
    statuses = []
    for number, disk in enumerate(disks):
        told = line(items[number], 1 + number % 5, number)
        with monkeypatch.context() as patch:
            patch.setattr(durable, "system", disk)
            reply = send(client, "faults", told)
        statuses.append(reply.status)
        there = [each.id for each in read_answers(path)]
        if reply.status == 200:
            assert there[-1] == told["id"]
        else:
            assert (reply.status, "\n" in reply.error) == (507, False)
            assert send(client, "faults", told).status == 200
        assert [each.id for each in read_answers(path)] == [f"answer-{n:04}" for n in range(number + 1)]
    assert statuses[:5] == [507] * 5
    assert {200, 507} == {*statuses}


def test_a_real_limit_on_the_size_of_a_file(client: Client, folder: Path) -> None:
    """The system itself takes a part of the answer, and then no more."""
    items, path = queue(client, "limit")["items"], folder / "answers" / "answers-limit.csv"
    assert send(client, "limit", line(items[0], 3, 1)).status == 200
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 20, hard))
    try:
        reply = send(client, "limit", line(items[1], 4, 2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (reply.status, "File too large" in reply.error, path.read_bytes()) == (507, True, before)
    assert send(client, "limit", line(items[1], 4, 2)).status == 200
    assert [each.score for each in read_answers(path)] == [3, 4]
