"""docs/moderation.md: its commands run in the order of the page on an export as it describes one, with `tiny`."""

import re
import shlex
from pathlib import Path

import pandas as pd
import pytest

from tests.builders.commands import Run, rows_of
from tests.promises.house import ROOT

PAGE = ROOT / "docs" / "moderation.md"
BLOCK = re.compile(r"```sh\n(.*?)```", re.S)


def commands() -> list[list[str]]:
    lines = "\n".join(BLOCK.findall(PAGE.read_text(encoding="utf-8"))).replace("\\\n", " ").splitlines()
    return [shlex.split(line.replace("koclip", "tiny"))[2:] for line in lines if line]


@pytest.fixture
def place(small_demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An export of one row per post, of which one image is lost."""
    monkeypatch.chdir(tmp_path)
    posts: dict[str, list[str]] = {}
    for row in rows_of(small_demo / "combined_data.csv"):
        posts.setdefault(row["Image Filename"], []).append("#" + row["Hashtag"].lstrip("#＃"))
    Path("photos").mkdir()
    lines = []
    for number, (image, tags) in enumerate(posts.items(), 1):
        (tmp_path / "photos" / f"p{number:03}.png").write_bytes((small_demo / "image" / image).read_bytes())
        lines.append({"id": 1000 + number, "file": f"p{number:03}.png", "hashtags": " ".join(tags)})
    Path("photos/p060.png").unlink()
    pd.DataFrame(lines).to_csv("export.csv", index=False)
    return tmp_path


def test_the_page_from_the_export_to_scores(place: Path, small_demo: Path, run: Run) -> None:
    first, one, suggested, train, scored, again = commands()
    ran = run(*first)
    assert ran.code == 3, ran.stderr
    assert "not a score of 1 to 5" in ran.stderr
    cosine = pd.read_csv("cosine.csv")
    export = pd.read_csv("export.csv")
    assert cosine["id"].drop_duplicates().tolist() == export["id"].tolist()
    assert len(cosine) == export["hashtags"].str.count("#").sum()
    answered = cosine[cosine["why_not"].isna()]
    assert set(cosine["file"]) - set(answered["file"]) == {"p060.png"}
    assert answered["percentile"].between(0, 100).all()
    assert (answered.groupby("file")["rank"].max() <= answered.groupby("file")["rank_of"].max()).all()
    assert cosine["predicted"].isna().all()

    ran = run(*one)
    assert ran.code == 0, ran.stderr
    assert "of 2" in ran.stdout
    ran = run(*suggested, "--json")
    assert [record["image"] for record in ran.json()] == ["p001.png"] * 5 + ["p002.png"] * 5
    assert {record["hashtag"] for record in ran.json()} <= set(cosine["hashtag"])

    labels = {row["Hashtag"].lstrip("#＃"): row["Score"] for row in rows_of(small_demo / "combined_data.csv")}
    labelled = cosine.assign(Score=[labels[tag.lstrip("#")] for tag in cosine["hashtag"]])
    labelled[["file", "hashtag", "Score"]].drop_duplicates(["file", "hashtag"]).to_csv("labelled.csv", index=False)
    assert run(*train).code == 3  # the lost image
    ran = run(*scored)
    assert ran.code == 3, ran.stderr
    answers = pd.read_csv("scored.csv")
    assert answers["predicted"].notna().equals(cosine["why_not"].isna())
    assert answers["familiar"].isin([True, False]).sum() == answers["predicted"].notna().sum()
    ran = run(*again, "--json")
    assert ran.code == 0, ran.stderr
    values = [record["value"] for record in ran.json()]
    assert values == sorted(values, reverse=True)
    assert len(values) == 5
