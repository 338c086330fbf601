"""The LaTeX table: escaped, with intervals, bold only where a lead is certain."""

from dataclasses import replace

import numpy as np

from consistency.evaluation.results import Result, evaluate_predictions
from consistency.report.paper.table import escaped, table_tex
from consistency.report.standing import Comparison
from tests.builders.results import make_result


def perfect(result: Result) -> Result:
    p = result.predictions
    exact = replace(p, system="exact", predicted=p.scores, values=p.scores.astype(float), probabilities=None)
    return evaluate_predictions(exact)


def test_every_special_character_is_escaped() -> None:
    assert escaped("a_b & 50% #x {$} ~^\\\n<|>") == (
        r"a\_b \& 50\% \#x \{\$\} \textasciitilde{}\textasciicircum{}\textbackslash{} "
        r"\textless{}\textbar{}\textgreater{}"
    )
    assert escaped("나무") == "나무"


def test_cells_and_rules() -> None:
    control, learned = make_result("majority", probabilities=False), make_result("heads_x")
    best = perfect(learned)
    comparison = Comparison([control, learned, best])
    names = {control: "majority", learned: "heads_x (50%)", best: "exact"}
    lines = table_tex(comparison, names, ["protocol\ngrouped"]).splitlines()
    assert lines[0] == "% protocol grouped"
    assert lines[1:3] == [r"\begin{tabular}{lccccr}", r"\toprule"]
    assert lines[3] == r"System & Accuracy & Macro-F1 & MAE $\downarrow$ & QWK & Rows \\"
    assert [lines[4], lines[7], *lines[9:]] == [r"\midrule", r"\midrule", r"\bottomrule", r"\end{tabular}"]
    low, high = learned.ci95["qwk"] or (np.nan, np.nan)
    assert lines[5].startswith(r"heads\_x (50\%) & ")
    assert rf" & {learned.metrics['qwk']:.3f} {{\scriptsize [{low:.3f}, {high:.3f}]}} & 60 \\" in lines[5]
    assert lines[6].count(r"\textbf{") == 4
    assert "textbf" not in lines[5] + lines[8]
    assert lines[8].startswith("majority & ")


def test_undefined_metrics_are_dashes_and_a_level_lead_is_not_bold() -> None:
    one, other = make_result("a", seed=1), make_result("b", seed=2)
    table = table_tex(
        Comparison([one, other]), {one: "a", replace(other, metrics=other.metrics | {"qwk": None}): "b"}, []
    )
    assert " & -- & 60" in table
    assert "textbf" not in table
