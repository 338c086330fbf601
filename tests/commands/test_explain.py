"""`explain` from the command line: the figure, the answer as JSON, and what cannot be explained."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.builders.commands import Run


@pytest.fixture
def image(small_demo: Path) -> Path:
    return sorted((small_demo / "image").iterdir())[2]


OTHERS = ["바다", "여름", "커피"]


def test_a_run_is_explained_in_a_figure_that_is_the_same_twice(
    run: Run, trained: Path, image: Path, tmp_path: Path
) -> None:
    model = ["--model", trained / "runs" / "heads", "--cache", trained / "cache"]
    others = [word for other in OTHERS for word in ("--other", other)]
    words = ["explain", *model, "--image", image, "--hashtag", "#동네카페", *others]
    ran = run(*words, "-o", tmp_path / "map.png", "--json")
    assert ran.code == 0, ran.stderr
    said = ran.json()
    assert said["image"] == image.name
    assert said["others"] == OTHERS
    assert [(each["method"], each["explains"]) for each in said["maps"]] == [
        ("attention", "cosine"),
        ("occlusion", "expected_score"),
    ]
    assert np.shape(said["maps"][1]["grid"]) == (6, 6)
    assert said["facts"]["cosine_rank"]["images"] == 60
    assert said["facts"]["hashtag_labels"]["n"] >= 5
    assert len(said["facts"]["nearest"]) == len(said["facts"]["preferred"]) == 5
    assert said["notes"][-1].startswith("evidence, not proof")

    hashtags = [word for hashtag in ("#동네카페", *OTHERS) for word in ("--hashtag", hashtag)]
    scored = run("score", *model, "--image", image, *hashtags, "--json").json()
    (record,) = (each for each in scored if each["hashtag"] == "#동네카페")
    assert said["predicted"] == record["predicted"]
    assert said["expected_score"] == pytest.approx(record["expected_score"])
    assert said["similarity"] == pytest.approx(record["similarity"])

    shown = run(*words, "-o", tmp_path / "again.png")
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "map.png").read_bytes()
    picture = Image.open(io.BytesIO((tmp_path / "map.png").read_bytes()))
    assert picture.format == "PNG"
    assert picture.width > 2.5 * picture.height  # image, two maps and the control beside each other
    for line in ("mean train label of the hashtag", "Deletion gaps", "Most similar train images", "rank highest"):
        assert line in shown.stdout
    assert "evidence, not proof" in shown.stderr


def test_without_a_run_the_cosine_is_explained(run: Run, trained: Path, image: Path, tmp_path: Path) -> None:
    words = ["explain", "--backbone", "tiny", "--cache", trained / "cache", "--image", image, "--hashtag", "동네카페"]
    ran = run(*words, "--method", "occlusion", "-o", tmp_path / "map.png", "--json")
    assert ran.code == 0, ran.stderr
    said = ran.json()
    assert (said["system"], said["predicted"], said["expected_score"]) == ("cosine", None, None)
    assert [(each["method"], each["explains"]) for each in said["maps"]] == [("occlusion", "cosine")]
    assert said["facts"]["cosine_rank"]["images"] == 60
    assert said["facts"]["hashtag_labels"] is None
    assert "without a run there are no labelled rows" in said["facts"]["notes"]


def test_a_table_that_is_gone_costs_the_facts_about_labels(
    run: Run, trained: Path, image: Path, small_demo: Path, tmp_path: Path
) -> None:
    words = ["explain", "--model", trained / "runs" / "heads", "--cache", trained / "cache", "--image", image]
    words += ["--hashtag", "동네카페", "--method", "attention", "-o", tmp_path / "map.png", "--json"]
    table = small_demo / "combined_data.csv"
    content = table.read_bytes()
    table.write_bytes(content + content.splitlines()[-1] + b"\n")
    try:
        ran = run(*words)
        named = run(*words, "--data", table)
    finally:
        table.write_bytes(content)
    assert ran.code == 0, ran.stderr
    facts = ran.json()["facts"]
    assert facts["text_only"] is None
    assert len(facts["preferred"]) == 5
    assert "has changed since" in facts["notes"][0]
    assert named.code == 2
    assert "has changed since" in named.stderr
    (tmp_path / "copy.csv").write_bytes(content)
    ran = run(*words, "--data", tmp_path / "copy.csv", "--images", small_demo / "image")
    assert ran.json()["facts"]["hashtag_labels"]["n"] >= 5


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"--backbone": None}, "name a run with --model, or a model with --backbone"),
        ({"--image": "page.jpg"}, "page.jpg cannot be scored: looks like HTML"),
        ({"--image": "lost.jpg"}, "lost.jpg cannot be scored: not found"),
        ({"--hashtag": " # "}, "cannot be scored: the hashtag is"),
        ({"--method": "gradcam"}, "is not one of 'attention', 'occlusion'"),
        ({"-o": None}, "-o"),
        ({"-o": "."}, "is a folder"),
        ({"--backbone": "nowhere/here/model"}, "there is no folder"),
        ({"--max-megapixels": "0.001"}, "is over 0.001 megapixels"),
        ({"--model": "."}, "is no run folder"),
    ],
)
def test_what_cannot_be_explained_is_one_line(
    run: Run, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, str | None], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "page.jpg").write_text("<html></html>")
    given = {"--backbone": "tiny", "--image": str(image), "--hashtag": "동네카페", "-o": "map.png", **changed}
    if "--model" in changed:
        del given["--backbone"]
    ran = run("explain", *(word for pair in given.items() if pair[1] for word in pair))
    assert ran.code == 2
    assert ran.stderr.count("\n") == 1
    assert said in ran.stderr
    assert not (tmp_path / "map.png").exists()
