"""The report is one inert file: it fetches nothing, runs nothing from the data, and claims only what is certain."""

import base64
import csv
import hashlib
import io
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from consistency.data.leakage import Leakage
from consistency.data.pairs import Skipped
from consistency.errors import ConsistencyError, InputError
from consistency.evaluation.results import Audited, Result, evaluate_predictions
from consistency.evaluation.systems import competes
from consistency.report.gallery import THUMBNAIL
from consistency.report.page import write_report
from consistency.report.plots import training_png
from consistency.runs.folder import RunFolder
from consistency.runs.read import Run, read_audit, read_run
from tests.builders.results import make_result, write_run

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


def image_folder(folder: Path) -> Path:
    folder.mkdir()
    for number in range(11):  # of 12: one is missing, one is broken
        Image.new("RGB", (640, 320 + 50 * number), (20 * number, 90, 200)).save(folder / f"그림 {number}.png")
    (folder / "그림 10.png").write_bytes(b"<html>not found</html>")
    return folder


def test_nothing_is_fetched_and_only_its_own_script_may_run(tmp_path: Path) -> None:
    page = make_page([hostile_run(tmp_path / "run")], tmp_path / "report.html", image_folder(tmp_path / "image"))
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


def test_every_system_is_in_the_table_with_its_interval(tmp_path: Path) -> None:
    results = [
        make_result("majority", backbone="none"),
        make_result("heads-grid", seed=1),
        make_result("heads", split="cv"),
    ]
    page = make_page([read_run(write_run(tmp_path / "run", results))], tmp_path / "report.html")
    for result in results:
        low, high = result.ci95["macro_f1"] or (0, 0)
        assert re.search(rf"{result.metrics['macro_f1']:.3f} (★ \(best\) )?{low:.3f} – {high:.3f}", page.text)
        assert result.predictions.system in page.text
    assert "Protocol grouped, test " in page.text
    assert "Protocol grouped, out of fold " in page.text
    assert len(page.all("table", "matrix")) == 3
    assert "heads-grid on tiny answered for 60 pairs from 12 images (protocol grouped). " in page.text


def test_gallery_shows_small_images_worst_first(tmp_path: Path) -> None:
    run = read_run(
        write_run(tmp_path / "run", [make_result("majority", backbone="none"), make_result("heads", seed=1)])
    )
    page = make_page([run], tmp_path / "report.html", image_folder(tmp_path / "image"))
    names = {f"그림 {number}.png" for number in range(12)}
    assert {a["data-name"] for a in page.all("figure", "post")} == names
    assert page.text.count("image not found") == 2
    sources = [a["src"] or "" for a in page.all("img")]
    assert len(sources) == 10
    for source in sources:
        data = base64.b64decode(source.removeprefix("data:image/jpeg;base64,"))
        with Image.open(io.BytesIO(data)) as picture:
            picture.load()
            assert picture.format == "JPEG"
            assert max(picture.size) == THUMBNAIL
    p = run.results[1].predictions
    worst = [max(np.abs(p.predicted - p.scores)[p.images == a["data-name"]]) for a in page.all("figure", "post")]
    assert worst == sorted(worst, reverse=True)
    first, *_ = page.all("li", "tag")
    assert abs(int(first["data-label"] or 0) - int((first["data-predicted"] or "").split(",")[0])) == worst[0]

    assert len(page.all("option")) == 2 + 3 + 6 + 6 + 6


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


def perfect(system: str, backbone: str = "tiny") -> Result:
    """Answers that are all right."""
    p = make_result(system, backbone=backbone).predictions
    return evaluate_predictions(replace(p, predicted=p.scores.copy()))


def test_controls_and_what_was_picked_on_the_test_rows_have_no_star(tmp_path: Path) -> None:
    """However good they are: neither the headline nor a star nor the gallery goes to them."""
    results = [perfect("name-and-text", "none"), perfect("finetune-paper-best"), make_result("heads", seed=1)]
    assert [competes(result.predictions.system) for result in results] == [False, False, True]
    page = make_page([read_run(write_run(tmp_path / "run", results))], tmp_path / "report.html")
    assert "heads on tiny answered for 60 pairs" in page.text
    assert "but the best control, name-and-text, is better and sees no image." in page.text
    assert page.text.count("worse than name-and-text, 1.000") == 3
    assert "worse than name-and-text, 0.000" in page.text  # MAE
    assert "MAE: name-and-text, without any image, is better than every learned system." in page.text
    assert "heads (tiny)" in page.text.split("System")[-1].split("name-and-text")[0]
    assert page.all("td", "best") == []


def test_only_a_certain_lead_has_a_star_and_is_called_better(tmp_path: Path) -> None:
    weak, control = make_result("heads", seed=1), make_result("majority", backbone="none", seed=2)
    certain = make_page(
        [read_run(write_run(tmp_path / "certain", [control, weak, perfect("finetune")]))], tmp_path / "a.html"
    )
    assert "it is better than every other system and control." in certain.text
    assert len(certain.all("td", "best")) == 4
    assert "Columns without a star" not in certain.text
    (line,) = [row for row in page_rows(tmp_path / "a.html") if 'class="best"' in row]
    assert '<th scope="row">finetune' in line

    near = weak.predictions.predicted.copy()
    near[0] = near[0] % 5 + 1
    twin = evaluate_predictions(replace(weak.predictions, system="finetune", predicted=near))
    level = make_page([read_run(write_run(tmp_path / "level", [control, weak, twin]))], tmp_path / "b.html")
    assert "it cannot be told apart from" in level.text
    assert re.search(r"Accuracy: \w+ \(tiny\) cannot be told apart from majority and \w+ \(tiny\)\.", level.text)
    assert level.all("td", "best") == []


def test_a_system_alone_is_not_called_best(tmp_path: Path) -> None:
    page = make_page([read_run(write_run(tmp_path / "run", [make_result("heads")]))], tmp_path / "report.html")
    assert page.all("td", "best") == []
    for claim in ("it is better than", "No learned system", "Columns without a star", "(best)"):
        assert claim not in page.text


def test_within_one_stands_beside_the_best_constant_answer(tmp_path: Path) -> None:
    result = make_result("heads", seed=1)
    p = result.predictions
    constants = [float((np.abs(p.scores - score) <= 1).mean()) for score in range(1, 6)]
    low, high = result.ci95["within_one"] or (0, 0)
    page = make_page([read_run(write_run(tmp_path / "run", [result]))], tmp_path / "report.html")
    share = result.metrics["within_one"] or 0
    assert (
        f"{100 * share:.0f} % of its scores are within one of the label (95 % interval {100 * low:.0f} % to "
        f"{100 * high:.0f} %); always answering {np.argmax(constants) + 1} reaches {100 * max(constants):.0f} %"
    ) in page.text


def test_each_metric_is_compared_with_the_best_control_for_that_metric(tmp_path: Path) -> None:
    """One control is good at accuracy, the other at MAE."""
    p = make_result("majority", backbone="none").predictions
    far = np.where(np.arange(60) % 2, p.scores, (p.scores + 1) % 5 + 1)  # half is right, the rest is far off
    near = np.where(p.scores > 1, p.scores - 1, 2)  # never right, never far off
    controls = [
        evaluate_predictions(replace(p, predicted=far)),
        evaluate_predictions(replace(p, system="median", predicted=near)),
    ]
    page = make_page([read_run(write_run(tmp_path / "run", [*controls, perfect("heads")]))], tmp_path / "r.html")
    assert "better than majority, 0.500" in page.text
    assert "better than median, 1.000" in page.text


def page_rows(path: Path) -> list[str]:
    return re.findall(r"<tr.*?</tr>", path.read_text(encoding="utf-8"), flags=re.DOTALL)


def test_each_run_shows_its_own_images(tmp_path: Path) -> None:
    """The gallery's images come from the folder of the run it shows, not from that of the first one named."""
    folder = image_folder(tmp_path / "image")
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


def test_doubtful_labels_are_in_the_report(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run", [make_result("heads-audit", split="cv")], config={"top": 3})
    rows = [
        Audited(rank, 3 * rank, f"그림 {image}.png", HOSTILE, 4, 5, 0.9 / rank, (0.0, 0.0, 0.0, 0.1, 0.9), (70,))
        for rank, image in ((1, 1), (2, 11), (3, 1), (4, 2))
    ]
    RunFolder.at(path, command="audit", backbone="tiny", config={}).write_audit(rows)
    assert read_audit(path) == rows
    page = make_page([read_run(path)], tmp_path / "report.html", image_folder(tmp_path / "image"))
    assert [a["data-row"] for a in page.all("div", "doubt")] == ["3", "9", "6"]  # by image, the most doubtful first
    digest = hashlib.sha256((tmp_path / "image" / "그림 1.png").read_bytes()).hexdigest()
    assert [a["data-digest"] for a in page.all("figure", "post") if "data-digest" in a] == [digest, ""]
    assert len(page.all("label", "decision")) == 2  # none about an image that is not there
    assert "그림 1.png 1. " in page.text
    assert "row 3 and its repeats" in page.text
    assert "label 4 → suggested 5 doubt 0.90" in page.text
    (path / "audit.csv").write_text("rank,row\n1,x\n")
    with pytest.raises(InputError, match="damaged"):
        make_page([read_run(path)], tmp_path / "report.html")


def run_with(path: Path, division: object, *results: Result) -> Run:
    folder = write_run(path, results or [make_result("heads")], details={"division": division})
    return read_run(folder)


def test_leakage_is_shown_as_the_run_records_it(tmp_path: Path) -> None:
    found = {"test": Leakage(6, 5, 4, 3), "cv": Leakage(3000, 30, 20, 10, near=40)}
    division = {"leakage": {split: asdict(leak) for split, leak in found.items()}}
    results = make_result("heads", protocol="paper"), make_result("heads", protocol="paper", split="cv")
    page = make_page([run_with(tmp_path / "run", division, *results)], tmp_path / "report.html")
    assert "Of 6 test rows 5 have their image in train, 4 their exact pair, 3 their hashtag." in page.text
    assert "Of 3,000 test rows 30 have" in page.text
    assert "10 their hashtag, 40 their image or a near-duplicate of it." in page.text
    assert len(page.all("ul", "leaks")) == 2


def test_whatever_else_a_run_says_about_its_division_is_shown(tmp_path: Path) -> None:
    clean = asdict(Leakage(360, 0, 0, 262))
    notes = [f"protocol grouped: {Leakage(360, 0, 0, 262)}", "only 12 images are tested: intervals are wide"]
    page = make_page([run_with(tmp_path / "a", {"leakage": {"test": clean}, "notes": notes})], tmp_path / "a.html")
    shown = page.text.split("every test image is new.")[1].split("System")[0]
    expected = (
        "Protocol grouped: of 360 test rows 0 have their image in train, 0 their exact pair, 262 their hashtag. "
        "Only 12 images are tested: intervals are wide."
    )
    assert shown.strip() == expected
    assert page.all("ul", "leaks") == []

    tuned = {**clean, "images_that_trained_the_backbone": 30}
    page = make_page([run_with(tmp_path / "b", {"leakage": {"test": tuned}})], tmp_path / "b.html")
    assert "262 their hashtag; images that trained the backbone: 30." in page.text
    assert len(page.all("ul", "leaks")) == 1


@pytest.mark.parametrize(
    "division",
    [None, 5, [], {"leakage": 5}, {"leakage": {"test": []}}, {"leakage": {"test": {"n": "x"}}}, {"notes": [5, None]}],
)
def test_a_division_that_is_no_record_is_passed_over(tmp_path: Path, division: object) -> None:
    page = make_page([run_with(tmp_path / "run", division)], tmp_path / "report.html")
    assert page.all("ul", "notes") == []


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
    (read,) = run.results
    undefined = replace(read, metrics={**read.metrics, "qwk": None}, ci95=dict.fromkeys(read.ci95))
    one = Run(run.path, run.info, (undefined,))
    page = make_page([one], tmp_path / "folder" / "report.html")
    assert "–" in page.text
    assert "None" not in page.text


def test_nothing_to_report_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no result to report"):
        write_report([], tmp_path / "report.html", images=None)
    assert not (tmp_path / "report.html").exists()


def test_training_curves_are_a_png_of_the_run_itself(tmp_path: Path) -> None:
    """A received run folder must not make the report embed a private file."""
    folder = write_run(tmp_path / "run", [make_result()])
    curves = training_png([{"epoch": 1, "train_loss": 0.5}])
    (folder / "training_results.png").write_bytes(curves)
    page = make_page([read_run(folder)], tmp_path / "report.html")
    shown = [a["src"] or "" for a in page.all("img")]
    assert shown == ["data:image/png;base64," + base64.b64encode(curves).decode()]

    (folder / "training_results.png").write_bytes(b"-----BEGIN PRIVATE KEY-----")
    with pytest.raises(InputError, match="training_results.png is no PNG image"):
        make_page([read_run(folder)], tmp_path / "other.html")
    (folder / "training_results.png").unlink()
    (tmp_path / "private.png").write_bytes(curves)
    (folder / "training_results.png").symlink_to(tmp_path / "private.png")
    with pytest.raises(InputError, match="training_results.png is a symbolic link"):
        make_page([read_run(folder)], tmp_path / "other.html")
    assert not (tmp_path / "other.html").exists()


STRANGE = [
    None, True, -1, 0, 6, 1e308, 10**30, float("nan"), float("inf"), "", "x", "a\0b", "\ud800", HOSTILE, "../..",
    "/" * 5000, [], {}, [None], {"n": None}, [[[]]],
]  # fmt: skip


def places(value: object, path: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    """Where a JSON value can be changed."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in inside for place in places(item, (*path, key)))]


def changed_json(text: str, draw: Callable[[int], int]) -> str:
    value = json.loads(text)
    *path, last = [*places(value)[1:]][draw(len(places(value)) - 1)]
    at = value
    for key in path:
        at = at[key]
    if draw(5):
        at[last] = STRANGE[draw(len(STRANGE))]
    else:
        del at[last]
    return json.dumps(value)


def changed_csv(text: str, draw: Callable[[int], int]) -> str:
    rows = list(csv.reader(io.StringIO(text, newline="")))
    row = rows[draw(min(len(rows), 4))]
    row[draw(len(row))] = str(STRANGE[draw(len(STRANGE))])
    buffer = io.StringIO()
    csv.writer(buffer).writerows(rows if draw(5) else [row[:-1] for row in rows])
    return buffer.getvalue()


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with everything that a report reads."""
    folder = tmp_path_factory.mktemp("whole")
    division = {"leakage": {"test": asdict(Leakage(6, 5, 4, 3))}, "notes": ["few"]}
    precision = {"n": 9, "moved": 3, "found": 2, "precision": 0.6, "low": 0.1, "high": 0.9, "chance": 0.3}
    config: dict[str, object] = {"top": 2, "source": {"images": str(folder / "image")}}
    spread = {"mean": 0.5, "deviation": 0.1, "low": 0.3, "high": 0.7}
    trainings = {
        "system": "heads",
        "seeds": [42, 7],
        "redrawn_split": True,
        "metrics": {"accuracy": spread, "macro_f1": spread, "mae": None, "qwk": spread},
    }
    details: dict[str, object] = {"division": division, "precision": precision, "trainings": trainings}
    image_folder(folder / "image")
    run = write_run(
        folder / "run", [make_result("majority", backbone="none"), make_result()], config=config, details=details
    )
    writer = RunFolder.at(run, command="audit", backbone="tiny", config={})
    writer.write_audit([Audited(1, 3, "그림 1.png", "#a", 4, 5, 0.9, (0.0, 0.0, 0.0, 0.1, 0.9), (70,))])
    writer.write_skipped([Skipped(7, "e.png", "#z", "not found")])
    return run


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_changed_run_folder_is_shown_or_refused_in_one_line(whole_run: Path, data: st.DataObject) -> None:
    def draw(size: int) -> int:
        return data.draw(st.integers(0, size - 1))

    name = ["run.json", "metrics.json", "predictions.csv", "audit.csv", "skipped.csv"][draw(5)]
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        shutil.copytree(whole_run, run)
        text = (run / name).read_bytes().decode("utf-8")
        change = changed_json if name.endswith("json") else changed_csv
        (run / name).write_bytes(change(text, draw).encode("utf-8", "surrogatepass"))
        told = ""
        try:
            write_report([read_run(run)], Path(folder) / "report.html")
        except ConsistencyError as error:
            told = str(error)
        assert (Path(folder) / "report.html").exists() == (told == "")
        assert "\n" not in told


def test_controls_are_folded_behind_the_learned_systems(tmp_path: Path) -> None:
    results = [make_result("majority", backbone="none"), make_result("median", backbone="none"), make_result("heads")]
    text = write_and_read([read_run(write_run(tmp_path / "run", results))], tmp_path)
    folded = re.search(r'<details class="controls card">(.*?)<h2', text, re.S)
    assert folded
    assert "<summary>Controls: 2 confusion matrices</summary>" in folded[0]
    assert folded[1].count('class="matrix"') == 2
    assert text.count('class="matrix"') == 3
    alone = write_and_read([read_run(write_run(tmp_path / "alone", results[:1]))], tmp_path)
    assert '<details class="controls card" open>' in alone


def write_and_read(runs: Sequence[Run], folder: Path) -> str:
    write_report(runs, folder / "page.html")
    return (folder / "page.html").read_text(encoding="utf-8")


def test_hashtags_are_listed_with_their_errors_and_a_large_report_lists_the_first(tmp_path: Path) -> None:
    result = make_result("heads", n=900)
    p = result.predictions
    p.hashtags[:] = [f"#{row % 450}" for row in range(900)]
    p.hashtags[:30] = "#바다"
    text = write_and_read([read_run(write_run(tmp_path / "run", [result]))], tmp_path)
    assert "The first 300 of 451 hashtags are listed." in text
    error = (p.predicted - p.scores)[:30]
    row = re.search(r'data-find="#바다".*?</tr>', text)
    assert row
    assert f"<td>30</td><td>{p.scores[:30].mean():.2f}</td><td>{p.predicted[:30].mean():.2f}</td>" in row[0]
    assert re.search(rf"<td>{re.escape(f'{error.mean():+.2f}')}</td><td>[+-]\d\.\d\d to [+-]\d\.\d\d</td>", row[0])


def test_alternative_texts_say_which_hashtags_an_image_has(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "run", [make_result("heads")]))
    page = make_page([run], tmp_path / "report.html", image_folder(tmp_path / "image"))
    texts = [a["alt"] or "" for a in page.all("img")]
    assert texts
    assert all(text.startswith("Image with ") for text in texts)
    assert not any(".png" in text for text in texts)


def test_similarities_are_shown_with_their_thresholds(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [make_result("similarity-exact", probabilities=False)])
    assert 'class="histogram"' not in write_and_read([read_run(run)], tmp_path)
    (run / "thresholds.json").write_text('{"similarity-exact": {"thresholds": [2.2, 2.5, 3, 99]}}')
    text = write_and_read([read_run(run)], tmp_path)
    assert text.count('class="histogram"') == 1
    assert "exact: 2.200, 2.500, 3.000, 99.000" in text
    assert text.count('class="cut kind0"') == 3 + 1  # 99 is beyond the axis; one is in the key
