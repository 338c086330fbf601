"""`score` from the command line: one image, a table, and everything that cannot be scored."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from consistency import durable
from consistency.backbone.model import load_backbone
from consistency.backbone.resolve import resolve_backbone
from consistency.data.images import decode_image
from consistency.options import ImageLimits
from heads.familiarity import Familiarity, load_familiarity
from tests.builders.commands import Ran, Run, data_options, rows_of
from tests.builders.read_only import ReadOnly

ADDED = "row,image,hashtag,score,predicted,value,expected_score,similarity,p1,p2,p3,p4,p5,familiar,why_not"
CONTRACT = "row,image,hashtag,score,predicted,value,p1,p2,p3,p4,p5,familiar"  # whatever else is added


@pytest.fixture(scope="module")
def finished(small_demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs of similarity and heads, and their cache."""
    from cli import main

    folder = tmp_path_factory.mktemp("finished")
    common = [*data_options(small_demo, folder), "--backbone", "tiny", "--quiet", "--out"]
    for command in (["similarity", *common, folder / "run"], ["heads", *common, folder / "heads"]):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.argv", ["cli.py", *map(str, command)])
            main()
    return folder


def score(run: Run, model: Path, small_demo: Path, hashtag: str = "#바다") -> Ran:
    picture = sorted((small_demo / "image").iterdir())[0]
    words = ["score", "--model", model, "--system", "similarity-exact", "--cache", model.parent / "cache"]
    return run(*words, "--image", picture, "--hashtag", hashtag)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("thresholds.json", b"{"),
        ("thresholds.json", b"\xff\xfe"),
        ("thresholds.json", b"[1]"),
        ("thresholds.json", b'{"similarity-exact": {}}'),
        ("run.json", b"{}"),
        ("run.json", b'{"config": {"encoding": {"novelty": 1}}, "fingerprint": ""}'),
    ],
)
def test_a_damaged_run_cannot_score(
    run: Run, finished: Path, small_demo: Path, tmp_path: Path, name: str, content: bytes
) -> None:
    shutil.copytree(finished / "run", tmp_path / "run")
    (tmp_path / "run" / name).write_bytes(content)
    ran = score(run, tmp_path / "run", small_demo)
    assert ran.code == 2
    assert ran.stderr.count("\n") == 1
    assert name in ran.stderr


def test_a_run_on_other_embeddings_says_what_differs(
    run: Run, finished: Path, small_demo: Path, tmp_path: Path
) -> None:
    """Those of an older Pillow, for one: its run folder scores no images that a new one prepares."""
    shutil.copytree(finished / "run", tmp_path / "run")
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    info["fingerprint"] = "0" * 64
    info["fingerprint_fields"]["libraries"] = "pillow 12, tokenizers 0.22, transformers 5"
    (tmp_path / "run" / "run.json").write_text(json.dumps(info))
    ran = score(run, tmp_path / "run", small_demo)
    assert ran.code == 1
    assert ran.stderr.count("\n") == 1
    assert "they differ in libraries: run extract on its data with its cache, which encodes a sample" in ran.stderr
    info["fingerprint_fields"]["revision"] = "sha256:" + "c" * 64
    (tmp_path / "run" / "run.json").write_text(json.dumps(info))
    ran = score(run, tmp_path / "run", small_demo)
    assert f"they differ in libraries, revision (local@{'c' * 12} then, local@" in ran.stderr


@pytest.mark.parametrize("hashtag", ["", " # ", "\udcff"])
def test_what_is_no_hashtag_cannot_be_scored(run: Run, finished: Path, small_demo: Path, hashtag: str) -> None:
    ran = score(run, finished / "run", small_demo, hashtag)
    assert ran.code == 2
    assert "cannot be scored: the hashtag is" in ran.stderr


def test_score_one_picture(run: Run, finished: Path, small_demo: Path) -> None:
    picture = next((small_demo / "image").iterdir())
    words = ["score", "--model", finished / "heads", "--cache", finished / "cache", "--image", picture]
    ran = run(*words, "--hashtag", "#바다", "--hashtag", "카페", "--json")
    assert ran.code == 0, ran.stderr
    scored = ran.json()
    assert {record["hashtag"] for record in scored} == {"#바다", "카페"}
    assert all(record["predicted"] in range(1, 6) for record in scored)
    assert scored[0]["value"] >= scored[1]["value"]
    assert list(scored[0]) == ADDED.split(",")
    assert set(CONTRACT.split(",")) <= set(scored[0])
    shown = run(*words, "--hashtag", "#바다", "--hashtag", "카페")
    assert f"{picture.name}, scored by heads" in shown.stdout + shown.stderr


def test_one_image_is_scored_as_in_its_table_and_writes_nothing(run: Run, finished: Path, small_demo: Path) -> None:
    """By a model that is loaded for it, in a place without a cache."""
    table = finished / "table.csv"
    words = ["score", "--model", finished / "heads"]
    assert run(*words, *data_options(small_demo, finished), "-o", table).code == 0
    assert table.read_text(encoding="utf-8").splitlines()[0] == f"Image Filename,Hashtag,Score,{ADDED}"
    rows = rows_of(table)
    image = rows[0]["image"]
    mine = [row for row in rows if row["image"] == image]
    asked = [word for row in mine for word in ("--hashtag", row["hashtag"])]
    nowhere = finished / "no cache"
    ran = run(*words, "--cache", nowhere, "--image", small_demo / "image" / image, *asked, "--json")
    assert ran.code == 0, ran.stderr
    assert not nowhere.exists()
    expected = {row["hashtag"]: row for row in mine}
    assert len(ran.json()) == len(mine)
    for record in ran.json():
        row = expected[record["hashtag"]]
        assert record["predicted"] == int(row["predicted"])
        for name in ("value", "p1", "p5"):
            assert record[name] == pytest.approx(float(row[name]), abs=1e-5)


@pytest.mark.parametrize("name", ["run", "heads"])
def test_a_run_records_its_training_hashtags(run: Run, finished: Path, name: str) -> None:
    lines = rows_of(finished / name / "split.csv")
    train = {line["hashtag"] for line in lines if line["split"] == "train"}
    record = load_familiarity(finished / name)
    assert record is not None
    assert len(record.hashtags) == len(train)
    assert 0 < record.threshold < 1


def test_unfamiliar_hashtags_are_marked(run: Run, finished: Path, small_demo: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "heads", tmp_path / "run")
    (tmp_path / "run" / "familiarity.safetensors").unlink(missing_ok=True)
    backbone = load_backbone(resolve_backbone("tiny"), device="cpu", precision="fp32", trainable=False)
    picture = sorted((small_demo / "image").iterdir())[0]
    words = ["score", "--model", tmp_path / "run", "--cache", finished / "cache"]
    one = [*words, "--image", picture, "--hashtag", "바다", "--hashtag", "뷁쒫꿻"]
    unknown = run(*one, "--json")
    assert [record["familiar"] for record in unknown.json()] == [None, None]
    shown = run(*one)
    assert "familiar" not in shown.stdout + shown.stderr
    record = Familiarity(backbone.encode_texts(["바다", "카페"]), 0.999)
    record.save(tmp_path / "run")
    marked = run(*one, "--json")
    assert {r["hashtag"]: r["familiar"] for r in marked.json()} == {"바다": True, "뷁쒫꿻": False}
    shown = run(*one)
    lines = {line.split()[0]: line.split()[-1] for line in (shown.stdout + shown.stderr).splitlines() if line.split()}
    assert (lines["hashtag"], lines["바다"], lines["뷁쒫꿻"]) == ("familiar", "yes", "no")
    assert run(*words, *data_options(small_demo, finished), "-o", tmp_path / "out.csv").code == 0
    rows = rows_of(tmp_path / "out.csv")
    expected = record.familiar(backbone.encode_texts([row["hashtag"] for row in rows]))
    assert [row["familiar"] for row in rows] == np.where(expected, "true", "false").tolist()
    assert {row["familiar"] for row in rows} == {"true", "false"}


def test_whose_weights_a_file_holds_must_be_said(run: Run, small_demo: Path, tmp_path: Path) -> None:
    torch.save({"0.weight": torch.zeros(8, 64)}, tmp_path / "part.pth")
    rest = [*data_options(small_demo, tmp_path), "-o", tmp_path / "x.csv"]
    for model, backbone, said in [
        (tmp_path / "part.pth", [], "name the backbone with --backbone"),
        (tmp_path / "part.pth", ["--backbone", "tiny"], "is not a published classifier: expected the tensors 0.weight"),
        (tmp_path / "none.pth", ["--backbone", "tiny"], "does not exist"),
        (tmp_path, ["--backbone", "tiny"], "leave --backbone out"),
    ]:
        ran = run("score", "--model", model, *backbone, *rest)
        assert ran.code == 2
        assert said in ran.stderr
        assert ran.stderr.count("\n") == 1


def test_a_backbone_that_the_configuration_file_names_is_not_refused(
    run: Run, finished: Path, small_demo: Path, tmp_path: Path
) -> None:
    (tmp_path / "koclip.toml").write_text('backbone = "koclip"\nfolds = 3\n', encoding="utf-8")
    named = ("--config", tmp_path / "koclip.toml")
    picture = sorted((small_demo / "image").iterdir())[0]
    asked = ["score", "--model", finished / "heads", "--cache", finished / "cache", "--hashtag", "바다", "--json"]
    ran = run(*asked, "--image", picture, *named)
    assert ran.code == 0, ran.stderr
    assert ran.json() == run(*asked, "--image", picture).json()  # of the run's own backbone, tiny
    assert "leave --backbone out" in run(*asked, "--image", picture, *named, "--backbone", "tiny").stderr
    data = ("--data", small_demo / "combined_data.csv", "--images", small_demo / "image")
    assert run("data", "check", *data, *named).code == 0  # its folds are for other commands


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "choose one with --system"),
        (["--system", "heads"], "has no system heads: it holds similarity-simple, similarity-search, similarity-exact"),
    ],
)
def test_a_run_of_several_systems_needs_one_named(
    run: Run, finished: Path, small_demo: Path, words: list[str], said: str
) -> None:
    ran = run("score", "--model", finished / "run", *words, *data_options(small_demo, finished), "-o", "x.csv")
    assert ran.code == 2
    assert said in ran.stderr


def test_images_over_the_limits_are_refused(run: Run, finished: Path, small_demo: Path) -> None:
    picture = sorted((small_demo / "image").iterdir())[0]
    words = ["score", "--model", finished / "heads", "--cache", finished / "none", "--image", picture]
    ran = run(*words, "--hashtag", "바다", "--max-megapixels", "0.001")
    assert ran.code == 2
    assert f"{picture} cannot be scored: " in ran.stderr
    assert "over 0.001 megapixels" in ran.stderr


def test_cells_of_several_hashtags_and_long_ones_are_named(run: Run, finished: Path, small_demo: Path) -> None:
    several = score(run, finished / "run", small_demo, "#바다 #카페")
    assert several.code == 0
    assert "--hashtag '#바다 #카페' holds several, which are taken for one: give each its own" in several.stderr
    assert (
        "of which a model may read the beginning only" in score(run, finished / "run", small_demo, "바다" * 60).stderr
    )
    assert "hashtags" not in score(run, finished / "run", small_demo).stderr


def test_several_images_at_once(run: Run, finished: Path, small_demo: Path, tmp_path: Path) -> None:
    """Each as it is scored alone, the best hashtag first; one that cannot be used does not stop the others."""
    first, second = sorted((small_demo / "image").iterdir())[:2]
    (tmp_path / "page.png").write_text("<html></html>")
    words = ["score", "--model", finished / "heads", "--cache", finished / "cache", "--json"]
    tags = ["--hashtag", "#바다", "--hashtag", "카페"]
    alone = [run(*words, "--image", image, *tags).json() for image in (second, first)]
    ran = run(*words, "--image", second, "--image", tmp_path / "page.png", "--image", first, *tags)
    assert ran.code == 3
    assert "Left out 1: page.png: looks like HTML" in ran.stderr
    answers = ran.json()
    assert [record["image"] for record in answers] == [second.name] * 2 + [first.name] * 2
    assert sorted(record["row"] for record in answers) == [1, 2, 3, 4]
    for record, expected in zip(answers, [*alone[0], *alone[1]], strict=True):
        assert record["value"] == pytest.approx(expected["value"], abs=1e-5)
        assert record["hashtag"] == expected["hashtag"]
    assert [record["value"] for record in answers[:2]] == sorted((r["value"] for r in answers[:2]), reverse=True)
    none = run(*words, "--image", tmp_path / "page.png", "--image", tmp_path / "lost.png", *tags)
    assert none.code == 2
    assert "lost.png cannot be scored: not found" in none.stderr
    abort = run(*words, "--image", tmp_path / "page.png", "--image", first, *tags, "--on-error", "abort")
    assert (abort.code, abort.stderr.count("\n")) == (2, 1)


def test_images_of_one_name_are_told_apart_by_their_paths(
    run: Run, finished: Path, small_demo: Path, tmp_path: Path
) -> None:
    first, second = sorted((small_demo / "image").iterdir())[:2]
    (tmp_path / first.name).write_bytes(second.read_bytes())
    words = ["score", "--model", finished / "heads", "--cache", finished / "cache", "--hashtag", "바다", "--json"]
    answers = run(*words, "--image", first, "--image", tmp_path / first.name).json()
    assert [record["image"] for record in answers] == [str(first), str(tmp_path / first.name)]
    assert answers[0]["value"] != answers[1]["value"]


def test_a_folder_of_runs_is_searched(run: Run, finished: Path, small_demo: Path, tmp_path: Path) -> None:
    """As `demo` and `paper` write it; `finished` has a run of heads and one of similarity beside its cache."""
    ran = score(run, finished, small_demo)
    assert ran.code == 0, ran.stderr  # only one of the runs has the system
    asked = ["--cache", finished / "cache", "--image", sorted((small_demo / "image").iterdir())[0], "--hashtag", "바다"]
    ran = run("score", "--model", finished, *asked)
    assert (ran.code, ran.stderr.count("\n")) == (2, 1)
    similarity = "similarity-simple, similarity-search, similarity-exact"
    choices = f"{finished / 'heads'} (heads); {finished / 'run'} ({similarity})"
    assert f"holds several runs that can score, name one with --model: {choices}" in ran.stderr
    ran = run("score", "--model", finished, "--system", "finetune", *asked)
    assert ran.code == 2
    assert f"has no system finetune: it holds {choices}" in ran.stderr
    shutil.copytree(finished / "heads", tmp_path / "suite" / "grouped" / "heads")
    (tmp_path / "suite" / "run.json").write_text('{"command": "paper"}')
    ran = run("score", "--model", tmp_path / "suite", *asked, "--json")
    assert ran.code == 0, ran.stderr
    assert ran.json() == run("score", "--model", finished / "heads", *asked, "--json").json()


def test_without_a_run_there_is_the_cosine_and_no_score(
    run: Run, finished: Path, small_demo: Path, tmp_path: Path
) -> None:
    """Rank among the hashtags of the post, percentile among those of the cache: both counted here by hand."""
    image = sorted((small_demo / "image").iterdir())[0]
    tags = ["바다", "#카페", "산책"]
    words = ["score", "--backbone", "tiny", "--cache", finished / "cache", "--image", image]
    asked = [word for tag in tags for word in ("--hashtag", tag)]
    ran = run(*words, *asked, "--json")
    assert ran.code == 0, ran.stderr
    assert "not a score of 1 to 5" in ran.stderr
    backbone = load_backbone(resolve_backbone("tiny"), device="cpu", precision="fp32", trainable=False)
    pixels = backbone.prepare(decode_image(image.read_bytes(), decode="ours", limits=ImageLimits()))
    vector = backbone.encode_images(np.stack([pixels]))[0]
    stored = sorted({row["Hashtag"] for row in rows_of(small_demo / "combined_data.csv")})
    levels = backbone.encode_texts(stored) @ vector
    cosine = dict(zip(tags, (backbone.encode_texts(tags) @ vector).tolist(), strict=True))
    best = sorted(tags, key=lambda tag: -cosine[tag])
    assert [record["hashtag"] for record in ran.json()] == best
    for rank, record in enumerate(ran.json(), 1):
        assert (record["rank"], record["rank_of"], record["predicted"], record["familiar"]) == (rank, 3, None, None)
        assert record["value"] == record["similarity"] == pytest.approx(cosine[record["hashtag"]], abs=1e-5)
        below = 100 * (levels < cosine[record["hashtag"]] - 1e-6).mean()
        assert record["percentile"] == pytest.approx(below)
    shown = run(*words, *asked)
    assert f"{image.name}, cosine: not a score of 1 to 5" in shown.stdout
    assert "1 of 3" in shown.stdout
    nowhere = run(*words[:3], "--cache", tmp_path / "none", *words[5:], *asked, "--json").json()
    assert [record["percentile"] for record in nowhere] == [None] * 3  # there is nothing to compare with
    assert not (tmp_path / "none").exists()


def test_a_table_without_a_run(run: Run, finished: Path, small_demo: Path, tmp_path: Path) -> None:
    words = ["score", "--backbone", "tiny", *data_options(small_demo, finished), "-o", tmp_path / "out.csv"]
    ran = run(*words)
    assert ran.code == 0, ran.stderr
    assert "not a score of 1 to 5" in ran.stderr
    rows = rows_of(tmp_path / "out.csv")
    assert list(rows[0])[3:] == [*ADDED.split(",")[:-1], "rank", "rank_of", "percentile", "why_not"]
    assert {row["predicted"] for row in rows} == {row["p1"] for row in rows} == {""}
    posts: dict[str, dict[str, float]] = {}
    for row in rows:
        posts.setdefault(row["image"], {})[row["hashtag"]] = float(row["value"])
    for row in rows:
        post = posts[row["image"]]
        assert int(row["rank"]) == 1 + sum(value > float(row["value"]) for value in post.values())
        assert int(row["rank_of"]) == len(post)
        assert 0 <= float(row["percentile"]) < 100
    scored = run("score", "--model", finished / "run", "--system", "similarity-exact", *words[3:-1], tmp_path / "2.csv")
    assert scored.code == 0
    assert [row["similarity"] for row in rows_of(tmp_path / "2.csv")] == [row["similarity"] for row in rows]


def test_a_large_table_is_scored_to_the_same_bytes(run: Run, finished: Path, small_demo: Path, tmp_path: Path) -> None:
    words = ["score", "--backbone", "tiny", *data_options(small_demo, finished), "-o"]
    for name, more in (("memory.csv", []), ("disk.csv", ["--large-rows", "0"])):
        assert run(*words, tmp_path / name, *more).code == 0
    assert (tmp_path / "disk.csv").read_bytes() == (tmp_path / "memory.csv").read_bytes()


@pytest.mark.parametrize("words", [["--model"], ["--backbone"]])
def test_suggestions_are_the_best_of_all(
    run: Run, finished: Path, small_demo: Path, tmp_path: Path, words: list[str]
) -> None:
    """Of the cache's hashtags and of a list: as when each of them is scored on its own, and sorted."""
    image = sorted((small_demo / "image").iterdir())[3]
    model = [*words, finished / "heads" if words == ["--model"] else "tiny", "--cache", finished / "cache"]
    stored = sorted({row["Hashtag"] for row in rows_of(small_demo / "combined_data.csv")})
    every = run("score", *model, "--image", image, *(w for tag in stored for w in ("--hashtag", tag)), "--json").json()
    expected: dict[str, float] = {}  # one spelling of each hashtag
    for record in every:
        expected.setdefault(record["hashtag"].lstrip("#＃").casefold(), record["value"])
    ran = run("score", *model, "--image", image, "--suggest", 5, "--json")
    assert ran.code == 0, ran.stderr
    assert len(ran.json()) == 5
    np.testing.assert_allclose([r["value"] for r in ran.json()], list(expected.values())[:5], atol=1e-5)
    listed = tmp_path / "words.txt"
    listed.write_text("\ufeff" + "\r\n".join([*stored[:9], "", f" {stored[0]} "]), encoding="utf-8")
    ran = run("score", *model, "--image", image, "--suggest", 99, "--words", listed, "--json")
    assert ran.code == 0, ran.stderr
    assert {record["hashtag"] for record in ran.json()} <= set(stored[:9])
    some = sorted((r["value"] for r in every if r["hashtag"] in stored[:9]), reverse=True)
    assert [r["value"] for r in ran.json()][0] == pytest.approx(some[0], abs=1e-5)


def test_suggestions_for_several_images(run: Run, finished: Path, small_demo: Path) -> None:
    images = sorted((small_demo / "image").iterdir())[:2]
    asked = [word for image in images for word in ("--image", image)]
    ran = run("score", "--model", finished / "heads", "--cache", finished / "cache", *asked, "--suggest", 3, "--json")
    assert [record["image"] for record in ran.json()] == [image.name for image in images for _ in range(3)]
    assert sorted(record["row"] for record in ran.json()) == list(range(1, 7))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--suggest", "3", "--cache", "none"], "the cache records no hashtags; name a list with one hashtag a line"),
        (["--suggest", "3", "--words", "lost.txt"], "lost.txt cannot be read: No such file"),
        (["--suggest", "3", "--words", "cp949.txt"], "cp949.txt is not UTF-8, expected one hashtag a line"),
        (["--suggest", "3", "--words", "bad.txt"], "bad.txt, line 3: the hashtag is empty"),
        (["--suggest", "3", "--words", "blank.txt"], "there is nothing to suggest: the word list is empty"),
        (["--suggest", "3", "--hashtag", "바다"], "exclude each other"),
        (["--words", "bad.txt", "--hashtag", "바다"], "--words needs --suggest"),
        ([], "--image needs --hashtag or --suggest"),
    ],
)
def test_nothing_to_suggest(
    run: Run,
    finished: Path,
    small_demo: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("cp949.txt").write_bytes("바다".encode("cp949"))
    Path("bad.txt").write_text("바다\n\n #\n", encoding="utf-8")
    Path("blank.txt").write_text(" \n\n")
    image = sorted((small_demo / "image").iterdir())[0]
    ran = run("score", "--model", finished / "heads", "--image", image, *words)
    assert (ran.code, ran.stderr.count("\n")) == (2, 1)
    assert said in ran.stderr


def test_a_table_for_spreadsheets_is_a_csv(run: Run, finished: Path, small_demo: Path, tmp_path: Path) -> None:
    words = ["score", "--model", finished / "heads", *data_options(small_demo, finished), "--spreadsheet-safe", "-o"]
    ran = run(*words, tmp_path / "out.parquet")
    assert (ran.code, "--spreadsheet-safe is for a CSV" in ran.stderr, [*tmp_path.iterdir()]) == (2, True, [])
    table = tmp_path / "pairs.csv"
    text = (small_demo / "combined_data.csv").read_text(encoding="utf-8")
    header, first, *_ = text.splitlines()
    table.write_text(f"=note,{header}\n=1+1,{first}\n", encoding="utf-8")
    words[words.index("--data") + 1] = table
    ran = run(*words, tmp_path / "out.csv")
    assert ran.code == 0, ran.stderr
    assert rows_of(tmp_path / "out.csv")[0]["'=note"] == "'=1+1"


def test_something_must_answer(run: Run, small_demo: Path) -> None:
    ran = run("score", "--image", sorted((small_demo / "image").iterdir())[0], "--hashtag", "바다")
    assert ran.code == 2
    assert "name a run with --model, or a model with --backbone to see its cosine" in ran.stderr


def test_a_read_only_cache_stops_no_answer(
    run: Run, finished: Path, small_demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same answers as through a cache that is filled, and one line that says why nothing is stored."""
    words = ["score", "--model", finished / "heads", *data_options(small_demo, finished)[:4]]
    run(*words, "--cache", tmp_path / "cache", "-o", tmp_path / "stored.csv")
    (tmp_path / "shut").mkdir()
    monkeypatch.setattr(durable, "system", ReadOnly(tmp_path / "shut"))
    ran = run(*words, "--cache", tmp_path / "shut" / "cache", "-o", tmp_path / "out.csv")
    assert ran.code == 0, ran.stderr
    assert "embeddings are not stored, and computed again next time" in ran.stderr
    assert "Read-only file system" in ran.stderr
    assert list((tmp_path / "shut").iterdir()) == []
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "stored.csv").read_bytes()
    cosine = ["score", "--backbone", "tiny", *words[3:]]
    assert run(*cosine, "--cache", tmp_path / "shut" / "cache", "-o", tmp_path / "3.csv").code == 0
    assert run(*cosine, "--cache", tmp_path / "cache", "-o", tmp_path / "4.csv").code == 0
    computed, stored = rows_of(tmp_path / "3.csv"), rows_of(tmp_path / "4.csv")
    assert computed != []
    for row, other in zip(computed, stored, strict=True):  # some processors round otherwise in another batch
        for name in ("value", "similarity"):
            assert float(row.pop(name)) == pytest.approx(float(other.pop(name)), abs=1e-5)
        assert row == other
