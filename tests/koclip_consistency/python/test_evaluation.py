"""Evaluation for notebooks: scikit-learn's figures, the command line's intervals and controls."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score, f1_score

import koclip_consistency as kc
from consistency.data.splits import Split
from consistency.errors import InputError
from koclip_consistency.python.embeddings import Embeddings
from koclip_consistency.python.pairs import Pairs
from tests.builders.commands import Run, data_options


@pytest.fixture(scope="module")
def data(small_demo: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Pairs, Split, Embeddings]:
    pairs = kc.read_pairs(small_demo / "combined_data.csv", small_demo / "image")
    cache = tmp_path_factory.mktemp("cache")
    return pairs, kc.make_split(pairs), kc.embed(pairs, backbone="tiny", cache=cache / "cache")


def test_a_head_and_its_predictions_have_the_same_figures(data: tuple[Pairs, Split, Embeddings]) -> None:
    pairs, split, emb = data
    head = kc.Head(hidden=(64,), loss="corn", epochs=4).fit(emb[split.train], pairs.scores[split.train])
    result = kc.evaluate(head, emb, pairs, split)
    truth, predicted = pairs.scores[split.test], head.predict(emb[split.test])
    assert result.metrics["qwk"] == pytest.approx(cohen_kappa_score(truth, predicted, weights="quadratic"))
    assert result.metrics["macro_f1"] == pytest.approx(f1_score(truth, predicted, average="macro"))
    by_chances = kc.evaluate(head.predict_proba(emb[split.test]), emb, pairs, split)
    assert by_chances.metrics == result.metrics
    assert by_chances.ci95 == result.ci95
    by_scores = kc.evaluate(predicted, None, pairs, split, system="mine")
    assert by_scores.metrics["qwk"] == result.metrics["qwk"]
    assert by_scores.metrics["ece"] is None
    frame = result.to_frame()
    assert frame.index.name == "metric"
    assert frame.index.tolist() == list(result.metrics)
    assert frame.loc["qwk"].tolist() == [result.metrics["qwk"], *(result.ci95["qwk"] or ())]
    assert np.isnan(by_scores.to_frame().loc["ece", "value"])
    told = result.predictions()
    assert told["predicted"].tolist() == predicted.tolist()
    np.testing.assert_allclose(told[["p1", "p2", "p3", "p4", "p5"]].sum(axis=1), 1)
    assert "p1" not in by_scores.predictions()
    assert repr(by_scores).startswith(f"<mine on {len(split.test)} test rows>")


def test_the_command_line_says_the_same(run: Run, small_demo: Path, tmp_path: Path) -> None:
    """With a broken image, conflicting repeats and the protocol hashtag."""
    shutil.copytree(small_demo, tmp_path / "data")
    table = tmp_path / "data" / "combined_data.csv"
    first = table.read_text(encoding="utf-8").splitlines()[1].rpartition(",")
    with table.open("a", encoding="utf-8") as file:
        file.write(f"{first[0]},{int(first[2]) % 5 + 1}\n")
    sorted((tmp_path / "data" / "image").iterdir())[3].write_text("no image")
    options = ["--on-conflict", "first", "--protocol", "hashtag", "--seed", "9", "--on-error", "allow"]
    words = ["heads", "--backbone", "tiny", *data_options(tmp_path / "data", tmp_path), *options]
    ran = run(*words, "--out", tmp_path / "run", "--json")
    assert ran.code == 0, ran.stderr
    expected = {entry["system"]: entry for entry in ran.json()}
    pairs = kc.read_pairs(table, tmp_path / "data" / "image", on_conflict="first")
    split = kc.make_split(pairs, protocol="hashtag", seed=9)
    emb = kc.embed(pairs, backbone="tiny", cache=tmp_path / "cache")
    train = emb.usable(split.train)
    head = kc.Head(seed=9).fit(emb[train], split.scores[train])
    result = kc.evaluate(head, emb, pairs, split)
    assert json.loads(json.dumps([result.metrics, result.ci95])) == [
        expected["heads"]["metrics"],
        expected["heads"]["ci95"],
    ]


def test_the_controls_are_the_command_lines(
    run: Run, small_demo: Path, data: tuple[Pairs, Split, Embeddings], tmp_path: Path
) -> None:
    ran = run("similarity", "--backbone", "tiny", *data_options(small_demo, tmp_path), "--method", "simple", "--json")
    expected = {entry["system"]: entry for entry in ran.json()}
    found = kc.controls(*data[:2])
    assert set(found) == {"majority", "median", "text-only", "name-and-text", "text-and-post"}
    for name, control in found.items():
        assert control.metrics == expected[name]["metrics"]


def test_what_are_no_predictions_is_refused(data: tuple[Pairs, Split, Embeddings]) -> None:
    pairs, split, emb = data
    n = len(split.test)
    for said in (np.full(n, 6), np.full(n - 1, 3), np.full((n, 5), 0.5), np.full((n, 4), 0.25), "heads"):
        with pytest.raises(InputError, match=rf"expected scores 1 to 5 of shape \({n},\)") as raised:
            kc.evaluate(said, emb, pairs, split)
        assert "\n" not in str(raised.value)
    head = kc.Head(epochs=1).fit(emb[split.train], pairs.scores[split.train])
    with pytest.raises(InputError, match="give those of kc.embed in place of None"):
        kc.evaluate(head, None, pairs, split)
