"""Backbones are ranked by system, with the differences that `compare` computes."""

import csv
import io
from dataclasses import replace

import numpy as np
import pytest

from consistency.evaluation.compare import compare
from koclip_consistency.workflows.ranking import METRICS, rank_backbones, ranking_csv, ranking_notes
from tests.builders.results import make_result

SPEEDS, PEAKS, SECONDS = {"a": 12.5}, {"b": 640.5}, {"a": 3.0, "b": 4.0, "c": 5.0}


def test_the_best_comes_first_and_the_others_are_measured_against_it() -> None:
    results = {name: make_result(seed=seed, backbone=name) for seed, name in enumerate("abc")}
    ranked = rank_backbones(results.values(), SPEEDS, PEAKS, SECONDS)
    assert [(each.metric, each.rank) for each in ranked] == [(m, rank) for m in METRICS for rank in (1, 2, 3)]
    qwk = {name: result.metrics["qwk"] for name, result in results.items()}
    order = sorted(qwk, key=lambda name: -(qwk[name] or 0))
    for each in ranked:
        assert each.backbone == order[each.rank - 1]
        assert each.value == results[each.backbone].metrics[each.metric]
        assert each.images_per_second == SPEEDS.get(each.backbone)
        assert each.peak_megabytes == PEAKS.get(each.backbone)
        assert each.seconds == SECONDS[each.backbone]
        if each.rank == 1:
            assert (each.difference, each.low, each.high, each.p_holm) == (None,) * 4
        else:
            best = results[order[0]].metrics[each.metric]
            assert each.difference == pytest.approx((each.value or 0) - (best or 0))
            assert each.low is not None
            assert each.high is not None
            assert each.low <= each.high
    two = compare([results[order[0]], results[order[1]]], names=order[:2], metrics=("qwk",))[0]
    assert (ranked[1].low, ranked[1].high) == (two.low, two.high)

    rows = list(csv.DictReader(io.StringIO(ranking_csv(ranked).decode())))
    assert [float(row["value"]) for row in rows] == pytest.approx([each.value for each in ranked])
    assert rows[0]["difference"] == rows[0]["p_holm"] == ""
    (note,) = ranking_notes(ranked)
    assert note.startswith(f"backbones by QWK of heads, with the difference to the best: {order[0]} ")


def test_controls_single_backbones_and_other_rows_have_no_ranking() -> None:
    one, other = make_result(backbone="a"), make_result(seed=1, backbone="b")
    control = [make_result("majority", backbone=name) for name in "ab"]
    assert rank_backbones([one, *control], {}, {}, {}) == []
    shifted = replace(other, predictions=replace(other.predictions, rows=np.arange(len(other.predictions)) + 900))
    assert rank_backbones([one, shifted], {}, {}, {}) == []
    assert ranking_notes([]) == ()
    pooled = [replace(each, predictions=replace(each.predictions, split="cv")) for each in (one, other)]
    assert ranking_notes(rank_backbones(pooled, {}, {}, {})) == ()
