"""Several backbones as one, from extraction to score."""

from pathlib import Path

import numpy as np
import pytest

import koclip_consistency as kc
from tests.builders.commands import Run, data_options, rows_of
from tests.builders.models import make_siglip_folder


def test_heads_on_two_backbones_and_all_that_follows(
    run: Run, small_demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_siglip_folder(tmp_path / "other")
    data = data_options(small_demo, tmp_path)
    assert run("extract", "--backbone", "tiny", *data).code == 0
    out = tmp_path / "run"
    ran = run("heads", "--backbone", "tiny", "--backbone", other, *data, "--out", out, "--json")
    assert ran.code == 0, ran.stderr
    assert {entry["backbone"] for entry in ran.json() if entry["system"] == "heads"} == {f"tiny,{other}"}
    # What one backbone alone has encoded is not encoded again, and only once in all.
    assert "tiny: embeddings: 0 of 60 images" in ran.stderr
    assert f"{other}: embeddings: 60 of 60 images" in ran.stderr
    monkeypatch.setenv("KOCLIP_BACKBONE", f"tiny,{other}")
    assert run("extract", *data, "--json").json()["images_encoded"] == 0
    monkeypatch.delenv("KOCLIP_BACKBONE")
    (tmp_path / "koclip.toml").write_text(f'backbone = "tiny,{other}"\n', encoding="utf-8")
    toml = run("extract", *data, "--config", tmp_path / "koclip.toml", "--json")
    assert (toml.code, toml.json()["images_encoded"]) == (0, 0)

    table, image = small_demo / "combined_data.csv", small_demo / "image"
    answers = {(r["image"], r["hashtag"]): r for r in rows_of(out / "predictions.csv") if r["system"] == "heads"}
    (name, hashtag), answer = next(iter(answers.items()))
    for cache in (tmp_path / "cache", tmp_path / "empty"):  # from the caches, and by the models
        scorer = kc.load(out, cache=cache)
        found = scorer.score(image / name, [hashtag]).iloc[0]
        assert found["predicted"] == int(answer["predicted"])
        chances = [float(answer[f"p{score}"]) for score in range(1, 6)]
        np.testing.assert_allclose([found[f"p{score}"] for score in range(1, 6)], chances, atol=1e-4)
    scored = run("score", "--model", out, "--data", table, "--images", image, "--cache", tmp_path / "empty", "-o",
                 tmp_path / "out.csv")  # fmt: skip
    assert scored.code == 0, scored.stderr
    for row in rows_of(tmp_path / "out.csv"):
        pair = row["Image Filename"], row["Hashtag"]
        assert pair not in answers or answers[pair]["predicted"] == row["predicted"]


def test_one_backbone_named_twice_is_one_line(run: Run, small_demo: Path, tmp_path: Path) -> None:
    ran = run("heads", "--backbone", "tiny", "--backbone", "tiny", *data_options(small_demo, tmp_path))
    assert (ran.code, ran.stderr.count("\n")) == (2, 1)
    assert "'tiny,tiny' does not name several different backbones" in ran.stderr
