"""What the pages show of a table and of runs."""

import io
import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from consistency.errors import ImageError, InputError
from consistency.options import Source
from koclip_consistency.scoring.facts import find_facts
from koclip_consistency.scoring.learned import read_learned
from koclip_consistency.scoring.loading import load_scorer
from koclip_consistency.service.shelf import Shelf
from koclip_consistency.service.study import Study, check_method, source_of_runs
from tests.builders.commands import rows_of
from tests.builders.results import edit_info


@pytest.fixture(scope="module")
def study(trained: Path, small_demo: Path) -> Study:
    shelf = Shelf(trained / "runs", partial(load_scorer, cache=trained / "cache"))
    return Study(shelf, Source(data=small_demo / "combined_data.csv", images=small_demo / "image"))


def test_the_newest_run_names_the_table(trained: Path, small_demo: Path, tmp_path: Path) -> None:
    found = source_of_runs(Shelf(trained / "runs", load_scorer))
    assert found is not None
    assert (found.data, found.images) == (small_demo / "combined_data.csv", small_demo / "image")
    assert source_of_runs(Shelf(tmp_path, load_scorer)) is None
    shutil.copytree(trained / "runs" / "similarity", tmp_path / "run")
    there = tmp_path / "run"
    edit_info(there, lambda info: None, sealed=True)
    assert source_of_runs(Shelf(tmp_path, load_scorer)) is not None
    edit_info(there, lambda info: info["config"]["source"].update(data="gone.csv"), sealed=True)
    assert source_of_runs(Shelf(tmp_path, load_scorer)) is None
    edit_info(there, lambda info: info["config"].update(source={"novelty": 1}), sealed=True)
    assert source_of_runs(Shelf(there, load_scorer)) is None


def test_a_run_of_somebody_else_names_no_table(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "runs" / "heads", tmp_path / "run")
    assert source_of_runs(Shelf(tmp_path, load_scorer)) is not None
    edit_info(tmp_path / "run", lambda info: info["config"]["source"].update(images=str(tmp_path)))
    assert source_of_runs(Shelf(tmp_path, load_scorer)) is None


def test_without_a_table(trained: Path) -> None:
    study = Study(Shelf(trained / "runs", load_scorer), None)
    assert study.about()["data"] is None
    with pytest.raises(InputError, match="there is no table: start the app with --data and --images"):
        _ = study.collection


def test_opinions_are_those_of_the_run_its_split_and_the_audit(study: Study, trained: Path) -> None:
    said = study.opinions("heads", "heads")
    table = study.collection.table
    predictions = rows_of(trained / "runs" / "heads" / "predictions.csv")
    lines = {int(line["row"]): line for line in predictions if line["system"] == "heads"}
    assert {int(table.rows[at]) for at in np.flatnonzero(said.predicted)} == set(lines)
    for at in np.flatnonzero(said.predicted)[:5]:
        assert said.predicted[at] == int(lines[int(table.rows[at])]["predicted"])
    assert set(said.sides) == {"train", "test"}
    audited = rows_of(trained / "runs" / "audit" / "audit.csv")
    assert np.isfinite(said.doubt).sum() == sum(1 + len(line["repeats"].split()) for line in audited)
    assert study.opinions("heads", "heads") is said  # remembered
    nothing = study.opinions("", "")
    assert not nothing.predicted.any()
    assert study.about()["audits"] == ["audit"]


def test_images_are_shrunk_and_found_by_number_alone(study: Study, small_demo: Path) -> None:
    name = study.collection.names[0]
    shown = Image.open(io.BytesIO(study.image(0, 240)))
    assert (shown.format, max(shown.size) <= 240) == ("JPEG", True)
    assert study.original(0) == (small_demo / "image" / name).read_bytes()
    with pytest.raises(InputError, match="there is no image 9999"):
        study.image(9999, 240)
    with pytest.raises(InputError, match="images have a size of 240 or 1000, not 7"):
        study.image(0, 7)


def test_an_image_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("Image Filename,Hashtag,Score\nlost.png,a,1\nt.csv,c,3\n")
    study = Study(Shelf(tmp_path, load_scorer), Source(data=tmp_path / "t.csv", images=tmp_path))
    for number, said in ((0, "not found"), (1, "looks like text")):
        with pytest.raises(ImageError, match=said):
            study.image(number, 240)
        with pytest.raises(ImageError, match=said):
            study.original(number)


def test_the_health_of_the_table(study: Study) -> None:
    told = study.health()
    assert told["leakage"]["grouped"]["image"] == 0
    assert told["leakage"]["paper"]["image"] > 0
    assert (told["missing"], told["broken"]) == (0, [])
    pairs = set(zip(study.collection.image.tolist(), study.collection.hashtags, strict=True))
    assert told["repeats"] == len(study.collection) - len(pairs)


def test_duplicates_and_near_duplicates_are_told_apart(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = np.kron(rng.integers(0, 256, (8, 8, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    shutil.copy(tmp_path / "a.png", tmp_path / "b.png")
    Image.fromarray(255 - pixels).save(tmp_path / "c.png")
    Image.fromarray(255 - pixels).save(tmp_path / "d.jpg", quality=90)
    lines = [f"{name},x,1" for name in ("a.png", "b.png", "c.png", "d.jpg")]
    (tmp_path / "t.csv").write_text("\n".join(["Image Filename,Hashtag,Score", *lines]))
    told = Study(Shelf(tmp_path, load_scorer), Source(data=tmp_path / "t.csv", images=tmp_path)).health()
    assert told["duplicates"] == [["a.png", "b.png"]]
    assert told["near_duplicates"] == [["c.png", "d.jpg"]]


def test_the_map_has_every_image_and_hashtag_of_the_cache(study: Study, trained: Path) -> None:
    told = study.points(study.shelf.scorer("heads", "heads"), "pca")
    table = study.collection.table
    assert {each["name"] for each in told["images"]} == set(table.images)
    assert {each["hashtag"] for each in told["hashtags"]} == set(table.hashtags)
    assert told["left_out"] == 0
    assert all(-1 <= x <= 1 for each in (*told["images"], *told["hashtags"]) for x in each["at"])
    empty = load_scorer(trained / "runs" / "heads", cache=trained / "nowhere")
    with pytest.raises(InputError, match="the embedding cache holds none of the table's images and hashtags"):
        study.points(empty, "pca")
    assert check_method("tsne") == "tsne"
    with pytest.raises(InputError, match="by pca or tsne, not 'umap'"):
        check_method("umap")


def test_facts_are_those_of_explain_with_the_numbers_of_images(study: Study, trained: Path, small_demo: Path) -> None:
    scorer = study.shelf.scorer("heads", "heads")
    learned = read_learned(trained / "runs" / "heads")
    hashtag = max(learned.hashtags.tolist(), key=learned.hashtags.tolist().count)
    image = study.original(3)
    told = study.facts(scorer, "heads", image, hashtag)
    expected = find_facts(scorer, image, hashtag, learned).as_dict()
    assert expected["nearest"]
    for each in told["nearest"]:
        assert study.collection.names[each.pop("id")] == each["image"]
    assert told == expected
    assert study.learned("heads") is study.learned("heads")
    found, why_not = study.learned("audit")
    assert found is None
    assert why_not is not None
    assert study.facts(scorer, "audit", image, hashtag)["notes"] == (why_not,)


def test_runs_with_their_results(study: Study, trained: Path) -> None:
    runs = {each["name"]: each for each in study.runs()}
    assert runs.keys() == {"audit", "heads", "similarity"}
    found = {result["system"]: result for result in runs["heads"]["results"]}
    expected = {each["system"]: each for each in json.loads((trained / "runs" / "heads" / "metrics.json").read_text())}
    assert found["heads"]["metrics"]["qwk"] == pytest.approx(expected["heads"]["metrics"]["qwk"])
    assert study.titles["qwk"] == "QWK"
