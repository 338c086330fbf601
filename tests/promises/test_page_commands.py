"""Every command that README and docs show runs, in the order of its page, on drawn data with `tiny`.

Some minutes: `python -m pytest -m slow tests/promises/test_page_commands.py`. Pages with a test of their own
(`test_from_excel.py`, `test_moderation.py`) are not repeated, nor blocks `run` (`test_docs.py`), nor commands that need
several machines (`test_torchrun.py`, `test_object_store.py` and the tests of engines run their like).
"""

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import openpyxl
import pandas as pd
import pytest

from consistency.backbone.names import SHORT_NAMES
from consistency.data.annotations import annotations_csv
from tests.builders.annotations import lines_about
from tests.builders.commands import Run
from tests.builders.pages import PAGES, shown_commands

ELSEWHERE = ("from-excel.md", "moderation.md", "start.md", "labels.md", "reporting.md", "scale.md")
ENDLESS = {"app", "serve"}  # answer until Ctrl-C: tests/koclip_consistency/service runs them
NAMES = sorted({page for page, _ in shown_commands()} - set(ELSEWHERE))

pytestmark = pytest.mark.xdist_group("pages")  # which share a folder


def not_run(words: list[str]) -> bool:
    """Whether a command cannot run here.

    It does not end, needs an account, several models, Ray or an interrupted run (other tests have these), or draws
    over `data`.
    """
    draws = words == ["demo", "--out", "runs/demo"] or words[:3] == ["data", "demo", "data"]
    several = words.count("--backbone") > 1
    return words[0] in ENDLESS or several or draws or bool({"--push-to-hub", "--resume", "--engine"} & set(words))


def with_labels(frame: pd.DataFrame, words: list[str]) -> pd.DataFrame:
    """Return the table with the columns and labels that a command expects."""
    renamed = {words[words.index(flag) + 1]: column for flag, column in
               (("--image-column", "Image Filename"), ("--hashtag-column", "Hashtag"), ("--score-column", "Score"))
               if flag in words and words.count(flag) == 1}  # fmt: skip
    frame = frame.rename(columns={column: name for name, column in renamed.items()})
    if "--score-map" in words:
        meanings = dict(pair.split("=") for pair in words[words.index("--score-map") + 1].split(","))
        labels = {int(score): label for label, score in meanings.items()}
        frame = frame.assign(Score=frame["Score"].map(lambda score: labels.get(score, labels[max(labels)])))
    return frame


@pytest.fixture(scope="module")
def folder(small_demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that all pages share, with what they take for granted under the names that they use."""
    from cli import main

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("pages"))
        patch.setenv("KOCLIP_BACKBONE", "tiny")
        patch.setenv("KOCLIP_RUNS", "runs")
        shutil.copytree(small_demo, "data")
        for command, name in (
            ("heads", "heads"),
            ("similarity", "similarity"),
            ("audit", "audit"),
            ("heads", "finetune"),
        ):
            patch.setattr("sys.argv", ["cli.py", command, "--quiet", "--out", f"runs/{name}"])
            main()
        write_what_pages_name(small_demo)
        yield Path.cwd()


def write_what_pages_name(small_demo: Path) -> None:
    shutil.copytree("runs/heads", "runs/first-try")
    Path("runs/first-try/run.json").rename("runs/first-try/.unfinished")
    for name in ("images", "photos", "new"):
        Path(name).symlink_to("data/image")
    first = sorted(Path("data/image").iterdir())[0]
    for name in ("photo.jpg", "1.jpg", "2.jpg"):
        shutil.copy(first, name)
    frame = pd.read_csv("data/combined_data.csv")
    Path("parts").mkdir()
    for number in range(2):
        frame[number::2].to_parquet(f"parts/{number}.parquet")
    book = openpyxl.Workbook()
    book.active.append(["Image Filename", "Hashtag", "Score"])
    for image, rows in frame.drop_duplicates(["Image Filename", "Hashtag"]).groupby("Image Filename"):
        tags = " ".join("#" + tag.lstrip("#＃").replace(" ", "_") for tag in rows["Hashtag"])
        book.active.append([image, tags, " ".join(map(str, rows["Score"]))])
    book.save("posts.xlsx")
    Path("hashtags.txt").write_text("바다\n카페\n여행\n", encoding="utf-8")
    for name in ("kim", "lee"):
        lines = lines_about(small_demo, range(1, 31), [3] * 30, annotator=name)
        Path(f"answers-{name}.csv").write_bytes(annotations_csv(lines))
    Path("answers").mkdir()
    shutil.copy("answers-kim.csv", "answers")
    shutil.copy("answers-lee.csv", "answers")


def write_tables() -> None:
    frame = pd.read_csv("data/combined_data.csv")
    people = ("human_1", "human_2", "kim", "lee", "park")
    rated = frame.assign(**{name: frame["Score"].clip(1 + place % 2, 5) for place, name in enumerate(people)})
    for name, table in (("pairs", frame), ("combined_data", frame), ("rated", rated), ("new", frame.head(20))):
        table.to_csv(f"{name}.csv", index=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_commands_of_the_page_run(name: str, folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    (page,) = (page for page in PAGES if page.name == name)
    grids = re.findall(r"```toml\n(\[\[grid\]\].*?)```", page.read_text(encoding="utf-8"), re.S)
    for grid in grids:
        Path("grid.toml").write_text(grid)
    write_tables()
    original, ran_any = pd.read_csv("data/combined_data.csv"), False
    for shown, line in shown_commands():
        words = ["tiny" if word in SHORT_NAMES else word for word in shlex.split(line)]
        if shown != name or not_run(words):
            continue
        if name == "command-line.md":  # whose commands do not follow from each other
            write_tables()
        with_labels(original, words).to_csv("pairs.csv", index=False)
        if words[:2] == ["data", "relabel"]:  # overwrites nothing
            for earlier in Path().glob(f"{Path(words[-1]).stem}.*"):
                earlier.unlink()
        if "clip" in line.split() and "--cache" not in words:  # as koclip, it is `tiny` here
            words += ["--cache", "cache-of-clip"]
        if words[:2] == ["cache", "export"]:  # other commands of the pages left other sets of embeddings
            words += [
                "--fingerprint",
                json.loads(Path("runs/heads/run.json").read_text(encoding="utf-8"))["fingerprint"],
            ]
        if words[0] == "export":
            shutil.rmtree("my-scorer", ignore_errors=True)
        monkeypatch.setattr("sys.stdin", StringIO("y\n"))  # `runs gc --delete` asks
        ran = run(*words)
        assert ran.code in (0, 3), f"{line}\n{ran.stderr}"
        ran_any = True
    assert ran_any
