"""docs/from-excel.md: its commands run in the order of the page on a workbook as it describes one, with `tiny`."""

import re
import shlex
from pathlib import Path

import openpyxl
import pytest
from PIL import Image
from pillow_heif import register_heif_opener

from tests.builders.commands import Run, rows_of
from tests.promises.house import ROOT

PAGE = ROOT / "docs" / "from-excel.md"
BLOCK = re.compile(r"```sh\n(.*?)```", re.S)


def commands() -> list[list[str]]:
    lines = "\n".join(BLOCK.findall(PAGE.read_text(encoding="utf-8"))).replace("\\\n", " ").splitlines()
    return [shlex.split(line.replace("koclip", "tiny"))[2:] for line in lines if line.startswith("python")]


@pytest.fixture
def pairs(small_demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, str]]:
    """A workbook of posts; the scores by image and hashtag of the 58 of them that can be used."""
    monkeypatch.chdir(tmp_path)
    register_heif_opener()
    posts: dict[str, dict[str, str]] = {}
    for row in rows_of(small_demo / "combined_data.csv"):
        tag = "#" + row["Hashtag"].lstrip("#＃").replace(" ", "_")
        posts.setdefault(row["Image Filename"], {})[tag] = row["Score"]
    Path("photos").mkdir()
    book = openpyxl.Workbook()
    book.active.append(["read me"])
    sheet = book.create_sheet("라벨")
    sheet.append(["파일", "해시태그", "점수", "메모"])
    found = {}
    for number, (image, scores) in enumerate(posts.items(), 1):
        name = f"p{number:03}.heic" if number % 10 == 2 else f"p{number:03}.png"
        with Image.open(small_demo / "image" / image) as opened:
            opened.convert("RGB").save(Path("photos") / name, quality=95)
        label = " ".join(scores.values())
        sheet.append([name, " ".join(scores), f"{label} 5" if number == 59 else label, "again?"])
        found[name] = scores
    Path("photos/p060.png").unlink()
    book.save("labels.xlsx")
    return {name: scores for name, scores in found.items() if name not in ("p059.png", "p060.png")}


def test_the_page_from_the_workbook_to_the_report(pairs: dict[str, dict[str, str]], run: Run) -> None:
    look, prepare, look_again, train, report = commands()
    ran = run(*look)
    assert ran.code == 3, ran.stderr
    assert "XLSX, sheet '라벨'" in ran.stdout
    assert re.search(r"the row has \d+ scores for \d+ hashtags \(row 59 of the file\)", ran.stdout)
    assert f"p060.png\tnot found in {Path('photos').resolve()}" in ran.stdout

    ran = run(*prepare)
    assert ran.code == 3, ran.stderr
    assert "cell split: " in ran.stderr
    clean: dict[str, dict[str, str]] = {}
    for row in rows_of(Path("clean/pairs.csv")):
        clean.setdefault(row["Image Filename"], {})[row["Hashtag"]] = row["Score"]
    assert clean == {name.replace(".heic", ".jpg"): scores for name, scores in pairs.items()}
    assert {path.name for path in Path("clean/image").iterdir()} == set(clean)
    changes = rows_of(Path("clean/changes.csv"))
    assert {row["row"] for row in changes if row["change"] == "left out"} == {"59", "60"}

    ran = run(*look_again)
    assert ran.code == 0, ran.stderr
    assert "Cannot be used" not in ran.stdout
    ran = run(*train)
    assert ran.code == 0, ran.stderr
    assert run(*report).code == 0
    assert Path("report.html").stat().st_size > 50_000
