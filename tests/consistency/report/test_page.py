"""The report is one inert file: nothing is fetched, nothing from the data runs, everything is there."""

import base64
import hashlib
import io
import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from consistency.data.leakage import Leakage
from consistency.errors import InputError
from consistency.evaluation.controls import competes
from consistency.evaluation.results import Audited, Result, evaluate_predictions
from consistency.report.page import write_report
from consistency.runs.folder import RunFolder
from consistency.runs.read import Run, read_audit, read_run
from tests.consistency.runs.test_folder import make_result, write_run

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'&"


class Page(HTMLParser):
    """Tags with their attributes, and the text of scripts and of everything else."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.words: list[str] = []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside != "style":
            (self.scripts if self._inside == "script" else self.words).append(data)

    def all(self, tag: str, css: str = "") -> list[dict[str, str | None]]:
        return [a for name, a in self.tags if name == tag and css in (a.get("class") or "").split() + [""]]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def hostile_run(path: Path) -> Run:
    """Hashtags, names and a backbone that would like to run."""
    result = make_result("heads", backbone=HOSTILE)
    p = result.predictions
    p.hashtags[:3] = HOSTILE
    p.images[:5] = f"{HOSTILE}.png".replace("/", "_")
    return read_run(write_run(path, [make_result("majority", backbone="none"), result], config={"x": HOSTILE}))


def make_page(runs: Sequence[Run], out: Path, images: Path | None = None) -> Page:
    write_report(runs, out, images=images)
    return Page(out.read_text(encoding="utf-8"))


def picture_folder(folder: Path) -> Path:
    folder.mkdir()
    for number in range(11):  # of 12: one is missing, one is broken
        Image.new("RGB", (640, 320 + 50 * number), (20 * number, 90, 200)).save(folder / f"그림 {number}.png")
    (folder / "그림 10.png").write_bytes(b"<html>not found</html>")
    return folder


def test_nothing_is_fetched_and_only_its_own_script_may_run(tmp_path: Path) -> None:
    page = make_page([hostile_run(tmp_path / "run")], tmp_path / "report.html", picture_folder(tmp_path / "image"))
    for tag, attributes in page.tags:
        for name in ("src", "href", "srcset", "data", "action", "poster"):
            value = attributes.get(name) or ""
            assert value.startswith(("data:image/", "#")) or not value, (tag, name, value[:80])
        assert not [name for name in attributes if name.startswith("on")]
    assert tag_counts(page, "script") == 1
    assert not {"link", "iframe", "object", "embed", "base", "form"} & {tag for tag, _ in page.tags}
    policy = next(a["content"] or "" for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    digest = base64.b64encode(hashlib.sha256("".join(page.scripts).encode()).digest()).decode()
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}'" in policy
    styles = (tmp_path / "report.html").read_text(encoding="utf-8").split("<style>")[1].split("</style>")[0]
    assert "url(" not in styles
    assert "@import" not in styles


def tag_counts(page: Page, tag: str) -> int:
    return len(page.all(tag))


def test_hostile_text_is_shown_as_text(tmp_path: Path) -> None:
    page = make_page([hostile_run(tmp_path / "run")], tmp_path / "report.html")
    assert page.text.count(HOSTILE) >= 4  # hashtags, backbone, file names
    shown = {a["data-tag"] for a in page.all("li", "tag")}
    hashtags = read_run(tmp_path / "run").results[1].predictions.hashtags
    assert shown == {hashtag.replace("\r", "\n") for hashtag in hashtags}  # HTML knows one line end
    assert "alert(1)" not in "".join(page.scripts)


def test_every_system_stands_in_the_table_with_its_interval(tmp_path: Path) -> None:
    results = [
        make_result("majority", backbone="none"),
        make_result("heads-grid", seed=1),
        make_result("heads", split="cv"),
    ]
    page = make_page([read_run(write_run(tmp_path / "run", results))], tmp_path / "report.html")
    for result in results:
        low, high = result.ci95["macro_f1"] or (0, 0)
        figure = f"{result.metrics['macro_f1']:.3f}".lstrip("0")
        interval = f"{low:.3f} – {high:.3f}".replace("0.", ".")
        assert f"{figure} {interval}" in page.text
        assert result.predictions.system in page.text
    assert "Protocol grouped, test " in page.text
    assert "Protocol grouped, out of fold " in page.text
    assert len(page.all("table", "matrix")) == 3
    assert "heads-grid on tiny does best (by the mean of macro-F1 and QWK) on 60 pairs from 12 images" in page.text


def test_gallery_shows_small_pictures_worst_first(tmp_path: Path) -> None:
    run = read_run(
        write_run(tmp_path / "run", [make_result("majority", backbone="none"), make_result("heads", seed=1)])
    )
    page = make_page([run], tmp_path / "report.html", picture_folder(tmp_path / "image"))
    names = {f"그림 {number}.png" for number in range(12)}
    assert {a["data-name"] for a in page.all("figure", "picture")} == names
    assert page.text.count("image not found") == 2
    sources = [a["src"] or "" for a in page.all("img")]
    assert len(sources) == 10
    for source in sources:
        data = base64.b64decode(source.removeprefix("data:image/jpeg;base64,"))
        with Image.open(io.BytesIO(data)) as picture:
            picture.load()
            assert picture.format == "JPEG"
            assert max(picture.size) == 200
    p = run.results[1].predictions
    worst = [max(np.abs(p.predicted - p.scores)[p.images == a["data-name"]]) for a in page.all("figure", "picture")]
    assert worst == sorted(worst, reverse=True)
    first, *_ = page.all("li", "tag")
    assert abs(int(first["data-score"] or 0) - int((first["data-predicted"] or "").split(",")[0])) == worst[0]

    assert len(page.all("option")) == 2 + 3 + 6


def test_gallery_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consistency.report.gallery.MAX_PICTURES", 5)
    page = make_page([read_run(write_run(tmp_path / "run", [make_result()]))], tmp_path / "report.html")
    assert len(page.all("figure", "picture")) == 5
    assert "The 5 worst of 12 images are shown." in page.text


def test_runs_that_share_controls_show_them_once(tmp_path: Path) -> None:
    control = make_result("majority", backbone="none")
    runs = [
        read_run(write_run(tmp_path / name, [control, make_result(system, seed=i)]))
        for i, (name, system) in enumerate((("one", "heads"), ("two", "finetune")))
    ]
    page = make_page(runs, tmp_path / "report.html")
    assert len(page.all("tr", "control")) == 1
    assert page.text.count("Protocol grouped, test ") == 1
    systems = [a["data-predicted"] or "" for a in page.all("li", "tag")]
    assert all(re.fullmatch(r"[1-5],[1-5],[1-5]", answers) for answers in systems)


def test_controls_and_what_was_picked_on_the_test_rows_are_not_ranked(tmp_path: Path) -> None:
    """However good they are: neither the headline nor a star nor the gallery goes to them."""
    weak, strong = make_result("heads", seed=1), make_result("heads", seed=1)
    p = strong.predictions
    p.predicted[:] = p.scores
    perfect = evaluate_predictions(p)
    results = [
        Result(replace(p, system="name-and-text", backbone="none"), perfect.metrics, perfect.ci95),
        Result(replace(p, system="finetune-paper-best"), perfect.metrics, perfect.ci95),
        weak,
    ]
    assert [competes(result.predictions.system) for result in results] == [False, False, True]
    page = make_page([read_run(write_run(tmp_path / "run", results))], tmp_path / "report.html")
    assert "heads on tiny does best" in page.text
    assert "The best control that never sees an image is name-and-text" in page.text
    assert "heads (tiny)" in page.text.split("System")[-1].split("name-and-text")[0]
    assert len(page.all("td", "best")) == 4
    (line,) = [row for row in page_rows(tmp_path / "report.html") if 'class="best"' in row]
    assert '<th scope="row">heads' in line


def page_rows(path: Path) -> list[str]:
    return re.findall(r"<tr.*?</tr>", path.read_text(encoding="utf-8"), flags=re.DOTALL)


def test_each_run_shows_its_own_pictures(tmp_path: Path) -> None:
    """The gallery's images come from the folder of the run it shows, not from that of the first one named."""
    folder = picture_folder(tmp_path / "image")
    (tmp_path / "elsewhere").mkdir()
    weak = write_run(
        tmp_path / "weak",
        [make_result("similarity-simple", probabilities=False, seed=3)],
        config={"source": {"images": str(tmp_path / "elsewhere")}},
    )
    strong = make_result("heads", seed=1)
    strong.predictions.predicted[:] = strong.predictions.scores
    better = write_run(
        tmp_path / "strong",
        [evaluate_predictions(strong.predictions)],
        config={"source": {"images": str(folder)}},
    )
    page = make_page([read_run(weak), read_run(better)], tmp_path / "report.html")
    assert page.text.count("image not found") == 2
    assert len(page.all("img")) == 10


def test_doubtful_labels_stand_in_the_report(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run", [make_result("heads-audit", split="cv")], config={"top": 2})
    rows = [
        Audited(rank, 3 * rank, f"그림 {rank}.png", HOSTILE, 4, 5, 0.9 / rank, (0.0, 0.0, 0.0, 0.1, 0.9), (70,))
        for rank in (1, 2, 3)
    ]
    RunFolder.at(path, command="audit", backbone="tiny").write_audit(rows)
    assert read_audit(path) == rows
    page = make_page([read_run(path)], tmp_path / "report.html", picture_folder(tmp_path / "image"))
    shown = [a["data-row"] for a in page.all("figure", "picture") if a.get("data-row")]
    assert shown == ["3", "6"]
    assert "1. row 3 and its repeats · 그림 1.png" in page.text
    assert "label 4 → suggested 5 doubt 0.90" in page.text
    (path / "audit.csv").write_text("rank,row\n1,x\n")
    with pytest.raises(InputError, match="damaged"):
        make_page([read_run(path)], tmp_path / "report.html")


def test_leakage_is_told_as_the_run_tells_it(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", runs=tmp_path, command="heads", backbone="tiny")
    folder.write_results([make_result("heads", protocol="paper"), make_result("heads", protocol="paper", split="cv")])
    folder.write_file("training_results.png", (folder.path / "confusion_matrix.png").read_bytes())
    found = {"test": Leakage(6, 5, 4, 3), "cv": Leakage(3000, 30, 20, 10, near=40)}
    config = {"division": {"leakage": {split: asdict(leak) for split, leak in found.items()}}}
    folder.finish(config, seeds={}, data_digest="", fingerprint=None, timings={})
    page = make_page([read_run(folder.path)], tmp_path / "report.html")
    assert "Of 6 test rows 5 have their image in train, 4 their exact pair, 3 their hashtag." in page.text
    assert "Of 3,000 test rows 30 have" in page.text
    assert "10 their hashtag, 40 their image or a near-duplicate of it." in page.text
    assert "Training" in page.text


def test_protocols_that_leak_least_come_first(tmp_path: Path) -> None:
    protocols = ["paper", "file", "hashtag", "grouped"]
    runs = [read_run(write_run(tmp_path / name, [make_result(protocol=name)])) for name in protocols]
    page = make_page(runs, tmp_path / "report.html")
    places = [page.text.index(f"Protocol {name}") for name in protocols]
    assert places == sorted(places, reverse=True)


def test_undefined_figures_and_missing_intervals_are_dashes(tmp_path: Path) -> None:
    result = make_result("similarity-exact", n=4, probabilities=False)
    p = result.predictions
    p.images[:] = "a.png"
    run = read_run(write_run(tmp_path / "run", [result]))
    one = Run(run.path, run.info, tuple(type(r)(r.predictions, {**r.metrics, "qwk": None}, {}) for r in run.results))
    page = make_page([one], tmp_path / "folder" / "report.html")
    assert "–" in page.text
    assert "None" not in page.text


def test_nothing_to_report_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no result to report"):
        write_report([], tmp_path / "report.html", images=None)
    assert not (tmp_path / "report.html").exists()
