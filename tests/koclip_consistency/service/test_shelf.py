"""The runs of a folder, and which of them answers."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from consistency.errors import InputError
from heads.similarity import SimilarityModel
from koclip_consistency.scoring.scorer import Scorer
from koclip_consistency.service.shelf import LOADED, Shelf
from tests.builders.results import make_result, write_run


def unloaded(path: Path, **options: Any) -> Scorer:
    raise AssertionError(f"{path} is loaded")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of heads, one without weights, one inside another folder, and a damaged one."""
    tmp_path = tmp_path_factory.mktemp("written")
    write_run(tmp_path / "demo", [], command="demo")
    for place, seed in (("b", 1), ("demo/heads", 2)):
        run = write_run(tmp_path / place, [make_result("majority"), make_result("heads", seed=seed)])
        (run / "head.json").write_text("{}")
    write_run(tmp_path / "untrained", [make_result("heads", seed=3)])
    damaged = write_run(tmp_path / "damaged", [make_result("heads")])
    (damaged / "metrics.json").write_text("{")
    return tmp_path


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(written, tmp_path / "runs"))


def test_runs_with_the_systems_that_can_score(folder: Path) -> None:
    runs = {each.name: each for each in Shelf(folder, unloaded).runs()}
    assert {name: each.systems for name, each in runs.items()} == {
        "b": ("heads",),
        "damaged": (),
        "demo": (),
        "demo/heads": ("heads",),
        "untrained": (),
    }
    assert "metrics.json is damaged" in str(runs["damaged"].problem)
    assert runs["demo"].info["command"] == "demo"
    assert runs["demo"].problem is None
    assert Shelf(folder / "nowhere", unloaded).runs() == []
    assert [each.name for each in Shelf(folder / "b", unloaded).runs()] == ["b"]


def test_a_new_run_is_found_and_an_old_one_is_read_once(folder: Path) -> None:
    shelf = Shelf(folder, unloaded)
    before = {each.name: each for each in shelf.runs()}
    write_run(folder / "new", [make_result("heads")])
    os.utime(folder / "b" / "run.json", ns=(1, 1))
    shutil.rmtree(folder / "untrained")
    after = {each.name: each for each in shelf.runs()}
    assert after.keys() - before.keys() == {"new"}
    assert before.keys() - after.keys() == {"untrained"}
    assert after["demo/heads"] is before["demo/heads"]
    assert after["b"] is not before["b"]


def test_the_best_run_answers_unless_another_is_named(folder: Path) -> None:
    shelf = Shelf(folder, unloaded)
    merits = {}
    for name in ("b", "demo/heads"):
        metrics = shelf.run(name).run.results[1].metrics  # type: ignore[union-attr]
        merits[name] = metrics["macro_f1"] + metrics["qwk"]
    best = max(merits, key=lambda name: merits[name])
    assert shelf.default() == (best, "heads")
    assert shelf.choose(None, None) == (best, "heads")
    assert shelf.choose("b", None) == ("b", "heads")
    assert shelf.choose("demo/heads", "heads") == ("demo/heads", "heads")
    for name, system, said in (
        ("c", None, "there is no run 'c' in .*: expected one of b, damaged"),
        ("../b", None, "there is no run"),
        ("damaged", None, "metrics.json is damaged"),
        ("b", "finetune", "the run b has no system finetune: it holds heads"),
        ("untrained", None, "the run untrained has no system None: it holds none"),
        (None, "finetune", "0 runs hold the system finetune: name the run"),
    ):
        with pytest.raises(InputError, match=said):
            shelf.choose(name, system)
    with pytest.raises(InputError, match="no run in .* can score: train one"):
        Shelf(folder / "untrained", unloaded).choose(None, None)


def test_the_system_that_is_named_answers_where_a_run_has_several(folder: Path) -> None:
    run = write_run(folder / "two", [make_result(f"similarity-{name}", seed=n) for n, name in enumerate("xyz")])
    model = SimilarityModel("exact", (0.1, 0.2, 0.3, 0.4), "macro-f1", 0.5).as_dict()
    (run / "thresholds.json").write_text(json.dumps({f"similarity-{name}": model for name in "xyz"}))
    for name in "xyz":
        assert Shelf(run, unloaded, system=f"similarity-{name}").default() == ("two", f"similarity-{name}")
    with pytest.raises(InputError, match="the run two has no system None: it holds similarity-x, "):
        Shelf(run, unloaded).choose("two", None)


def test_scorers_are_loaded_once_and_the_oldest_are_dropped(folder: Path) -> None:
    loaded: list[str] = []

    def load(path: Path, *, system: str, encoders: Any) -> Scorer:
        loaded.append(f"{path.relative_to(folder)} {system}")
        return Scorer(system, None, None, None)  # type: ignore[arg-type]

    for number in range(LOADED):
        shutil.copytree(folder / "b", folder / f"c{number}")
    shelf = Shelf(folder, load)
    assert loaded == []
    first = shelf.loading("b", None)
    assert loaded == []
    assert first() is first()
    assert loaded == ["b heads"]
    for number in range(LOADED):
        shelf.loading(f"c{number}", "heads")()
    assert shelf.loading(f"c{LOADED - 1}", "heads")().system == "heads"
    assert len(loaded) == LOADED + 1
    first()
    assert loaded[-1] == "b heads"
    assert len(loaded) == LOADED + 2
