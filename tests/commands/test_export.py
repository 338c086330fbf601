"""`export` from the command line: a folder that answers like its run anywhere, with a card that the hub accepts."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import transformers
from huggingface_hub import ModelCard
from onnxruntime import InferenceSession
from PIL import Image

from consistency.backbone.resolve import resolve_backbone
from koclip_consistency.scoring.loading import load_scorer
from tests.builders.commands import Run, data_options, rows_of

BACKBONE = {"config.json", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json", "LICENSE"}
BACKBONE |= {"model.safetensors", "model.safetensors.sha256", "trained_on.json"}
ALWAYS = BACKBONE | {"README.md", "export.json", "metrics.json"}
ALWAYS |= {f"{name}.safetensors{end}" for name in ("reference", "familiarity") for end in ("", ".sha256")}
OF_THE_SYSTEM = {
    "heads": {"head.json", "head.safetensors", "head.safetensors.sha256", "sets.json"},
    "similarity": {"thresholds.json", "sets.json"},
}


@pytest.fixture(scope="module")
def exported(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Both runs exported, and moved to where they were not written."""
    from cli import main

    folder = tmp_path_factory.mktemp("exported")
    for name in OF_THE_SYSTEM:
        words = ["export", trained / "runs" / name, "-o", folder / "written" / name, "--cache", trained / "cache"]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.argv", ["cli.py", *map(str, words), "--quiet"])
            main()
    shutil.move(folder / "written", folder / "received")
    return {name: folder / "received" / name for name in OF_THE_SYSTEM}


@pytest.mark.parametrize("name", OF_THE_SYSTEM)
def test_an_exported_folder_answers_as_its_run(
    run: Run,
    exported: dict[str, Path],
    trained: Path,
    small_demo: Path,
    tmp_path: Path,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From another working directory, with an empty cache: the same bytes."""
    monkeypatch.chdir(tmp_path)
    data = data_options(small_demo, tmp_path)[:4]
    for number, model in enumerate((exported[name], trained / "runs" / name)):
        words = ["score", "--model", model, *data, "--cache", f"cache-{number}", "-o", f"{number}.csv", "--on-error"]
        ran = run(*words, "allow")
        assert ran.code == 0, ran.stderr
    assert (tmp_path / "0.csv").read_bytes() == (tmp_path / "1.csv").read_bytes()
    assert len({row["predicted"] for row in rows_of(tmp_path / "0.csv")}) > 2


@pytest.mark.parametrize("name", OF_THE_SYSTEM)
def test_a_folder_holds_the_model_and_nothing_of_the_data(
    exported: dict[str, Path], trained: Path, small_demo: Path, name: str
) -> None:
    folder = exported[name]
    assert {path.name for path in folder.iterdir()} == ALWAYS | OF_THE_SYSTEM[name]
    rows = rows_of(small_demo / "combined_data.csv")
    private = [str(trained), str(small_demo), "combined_data", *{row["Image Filename"] for row in rows}]
    private += {row["Hashtag"] for row in rows if len(row["Hashtag"]) > 5}  # shorter ones are words of the card
    for path in folder.iterdir():
        if path.name in BACKBONE:
            continue  # the tokenizer knows words
        content = path.read_bytes()
        assert [text for text in private if text.encode() in content] == [], path.name


def test_the_card_is_read_by_the_hub(exported: dict[str, Path], trained: Path) -> None:
    card = ModelCard.load(exported["heads"] / "README.md")
    info = json.loads((trained / "runs" / "heads" / "run.json").read_bytes())
    data = card.data.to_dict()
    assert (data["license"], data["language"], data["library_name"]) == ("mit", "ko", "transformers")
    assert data["pipeline_tag"] == "zero-shot-image-classification"
    (entry,) = (e for e in json.loads((exported["heads"] / "metrics.json").read_bytes()) if e["system"] == "heads")
    assert {each.metric_type: each.metric_value for each in card.data.eval_results} == pytest.approx(
        {name: entry["metrics"][name] for name in ("accuracy", "macro_f1", "mae", "qwk")}, abs=5e-5
    )
    low, high = entry["ci95"]["qwk"]
    assert f"{entry['metrics']['qwk']:.3f} ({low:.3f} – {high:.3f})" in card.text
    assert info["data_digest"] in card.text
    assert info["details"]["division"]["notes"][0].partition(":")[2] in card.text
    for part in ("## Results", "## Data", "## Limits", "## Licence", "## How to cite", "`text-only`, a control"):
        assert part in card.text


def test_the_encoders_are_a_backbone(exported: dict[str, Path], tmp_path: Path) -> None:
    """Which is the same one whatever lies beside its files."""
    found = resolve_backbone(str(exported["heads"]))
    assert found.revision == resolve_backbone("tiny").revision
    assert found.trained_on.complete
    assert not found.trained_on
    assert found.revision == resolve_backbone(str(exported["similarity"])).revision


def test_python_and_explain_take_an_exported_folder(
    run: Run, exported: dict[str, Path], small_demo: Path, tmp_path: Path
) -> None:
    image = sorted((small_demo / "image").iterdir())[0]
    scorer = load_scorer(exported["heads"], sets=0.9, cache=tmp_path / "cache")
    answers = scorer.answer(image, ["바다"])
    words = ["explain", "--model", exported["heads"], "--image", image, "--hashtag", "바다", "-o", tmp_path / "map.png"]
    ran = run(*words, "--method", "attention", "--json")
    assert ran.code == 0, ran.stderr
    assert ran.json()["predicted"] == answers.predicted[0]
    assert ran.json()["expected_score"] == pytest.approx(answers.values[0], abs=1e-5)


@pytest.mark.slow  # 20 s; tests/koclip_consistency/workflows/test_onnx_files.py has smaller towers
def test_onnx_files_score_without_this_program(run: Run, trained: Path, small_demo: Path, tmp_path: Path) -> None:
    """Tokenizer and preprocessing of transformers, then the three files: the answers of `score`."""
    words = ["export", trained / "runs" / "heads", "-o", tmp_path / "scorer", "--cache", trained / "cache", "--onnx"]
    ran = run(*words, "--json")
    assert ran.code == 0, ran.stderr
    assert "torch" not in ran.stderr
    folder, tags = tmp_path / "scorer", ["바다", "#카페", "고양이"]
    image = sorted((small_demo / "image").glob("*.png"))[0]
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    tokens = transformers.AutoTokenizer.from_pretrained(folder)(tags, padding=True, return_tensors="np")
    pixels = processor(images=Image.open(image).convert("RGB"), return_tensors="np")["pixel_values"]
    asked = {name: tokens[name].astype(np.int64) for name in ("input_ids", "attention_mask")}
    (vector,) = InferenceSession(folder / "onnx" / "image.onnx").run(None, {"pixel_values": pixels})
    (texts,) = InferenceSession(folder / "onnx" / "text.onnx").run(None, asked)
    pairs = {"image_vector": np.repeat(vector, len(tags), axis=0), "hashtag_vector": texts}
    _, scores = InferenceSession(folder / "onnx" / "head.onnx").run(None, pairs)
    hashtags = [word for tag in tags for word in ("--hashtag", tag)]
    said = run("score", "--model", folder, "--image", image, *hashtags, "--json", "--cache", tmp_path / "cache").json()
    expected = {each["hashtag"]: each["expected_score"] for each in said}
    assert scores.tolist() == pytest.approx([expected[tag] for tag in tags], abs=1e-3)
    assert "checked with onnxruntime" in (folder / "README.md").read_text(encoding="utf-8")


def test_what_is_refused(run: Run, exported: dict[str, Path], trained: Path, tmp_path: Path) -> None:
    heads = trained / "runs" / "heads"
    full = run("export", heads, "-o", exported["heads"])
    assert full.code == 2
    assert "exists and is not an empty folder: name another one" in full.stderr
    none = run("export", trained / "runs" / "audit", "-o", tmp_path / "out")
    assert (none.code, "holds nothing that can score" in none.stderr) == (2, True)
    other = run("score", "--model", exported["heads"], "--system", "similarity", "--image", "a", "--hashtag", "b")
    assert (other.code, "has no system similarity: it holds heads" in other.stderr) == (2, True)
    pushed = run("export", heads, "-o", tmp_path / "out", "--push-to-hub", "my-scorer")
    assert (pushed.code, "'my-scorer' does not say whose it is" in pushed.stderr) == (2, True)
    public = run("export", heads, "-o", tmp_path / "out", "--public")
    assert (public.code, "--public needs --push-to-hub" in public.stderr) == (2, True)
    # An export that fails leaves nothing behind.
    copied = tmp_path / "heads"
    shutil.copytree(heads, copied)
    (copied / "sets.json").unlink()
    (copied / "sets.json").symlink_to(heads / "sets.json")
    link = run("export", copied, "-o", tmp_path / "out", "--cache", trained / "cache")
    assert (link.code, "is a symbolic link" in link.stderr) == (2, True)
    assert [path.name for path in tmp_path.iterdir()] == ["heads"]
