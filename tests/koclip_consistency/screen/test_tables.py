"""Results as tables: the figures of the screen are those of the records."""

from pathlib import Path

import numpy as np
import pytest

from consistency.evaluation.compare import Difference
from heads.config import HeadConfig
from heads.select import MEASURED, Entry
from koclip_consistency.screen.tables import (
    backbones_table,
    compact_table,
    curve_table,
    differences_table,
    info_table,
    leaders_table,
    scores_tables,
    verify_table,
)
from tests.builders.curves import curve_of
from tests.builders.results import make_result

FIELDS = {"model": "local", "revision": "sha256:0123456789", "decoding": "?", "precision": "fp32"}


def entry(**more: object) -> dict[str, object]:
    base = {"fingerprint": "a" * 64, "fields": FIELDS, "images": 3, "hashtags": 4, "bytes": 1_234_567, "newest": None}
    return {**base, "quarantined": 0, **more}


def test_a_learning_curve_ends_with_what_is_expected() -> None:
    table = curve_table(curve_of({18: [0.3, 0.5], 36: [0.4, 0.6], 72: [0.5, 0.7], 144: [0.66, None]}))
    assert table.rows[0][:3] == [18, "180", "0.400 ±0.141"]
    assert table.rows[3][:3] == [144, "1440", "–"]
    assert table.rows[4][:3] == ["288 (expected)", "–", "–"]
    exact = {n: [0.9 - n**-0.25 - 0.1, 0.9 - n**-0.25 + 0.1] for n in (18, 36, 72, 144)}
    table = curve_table(curve_of(exact))
    assert table.rows[4][2] == "0.657 ±0.000"  # 0.9 - 288^(-1/4)
    assert "2 draws" in table.title


def test_what_the_cache_holds() -> None:
    table = info_table(Path("cache"), [entry(), entry(newest=0.0)])
    assert table.columns == ["fingerprint", "model", "images", "hashtags", "size", "age"]
    assert table.rows[0] == ["a" * 12, "local@01234567 ? fp32", 3, 4, "1.2 MB", "–"]
    assert str(table.rows[1][-1]).endswith(" d")
    assert info_table(Path("cache"), [entry(quarantined=2)]).rows[0][-1] == 2


def test_what_was_verified_and_compacted() -> None:
    checked = {"fingerprint": "b" * 64, "fields": FIELDS, "segments": 5, "rows": 9, "damaged": ["x", "y"]}
    assert verify_table(Path("c"), [checked]).rows == [["b" * 12, "local@01234567 ? fp32", 5, 9, 2]]
    assert compact_table(Path("c"), [{"fingerprint": "b" * 64, "before": 7, "after": 1}]).rows == [["b" * 12, 7, 1]]


@pytest.mark.parametrize("familiar", [None, True, False])
def test_scores_show_familiarity_where_it_is_known(familiar: bool | None) -> None:
    record = {"image": "a.png", "hashtag": "#a", "predicted": 4, "value": 3.98765, "familiar": familiar}
    table, other = scores_tables("heads", [record, {**record, "image": "b.png"}])
    assert (other.title, other.rows) == ("b.png, scored by heads", table.rows)
    assert table.title == "a.png, scored by heads"
    expected = ["#a", 4, "3.988"] if familiar is None else ["#a", 4, "3.988", "yes" if familiar else "no"]
    assert list(table.rows[0]) == expected
    assert len(table.columns) == len(expected)


def test_leaders_are_ranked_with_mean_and_spread() -> None:
    curves = {metric: np.array([[0.2, 0.6], [0.4, 0.8]]) for metric in MEASURED}
    ridge = HeadConfig(hidden=(), optimizer="ridge", weight_decay=0.3, loss="regression", epochs=1)
    table = leaders_table([Entry(HeadConfig(hidden=(64,)), 10, curves), Entry(ridge, 5, curves)])
    assert [row[0] for row in table.rows] == [1, 2]
    assert table.rows[0][-1] == 2  # epochs
    assert table.rows[1][4:6] == ["ridge 0.3", "–"]


def test_backbones_are_compared_only_where_there_are_several() -> None:
    assert backbones_table([make_result("heads", backbone="tiny")]) is None
    table = backbones_table([make_result("heads", backbone=name) for name in ("clip", "koclip")])
    assert table is not None
    assert [column for column in table.columns if "clip" in column][:2] == ["macro-F1 clip", "macro-F1 koclip"]


def test_differences_name_runs_only_where_systems_are_ambiguous() -> None:
    def difference(name: str) -> Difference:
        figures = {"value": 0.5, "reference_value": 0.4, "difference": 0.1, "low": 0.05, "high": 0.2}
        return Difference(name, "a/heads", "qwk", 9, **figures, p=0.0001, p_holm=0.0002)

    clear = differences_table([difference("b/finetune"), difference("c/similarity")])
    assert [row[0] for row in clear.rows] == ["finetune", "similarity"]
    assert clear.rows[0][1:] == ["QWK", "0.500", "+0.100", "+0.050 to +0.200", "<0.001"]
    ambiguous = differences_table([difference("b/heads"), difference("c/heads")])
    assert [row[0] for row in ambiguous.rows] == ["b/heads", "c/heads"]
