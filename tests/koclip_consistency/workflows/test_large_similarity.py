"""`similarity` in bounded memory gives what it gives in memory."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from consistency.errors import DataError
from consistency.options import Encoding, Evaluation, OnConflict, Output, Protocol, SimilarityOptions, Source
from heads import counted
from koclip_consistency.workflows import large_similarity
from koclip_consistency.workflows.similarity import run_similarity
from koclip_consistency.workflows.trial import Outcome
from tests.builders.commands import rows_of
from tests.builders.large import stumbling_table

LEARNED = ("similarity-simple", "similarity-search", "similarity-exact")


@pytest.fixture(scope="module")
def options(small_demo: Path, tmp_path_factory: pytest.TempPathFactory) -> SimilarityOptions:
    folder = tmp_path_factory.mktemp("large")
    path = stumbling_table(small_demo, folder / "data", images=14)
    source = Source(data=path, images=path.parent / "image", on_conflict="first")
    return SimilarityOptions(source=source, encoding=Encoding(backbone="tiny", cache=folder / "cache"))


def run(options: SimilarityOptions, folder: Path, large_rows: int, **evaluation: Any) -> Outcome:
    output = Output(out=folder / str(large_rows))
    return run_similarity(replace(options, large_rows=large_rows, output=output, evaluation=Evaluation(**evaluation)))


def entries(outcome: Outcome) -> dict[str, dict[str, Any]]:
    found = json.loads((outcome.path / "metrics.json").read_text())
    return {entry["system"]: entry for entry in found}


@pytest.mark.parametrize(
    ("protocol", "on_conflict", "seed"), [("grouped", "first", 42), ("hashtag", "mean", 1), ("grouped", "drop", 2)]
)
def test_the_run_equals_that_in_memory(
    options: SimilarityOptions, tmp_path: Path, protocol: Protocol, on_conflict: OnConflict, seed: int
) -> None:
    options = replace(options, source=replace(options.source, on_conflict=on_conflict))
    known, found = (run(options, tmp_path, rows, protocol=protocol, seed=seed) for rows in (10**9, 1))
    assert known.counted == found.results == ()
    for name in ("split.csv", "thresholds.json", "skipped.csv"):
        assert (found.path / name).read_bytes() == (known.path / name).read_bytes(), name
    ours, theirs = entries(found), entries(known)
    assert list(ours) == ["majority", "median", *LEARNED]
    metrics = {system: entry["metrics"] for system, entry in ours.items()}
    assert {each.system: each.metrics for each in found.counted} == metrics
    for system in ours:
        if system in LEARNED:
            assert ours[system] == theirs[system]
        else:  # a constant's calibration error is summed in another order
            assert ours[system]["metrics"] == pytest.approx(theirs[system]["metrics"], abs=1e-12)
            for metric, interval in theirs[system]["ci95"].items():
                assert ours[system]["ci95"][metric] == (interval and pytest.approx(interval, abs=1e-12)), metric
    for name in ("predictions.csv", "per_score.csv"):
        mine, all_systems = (rows_of(each.path / name) for each in (found, known))
        same = [row for row in all_systems if row["system"] in ours]
        for row in (*mine, *same):
            if row["system"] == "majority" and "value" in row:
                row["value"] = f"{float(row['value']):.12f}"
        assert mine == same
    runs = [json.loads((each.path / "run.json").read_text()) for each in (found, known)]
    for name in ("data_digest", "pictures_digest", "fingerprint", "seeds"):
        assert runs[0][name] == runs[1][name]
    assert runs[0]["details"]["division"] == runs[1]["details"]["division"]
    assert "no controls that read texts" in runs[0]["details"]["bounded_memory"]
    assert set(known.notes) - set(found.notes) <= {known.notes[-1], *(note for note in known.notes if "unlike" in note)}
    assert found.lost == len(known.skipped)
    assert found.skipped[0] == known.skipped[0]
    figures = {path.name for path in known.path.glob("confusion*.png")}
    assert {path.name for path in found.path.glob("confusion*.png")} == figures


def test_batches_change_nothing(options: SimilarityOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(options, tmp_path / "whole", 1)
    monkeypatch.setattr("consistency.data.large_split.BATCH", 7)
    monkeypatch.setattr("consistency.data.spool.Spool.batches.__kwdefaults__", {"size": 7})
    parts = run(options, tmp_path / "parts", 1)
    for name in ("split.csv", "thresholds.json", "metrics.json", "predictions.csv", "per_score.csv"):
        assert (parts.path / name).read_bytes() == (whole.path / name).read_bytes(), name


def test_many_similarities_are_cut_at_quantiles(
    options: SimilarityOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("heads.counted", "heads.thresholds"):
        monkeypatch.setattr(f"{module}.EXACT_LIMIT", 30)
        monkeypatch.setattr(f"{module}.BINS", 12)
    assert counted.BINS == 12
    monkeypatch.setattr(large_similarity, "RANKED", 3)
    known, found = (run(options, tmp_path, rows) for rows in (10**9, 1))
    assert (found.path / "thresholds.json").read_bytes() == (known.path / "thresholds.json").read_bytes()
    (note,) = [note for note in found.notes if note.startswith("thresholds: the best among 12 quantiles of ")]
    assert json.loads((found.path / "run.json").read_text())["details"]["thresholds"] == note
    assert note in known.notes
    ours, theirs = entries(found), entries(known)
    for system in LEARNED:
        assert ours[system]["metrics"] == theirs[system]["metrics"]
        assert ours[system]["ci95"].pop("spearman") is None
        del theirs[system]["ci95"]["spearman"]
        assert ours[system]["ci95"] == theirs[system]["ci95"]
    assert any("beyond 3 test rows Spearman's correlation has no interval" in note for note in found.notes)


def test_what_needs_all_rows_is_done_in_memory(options: SimilarityOptions, tmp_path: Path) -> None:
    outcome = run(replace(options, folds=2), tmp_path, 1)
    assert len(outcome.results) > len(LEARNED)
    assert outcome.counted == ()
    assert outcome.notes[-1].endswith("are held in memory, which --folds needs")


def test_contradictions_and_tables_that_are_too_small(options: SimilarityOptions, tmp_path: Path) -> None:
    lines = options.source.data.read_text(encoding="utf-8").splitlines()
    image = next(line for line in lines[1:] if line.endswith(",4"))
    path = options.source.data.with_name("conflict.csv")
    path.write_text("\n".join([*lines, image[:-1] + "1", image[:-1] + "2"]), encoding="utf-8")
    source = replace(options.source, data=path, on_conflict="abort")
    messages = []
    for rows in (10**9, 1):
        with pytest.raises(DataError) as error:
            run(replace(options, source=source), tmp_path, rows)
        messages.append(str(error.value))
    assert messages[0] == messages[1]
    assert "have the same image and hashtag" in messages[0]
    one = image.split(",")[0]
    path.write_text("\n".join([lines[0], *(line for line in lines if line.startswith(one))]), encoding="utf-8")
    for rows in (10**9, 1):
        with pytest.raises(DataError, match="there are only 1, expected at least 2"):
            run(replace(options, source=source), tmp_path, rows)
