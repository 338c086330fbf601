"""A trial holds what a command has so far and writes it."""

import json
from pathlib import Path

import numpy as np
import pytest

from consistency.options import Encoding, Evaluation, Output, SimilarityOptions, Source
from consistency.progress import Reporter
from consistency.runs.read import read_run
from koclip_consistency.workflows.answers import Answers, Rows
from koclip_consistency.workflows.trial import Trial, resumable
from tests.builders.commands import rows_of


@pytest.fixture
def options(small_demo: Path, tmp_path: Path) -> SimilarityOptions:
    source = Source(data=small_demo / "combined_data.csv", images=small_demo / "image")
    encoding = Encoding(backbone="tiny", cache=tmp_path / "cache")
    return SimilarityOptions(
        source=source, encoding=encoding, evaluation=Evaluation(seed=3), output=Output(out=tmp_path / "run")
    )


def test_what_was_added_is_written_in_that_order(options: SimilarityOptions, tmp_path: Path) -> None:
    details: list[str] = []
    trial = Trial("similarity", options, Reporter(detail=details.append))
    encoded = trial.encode()
    train, test = trial.sides()
    assert set(trial.inputs.alike[train]).isdisjoint(trial.inputs.alike[test])
    fives = Answers(np.full(len(test), 5), np.full(len(test), 5.0))
    trial.add("fives", test, fives)
    trial.open()
    assert not (tmp_path / "run" / "run.json").exists()
    fields, usable = encoded.cache.fields, encoded.position >= 0
    outcome = trial.finish(usable=usable, skipped=(), fields=fields, details={"x": 1}, notes=("a note",))
    run = read_run(tmp_path / "run")
    assert [result.predictions.system for result in run.results] == ["fives"]
    assert run.results[0].metrics == outcome.results[0].metrics
    assert run.results[0].metrics["accuracy"] == np.mean(trial.split.labels[test] == 4)
    assert run.detail("x") == 1
    assert "a note" in outcome.notes
    steps = json.loads((tmp_path / "run" / "run.json").read_text())["timings"]
    assert list(steps) == ["read", "encode", "write"]
    assert [line.split(":")[0] for line in details] == list(steps)


def test_every_row_is_answered_once_by_what_the_other_folds_taught(options: SimilarityOptions) -> None:
    trial = Trial("similarity", options, Reporter())
    trial.encode()
    asked: list[tuple[Rows, Rows]] = []

    def answer(train: Rows, held_out: Rows) -> dict[str, Answers]:
        asked.append((train, held_out))
        return {"row": Answers(np.full(len(held_out), 3), held_out * 1.0)}  # each answer says for which row it is

    trial.cross_validate(3, answer)
    kept = np.flatnonzero(trial.split.kept)
    assert sorted(np.concatenate([held_out for _, held_out in asked]).tolist()) == kept.tolist()
    for train, held_out in asked:
        assert sorted([*train, *held_out]) == kept.tolist()
        assert set(trial.inputs.alike[train]).isdisjoint(trial.inputs.alike[held_out])
    result = trial.results[-1]
    assert (result.predictions.system, result.predictions.split) == ("row", "cv")
    assert result.predictions.values.tolist() == kept.tolist()
    assert result.predictions.rows.tolist() == trial.inputs.table.rows[kept].tolist()
    assert {"majority", "text-embedding"} <= {each.predictions.system for each in trial.results[:-1]}


def test_an_interruption_says_how_to_continue(tmp_path: Path) -> None:
    def interrupted() -> None:
        with resumable("--resume", tmp_path):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        interrupted()
    assert caught.value.__notes__ == [f"--resume {tmp_path}"]


def test_the_split_is_written_for_all_rows(options: SimilarityOptions, tmp_path: Path) -> None:
    trial = Trial("similarity", options, Reporter())
    encoded = trial.encode()
    train, test = trial.sides()
    trial.add_controls(train, test)
    trial.open()
    trial.finish(usable=encoded.position >= 0, skipped=(), fields=encoded.cache.fields, details={})
    written = rows_of(tmp_path / "run" / "split.csv")
    assert [row["split"] for row in written] == trial.split.side.tolist()
