"""The workflow of `agreement` on a table written here: disagreements, and rows of one image drawn together."""

from pathlib import Path

from consistency.options import AgreementOptions, Source
from koclip_consistency.workflows.agreement import run_agreement


def test_disagreements_come_widest_first_and_equal_scores_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "rated.csv").write_text(
        "Image Filename,Hashtag,a,b,c\nx.png,바다,5,5,\nx.png,카페,1,2,4\ny.png,바다,3,,2\ny.png,산,,,1\n",
        encoding="utf-8",
    )
    agreed = run_agreement(AgreementOptions(columns="a, b,c", source=Source(data=tmp_path / "rated.csv")))
    assert (agreed.rows, agreed.images, agreed.alpha.n) == (4, 2, 3)
    assert [(each.row, each.spread) for each in agreed.disagreements] == [(2, 3), (3, 1)]
    assert agreed.disagreements[1].scores == {"a": 3, "b": None, "c": 2}
    assert (agreed.models, agreed.ceilings) == ([], [])
    assert agreed.as_dict()["pairs"][0]["confusion"][4][4] == 1
