"""`data`: drawing the demo and checking a pair table."""

import shutil
from pathlib import Path

from tests.builders.commands import Run


def test_the_demo_is_drawn_over_a_drawing_alone(run: Run, small_demo: Path, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    (begun / "image").mkdir(parents=True)
    shutil.copy(small_demo / "image" / "demo_001.png", begun / "image")
    (begun / "image" / ".writing-1-a").touch()  # as a kill leaves it
    own = tmp_path / "own"
    shutil.copytree(small_demo, own)
    (own / "clean_labels.csv").unlink()
    other = tmp_path / "other"
    shutil.copytree(small_demo, other)
    (other / "image" / "holiday.jpg").touch()
    for folder in (own, other):
        before = (folder / "combined_data.csv").read_bytes()
        ran = run("data", "demo", folder)
        assert ran.code == 2
        assert "holds other files than an earlier drawing" in ran.stderr
        assert (folder / "combined_data.csv").read_bytes() == before
    ran = run("data", "demo", begun, "--json")
    assert ran.code == 0, ran.stderr
    assert ran.json()["pictures"] == 180
    assert not list(begun.rglob(".writing*"))
    assert run("data", "demo", begun, "--seed", 7).code == 0


def test_data_check_without_pictures(run: Run, small_demo: Path, tmp_path: Path) -> None:
    ran = run("data", "check", "--data", small_demo / "combined_data.csv", "--images", tmp_path, "--json")
    assert ran.code == 3
    assert ran.json()["pictures"]["none_found"]
    assert run("data", "check", "--data", small_demo / "combined_data.csv", "--images", small_demo / "image").code == 0
