"""The model card: metadata that the hub's own parser reads, and text that repeats the run."""

import pytest
from huggingface_hub import ModelCard

from consistency.report.card import Exports, model_card
from consistency.runs.read import Run, read_run
from tests.builders.results import NASTY, make_result, write_run

NOTE = "protocol grouped: of 60 test rows 0 have their image in train, 0 their exact pair, 9 their hashtag"
SEVERAL = "rows 3 and 9 hold several hashtags in one cell, and are taken for one"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    results = [make_result(), make_result("text-only", seed=1, backbone="none"), make_result(split="cv", seed=2)]
    leakage = {"test": {"n": 60, "image": 0, "pair": 0, "hashtag": 9, "near": None}}
    details: dict[str, object] = {"division": {"leakage": leakage, "notes": [SEVERAL, NOTE]}}
    config: dict[str, object] = {"evaluation": {"protocol": "grouped", "intervals": "two-way"}}
    folder = tmp_path_factory.mktemp("runs") / "private name"
    return read_run(write_run(folder, results, config=config, details=details))


def exports(**more: object) -> Exports:
    return Exports("heads", "my scorer", None, "transformers", **({"licence": "cc-by-nc-4.0"} | more))  # type: ignore[arg-type]


def test_metadata_and_results(run: Run) -> None:
    card = ModelCard(model_card(run, exports()))
    assert card.data.license == "cc-by-nc-4.0"
    assert card.data.model_name == "my scorer"
    tested = [each for each in card.data.eval_results if each.dataset_split == "test"]
    own = run.results[0]
    assert {each.metric_type: each.metric_value for each in tested} == pytest.approx(
        {name: own.metrics[name] for name in ("accuracy", "macro_f1", "mae", "qwk")}, abs=5e-5
    )
    assert len(card.data.eval_results) == 8  # and those out of fold
    low, high = own.ci95["mae"] or (0, 0)
    assert f"{own.metrics['mae']:.3f} ({low:.3f} – {high:.3f})" in card.text
    assert "which resample images and hashtags at once" in card.text
    assert "### Out of fold rows (60), protocol `grouped`" in card.text
    assert "better than the best control (`text-only`" in card.text
    assert NOTE.partition(":")[2] in card.text
    assert "| SHA-256 of the table | `ab` |" in card.text


def test_nothing_of_the_data_is_in_it(run: Run) -> None:
    text = model_card(run, exports())
    assert [
        each for each in (*NASTY, "그림", "private name", "several hashtags") if len(each) > 2 and each in text
    ] == []


def test_a_licence_that_is_unknown_is_said_to_be(run: Run) -> None:
    card = ModelCard(model_card(run, Exports("heads", "scorer", "a/b", "transformers", None, finetuned=True)))
    assert (card.data.license, card.data.license_name) == ("other", "unknown")
    assert (card.data.base_model, card.data.to_dict()["base_model_relation"]) == ("a/b", "finetune")
    assert "The licence of the weights was not recorded. That of the backbone (a/b)" in card.text
    assert "`trained_on.json`" in card.text
    assert "post.safetensors" not in card.text


def test_the_rest_is_said_where_it_holds(run: Run) -> None:
    text = model_card(run, exports(keeps_vectors=True, onnx="checked with onnxruntime"))
    assert "`post.safetensors`: the head compares new pairs with embeddings of training images" in text
    assert "`onnx/` holds the same as ONNX: checked with onnxruntime" in text
