"""The table of published systems and ours: complete, timed, and every number of it recomputed by an outsider."""

import csv
import json
import shutil
import sys
from pathlib import Path

import pytest

from consistency.data.pairs import Skipped, read_pairs
from consistency.runs.folder import RunFolder
from consistency.runs.read import read_run
from koclip_consistency.workflows.paper import distinct_results, write_tables
from koclip_consistency.workflows.suite import Done, close_suite, skipped_of
from tests.builders.commands import Run
from tests.builders.results import make_result, write_run
from tests.promises import recompute_metrics

TINY = Path(__file__).parents[2] / "demo" / "tiny"
FROZEN = {
    ("similarity-simple", "test"),
    ("similarity-search", "test"),
    ("similarity-exact", "test"),
    ("heads-paper", "test"),
    ("heads-paper", "cv"),
    ("heads-post", "test"),
}
BLIND = {(system, side) for system in ("text-embedding", "text-head") for side in ("test", "cv")}  # of the text side
BLIND |= {("text-and-post-head", "test")}
TUNED = {(f"finetune{ending}", "test") for ending in ("", "-paper", "-paper-best", "-post")}


def lines_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def systems_of(lines: list[dict[str, str]], protocol: str, backbone: str) -> set[tuple[str, str]]:
    return {(r["system"], r["split"]) for r in lines if (r["protocol"], r["backbone"]) == (protocol, backbone)}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from demo.dataset import write_demo

    folder = tmp_path_factory.mktemp("paper")
    write_demo(folder, seed=5, images=20)
    return folder


@pytest.mark.slow
def test_two_backbones_stand_side_by_side(run: Run, small: Path, tmp_path: Path) -> None:
    shutil.copytree(TINY, tmp_path / "other")
    places = ["--data", small / "combined_data.csv", "--images", small / "image", "--cache", tmp_path / "cache"]
    words = ["paper", "--quick", "--skip", "finetune", "--backbone", "tiny", "--backbone", tmp_path / "other"]
    ran = run(*words, *places, "--out", tmp_path / "run")
    assert ran.code == 0, ran.stderr
    assert "Systems by backbone" in ran.stdout
    assert "seconds" in ran.stdout
    lines = lines_of(tmp_path / "run" / "paper.csv")
    other = str(tmp_path / "other")
    for protocol in ("grouped", "paper"):
        for backbone in ("tiny", other):
            assert systems_of(lines, protocol, backbone) == FROZEN | BLIND | {("heads", "test")}
        assert ("majority", "test") in systems_of(lines, protocol, "none")
    assert all(line["accuracy"] and float(line["seconds"]) > 0 for line in lines)
    side = lines_of(tmp_path / "run" / "backbones.csv")
    assert len(side) == 2 * len(FROZEN | {("heads", "test")})
    assert list(side[0])[3:] == ["macro-F1 tiny", f"macro-F1 {other}", "QWK tiny", f"QWK {other}"]
    assert all(row["QWK tiny"] == row[f"QWK {other}"] for row in side)
    ranking = lines_of(tmp_path / "run" / "ranking.csv")
    assert {(row["system"], row["split"]) for row in ranking} == FROZEN | {("heads", "test")}
    assert {row["difference"] for row in ranking} == {"", "0.0"}  # the same model under two names
    measured = {row["backbone"]: row["images_per_second"] != "" for row in ranking}
    assert measured == {"tiny": True, other: False}  # the second one finds everything in the cache
    assert measured == {row["backbone"]: row["peak_megabytes"] != "" for row in ranking} or sys.platform != "linux"
    assert "backbones by QWK of heads, with the difference to the best: " in ran.stderr
    assert recompute_metrics.check(tmp_path / "run") <= recompute_metrics.TOLERANCE

    text = (tmp_path / "run" / "paper.md").read_text(encoding="utf-8")
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    rows = len(lines_of(small / "combined_data.csv"))
    for word in (info["data_digest"], f"{rows:,} pairs", "bootstrap over images", "Protocol grouped", "Split test"):
        assert word in text

    before = (tmp_path / "run" / "paper.csv").read_bytes()
    again = run(*words, *places, "--out", tmp_path / "run")  # every run is there: only the table is written anew
    assert again.stderr.count("already there") == len(
        json.loads((tmp_path / "run" / "run.json").read_text())["timings"]
    )
    assert (tmp_path / "run" / "paper.csv").read_bytes() == before


def test_what_is_missing_is_told_before_the_first_run(run: Run, small: Path, tmp_path: Path) -> None:
    options = ["--data", small / "combined_data.csv", "--cache", tmp_path / "cache", "--out", tmp_path / "table"]
    there = run("paper", "--images", small / "image", "--backbone", "tiny", "--backbone", tmp_path / "gone", *options)
    assert there.code == 2
    assert f"there is no folder {tmp_path / 'gone'}" in there.stderr
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / "open_clip_config.json").write_text('{"model_cfg": {"vision_cfg": {}, "text_cfg": {}}}')
    (tmp_path / "clip" / "open_clip_model.safetensors").write_bytes(b"not read")
    with pytest.MonkeyPatch.context() as patch:  # the packages of open_clip are not needed to say so
        patch.setattr("consistency.backbone.resolve.versions", lambda library: "open_clip_torch 3")
        fixed = run("paper", "--images", small / "image", "--backbone", tmp_path / "clip", *options)
    shutil.rmtree(tmp_path / "clip")
    assert fixed.code == 2
    assert "is a model of open_clip, which cannot be fine-tuned here: give --skip finetune" in fixed.stderr
    blind = run("paper", "--images", tmp_path, "--backbone", "tiny", *options)
    assert blind.code == 2
    assert "put them there, or name their folder with --images" in blind.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_any_run_left_out_is_listed_once(tmp_path: Path) -> None:
    left_out = (Skipped(3, "a.png", "#a", "broken"), Skipped(4, "b.png", "#b", "missing"))
    done = []
    for name, skipped in (("one", left_out[:1]), ("two", left_out)):
        path = write_run(tmp_path / name, [make_result()])
        RunFolder.at(path, command="heads", backbone="tiny", config={}).write_skipped(skipped)
        done.append(Done(name, read_run(path)))
    (tmp_path / "suite").mkdir()
    close_suite(RunFolder.at(tmp_path / "suite", command="paper", backbone="tiny", config={}), 42, done)
    assert [row["row"] for row in lines_of(tmp_path / "suite" / "skipped.csv")] == ["3", "4"]
    assert skipped_of(done) == left_out


def test_every_number_of_the_tables_is_recomputed(run: Run, small: Path, tmp_path: Path) -> None:
    """Two runs on two backbones, and the tables made of them; then one number is changed, which is noticed."""
    shutil.copytree(TINY, tmp_path / "other")
    folder, other = tmp_path / "run", str(tmp_path / "other")
    places = ["--data", small / "combined_data.csv", "--images", small / "image", "--cache", tmp_path / "cache"]
    for name, backbone in (("one", "tiny"), ("two", other)):
        ran = run("similarity", "--method", "exact", "--backbone", backbone, *places, "--out", folder / name)
        assert ran.code == 0, ran.stderr
    lines = distinct_results([Done(name, read_run(folder / name)) for name in ("one", "two")])
    suite = RunFolder.at(folder, command="paper", backbone="both", config={})
    write_tables(suite, lines, read_pairs(small / "combined_data.csv"), ["protocol grouped: of 9 test rows none leaks"])
    assert recompute_metrics.check(folder, {"similarity-exact"}) <= recompute_metrics.TOLERANCE
    table = lines_of(folder / "paper.csv")
    assert [row["backbone"] for row in table if row["system"] == "similarity-exact"] == ["tiny", other]
    timings = json.loads((folder / "one" / "run.json").read_text())["timings"]
    assert float(table[0]["seconds"]) == round(sum(timings.values()), 3) > 0
    side = lines_of(folder / "backbones.csv")
    assert [row["system"] for row in side] == ["similarity-exact"]
    assert list(side[0])[3:] == ["macro-F1 tiny", f"macro-F1 {other}", "QWK tiny", f"QWK {other}"]
    text = (folder / "paper.md").read_text(encoding="utf-8")
    digest = json.loads((folder / "one" / "run.json").read_text())["data_digest"]
    for word in (
        digest,
        "bootstrap over images",
        "Protocol grouped",
        "Split test",
        "| seconds |",
        "- protocol grouped: of 9 test",
    ):
        assert word in text

    runs = wanted(folder)
    for name, old, new in (("paper.csv", table[-1]["qwk"], "0.123"), ("paper.md", " | test | ", " | train | ")):
        content = (folder / name).read_text(encoding="utf-8")
        (folder / name).write_text(content.replace(old, new), encoding="utf-8")
        assert recompute_metrics.check_tables(folder, runs) > recompute_metrics.TOLERANCE
        (folder / name).write_text(content, encoding="utf-8")


def wanted(folder: Path) -> dict[str, object]:
    entries = json.loads((folder / "metrics.json").read_text())
    names = {entry["run"] for entry in entries}
    keys = {name: [(e["system"], e["split"]) for e in entries if e["run"] == name] for name in names}
    return {name: recompute_metrics.recomputed(folder / name, keys[name], {"similarity-exact"}) for name in names}


@pytest.mark.slow
def test_the_whole_table_is_filled(run: Run, small: Path, tmp_path: Path) -> None:
    places = ["--data", small / "combined_data.csv", "--images", small / "image", "--cache", tmp_path / "cache"]
    assert run("paper", "--backbone", "tiny", *places, "--out", tmp_path / "run").code == 0
    lines = lines_of(tmp_path / "run" / "paper.csv")
    for protocol in ("grouped", "paper"):
        assert systems_of(lines, protocol, "tiny") == FROZEN | TUNED | BLIND | {("heads-grid", "test")}
    assert recompute_metrics.check(tmp_path / "run") <= recompute_metrics.TOLERANCE
