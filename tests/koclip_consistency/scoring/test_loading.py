"""Loading a scorer: each kind of run and weight file answers as it was evaluated, with its model loaded once."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consistency.backbone import model as backbone_model
from consistency.data.inputs import read_inputs
from consistency.errors import CacheError, InputError
from consistency.options import Source
from consistency.runs.read import read_run
from heads.familiarity import FILE
from koclip_consistency.scoring.explanation import explain
from koclip_consistency.scoring.loading import load_scorer
from koclip_consistency.scoring.scored import Scored
from tests.builders.commands import Run, data_options, rows_of
from tests.builders.models import change_json

GRID = '[[grid]]\nfeatures = ["concat"]\nhidden = [[16]]\nloss = ["cross-entropy"]\nepochs = [3]\n'
COMMANDS: dict[str, list[Any]] = {
    "similarity": ["similarity", "--method", "exact"],
    "heads": ["heads"],
    "ensemble": ["heads", "--grid", "--ensemble", "2", "--inner-folds", "2"],
    "regression": ["heads", "--grid", "--inner-folds", "2"],
    "finetune": ["finetune", "--epochs", "1"],
    "finetune-paper": ["finetune", "--preset", "paper", "--epochs", "1", "--max-steps", "2"],
    "published head": ["heads", "--grid", "--inner-folds", "2", "--decode", "published", "--export-pth"],
}
GRIDS = {
    "ensemble": "[[grid]]\nhidden = [[], [8]]\nepochs = [3]\nlr = [0.01]\ndropout = [0.1, 0.3]\n",
    "regression": '[[grid]]\nhidden = [[8]]\nloss = ["regression"]\nepochs = [3]\n',
    "published head": GRID,
}
SYSTEMS = {"similarity": "similarity-exact", "ensemble": "heads-grid", "regression": "heads-grid"}


@pytest.fixture(scope="module")
def folder(small_demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run of each kind, with the cache of the frozen ones."""
    from cli import main

    folder = tmp_path_factory.mktemp("loading")
    for name, words in COMMANDS.items():
        options = data_options(small_demo, folder)[: 4 if words[0] == "finetune" else 6]
        if name in GRIDS:
            (folder / f"{name}.toml").write_text(GRIDS[name])
            options = [*options, "--grid-file", folder / f"{name}.toml"]
        line = ["cli.py", *words, "--backbone", "tiny", *options, "--quiet", "--out", folder / name]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.argv", list(map(str, line)))
            main()
    return folder


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The backbones that were loaded."""
    found: list[str] = []

    class Counted(backbone_model.TransformersBackbone):
        def __init__(self, resolved: Any, *rest: Any) -> None:
            found.append(str(resolved.folder))
            super().__init__(resolved, *rest)

    monkeypatch.setattr(backbone_model, "TransformersBackbone", Counted)
    return found


def agrees(answers: Scored, expected: Scored, rows: list[int]) -> None:
    """`answers` of single images are those of their table's `rows`."""
    place = {row: at for at, row in enumerate(expected.rows.tolist())}
    at = np.array([place[row] for row in rows])
    np.testing.assert_array_equal(answers.predicted, expected.predicted[at])
    np.testing.assert_allclose(answers.values, expected.values[at], atol=1e-5)
    np.testing.assert_allclose(answers.similarity, expected.similarity[at], atol=1e-5)
    if expected.probabilities is not None:
        assert answers.probabilities is not None
        np.testing.assert_allclose(answers.probabilities, expected.probabilities[at], atol=1e-5)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_run_answers_as_it_was_evaluated(folder: Path, small_demo: Path, name: str, loads: list[str]) -> None:
    scorer = load_scorer(folder / name, cache=folder / "cache")
    source = Source(data=small_demo / "combined_data.csv", images=small_demo / "image")
    inputs = read_inputs(source)
    answers = scorer.answer_table(inputs, source)
    system = SYSTEMS.get(name, "heads-grid" if name == "published head" else name)
    assert scorer.system == system
    (said,) = (r.predictions for r in read_run(folder / name).results if r.predictions.system == system)
    place = {row: at for at, row in enumerate(inputs.table.rows[answers.rows].tolist())}
    at = np.array([place[row] for row in said.rows.tolist()])
    np.testing.assert_array_equal(answers.predicted[at], said.predicted)
    np.testing.assert_allclose(answers.values[at], said.values, atol=1e-5)
    assert (answers.probabilities is None) == (name == "similarity")
    train = [line["hashtag"] for line in rows_of(folder / name / "split.csv") if line["split"] == "train"]
    assert answers.familiar is not None
    assert answers.familiar[np.isin(inputs.table.hashtags[answers.rows], train)].all()
    frozen = "finetune" not in name
    assert loads == ([] if frozen else [str(folder / name / "model")])  # a warm cache needs no model

    cold = load_scorer(folder / name, cache=folder / "nowhere")
    for image in inputs.table.images[:3]:
        rows = np.flatnonzero(inputs.table.images == image)
        agrees(cold.answer(small_demo / "image" / image, list(inputs.table.hashtags[rows])), answers, rows.tolist())
        cold.answer((small_demo / "image" / image).read_bytes(), ["처음 보는 말"])
    assert len(loads) == (1 if frozen else 2)  # once for each scorer
    assert not (folder / "nowhere").exists()


@pytest.mark.parametrize("name", ["finetune", pytest.param("ensemble", marks=pytest.mark.slow)])
def test_an_exported_run_answers_as_the_run(
    run: Run, folder: Path, small_demo: Path, tmp_path: Path, name: str
) -> None:
    """tests/commands/test_export.py has the other kinds."""
    ran = run("export", folder / name, "-o", tmp_path / "scorer", "--cache", folder / "cache")
    assert ran.code == 0, ran.stderr
    exported = load_scorer(tmp_path / "scorer", cache=tmp_path / "cache")
    original = load_scorer(folder / name, cache=tmp_path / "cache")
    image = sorted((small_demo / "image").iterdir())[1]
    answers, expected = (each.answer(image, ["바다", "새말", "#카페"]) for each in (exported, original))
    assert (exported.system, exported.run) == (original.system, None)
    np.testing.assert_array_equal(answers.probabilities, expected.probabilities)
    np.testing.assert_array_equal(answers.predicted, expected.predicted)
    np.testing.assert_array_equal(answers.familiar, expected.familiar)


def test_a_published_head_answers_as_its_run(folder: Path, small_demo: Path) -> None:
    source = Source(data=small_demo / "combined_data.csv", images=small_demo / "image")
    inputs = read_inputs(source)
    file = load_scorer(folder / "published head" / "classifier.pth", backbone="tiny", cache=folder / "cache")
    assert file.system == "heads-paper"
    image = inputs.table.images[0]
    rows = np.flatnonzero(inputs.table.images == image)
    agrees(
        file.answer(small_demo / "image" / image, list(inputs.table.hashtags[rows])),
        file.answer_table(inputs, source),
        rows.tolist(),
    )
    assert file.answer_table(inputs, source).familiar is None


def test_a_table_of_new_hashtags_loads_the_model_once(
    folder: Path, small_demo: Path, tmp_path: Path, loads: list[str]
) -> None:
    scorer = load_scorer(folder / "heads", cache=tmp_path / "cache")
    image = sorted((small_demo / "image").iterdir())[0].name
    for number in range(3):
        table = tmp_path / f"{number}.csv"
        table.write_text(f"Image Filename,Hashtag\n{image},새말{number}\n", encoding="utf-8")
        source = Source(data=table, images=small_demo / "image")
        assert len(scorer.answer_table(read_inputs(source, require_scores=False), source).rows) == 1
    scorer.answer(small_demo / "image" / image, ["새말0", "아주 새말"])
    assert len(loads) == 1


def test_a_run_without_a_record_of_its_hashtags_calls_none_unfamiliar(folder: Path, small_demo: Path) -> None:
    (folder / "similarity" / FILE).unlink(missing_ok=True)
    scorer = load_scorer(folder / "similarity", cache=folder / "cache")
    assert scorer.answer(sorted((small_demo / "image").iterdir())[0], ["바다"]).familiar is None


def test_a_folder_that_holds_nothing_to_score_with(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no run folder"):
        load_scorer(tmp_path)
    with pytest.raises(InputError, match="does not say whose weights it holds"):
        load_scorer(tmp_path / "x.pth")


def test_scorers_of_one_backbone_can_share_it(folder: Path, small_demo: Path, loads: list[str]) -> None:
    image, encoders = sorted((small_demo / "image").iterdir())[0], {}
    for name in ("heads", "similarity"):
        scorer = load_scorer(folder / name, cache=folder / "nowhere", encoders=encoders)
        scorer.load()
        assert len(scorer.answer(image, ["바다"]).rows) == 1
    assert len(loads) == len(encoders) == 1


@pytest.mark.parametrize("name", ["similarity", "heads", "finetune"])
def test_occlusion_of_a_run_is_what_its_score_loses(folder: Path, small_demo: Path, name: str) -> None:
    scorer, image = load_scorer(folder / name, cache=folder / "cache"), sorted((small_demo / "image").iterdir())[1]
    found = explain(scorer, image, "카페", methods=["occlusion"])
    assert found.maps[0].explains == ("cosine" if name == "similarity" else "expected_score")
    for row, column in ((1, 1), (3, 2), (5, 4)):
        covered = found.pixels.copy()
        covered[12 * row : 12 * row + 12, 12 * column : 12 * column + 12] = np.rint(found.pixels.mean(axis=(0, 1)))
        lost = scorer.answer(image, ["카페"]).values[0] - scorer.answer(covered, ["카페"]).values[0]
        assert found.maps[0].grid[row, column] == pytest.approx(lost, abs=5e-5)


def test_a_run_of_earlier_library_versions(
    run: Run, folder: Path, small_demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It scores once `extract` has found that a sample of its embeddings is equal."""
    shutil.copytree(folder / "cache", tmp_path / "cache")
    options = data_options(small_demo, tmp_path)
    before = load_scorer(folder / "similarity", system="similarity-exact", cache=tmp_path / "cache")
    monkeypatch.setattr("consistency.backbone.resolve.versions", lambda library: "pillow 99, transformers 99")
    with pytest.raises(CacheError, match="differ in libraries: run extract on its data with its cache"):
        load_scorer(folder / "similarity", system="similarity-exact", cache=tmp_path / "cache")
    ran = run("extract", "--backbone", "tiny", *options, "--out", tmp_path / "extract")
    assert ran.code == 0, ran.stderr
    assert "they are taken over" in ran.stderr
    after = load_scorer(folder / "similarity", system="similarity-exact", cache=tmp_path / "cache")
    image = next((small_demo / "image").iterdir())
    np.testing.assert_array_equal(after.answer(image, ["바다"]).values, before.answer(image, ["바다"]).values)

    (verdict,) = (tmp_path / "cache").glob("*/compared-*.json")
    change_json(verdict, largest=0.25)
    with pytest.raises(CacheError, match="encoded again, differ by at most 0.25 .*; they are not used"):
        load_scorer(folder / "similarity", system="similarity-exact", cache=tmp_path / "cache")


@pytest.mark.parametrize(
    ("name", "gradients", "count"), [("heads", True, 1), ("heads", False, 2), ("finetune", False, 1)]
)
def test_a_model_is_loaded_again_for_gradients_only_if_it_was_rewritten(
    folder: Path, small_demo: Path, loads: list[str], name: str, gradients: bool, count: int
) -> None:
    scorer = load_scorer(folder / name, cache=folder / "cache", gradients=gradients)
    found = [explain(scorer, sorted((small_demo / "image").iterdir())[1], tag).maps[0].grid for tag in ("바다", "카페")]
    assert not np.allclose(*found)
    assert len(loads) == count
