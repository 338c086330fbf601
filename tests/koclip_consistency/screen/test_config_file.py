"""koclip.toml: what is wrong is one line, and a command of two words has a table."""

import json
from pathlib import Path

import pytest

from tests.builders.commands import Run

FILES = {
    "typo.toml": ('bakbone = "tiny"', "sets 'bakbone', which is no option: did you mean backbone?"),
    "elsewhere.toml": ("[heads]\nmethod = 1", "sets 'method' in [heads], which is no option"),
    "table.toml": ("[haeds]\nfolds = 5", "sets 'haeds', which is no command: did you mean heads?"),
    "broken.toml": ("backbone =", "is no TOML file"),
    "value.toml": ('device = "abacus"', "'abacus' is not one of"),
    "missing.toml": (None, "cannot be read: No such file"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_configuration_file_that_is_wrong_is_one_line(run: Run, tmp_path: Path, name: str) -> None:
    content, said = FILES[name]
    if content is not None:
        (tmp_path / name).write_text(content)
    ran = run("heads", "--config", tmp_path / name)
    assert ran.code == 2
    assert said in ran.stderr
    assert ran.stderr.count("\n") == 1


def test_a_table_of_a_command_of_two_words(run: Run, small_demo: Path, tmp_path: Path) -> None:
    data, images = small_demo / "combined_data.csv", small_demo / "image"
    (tmp_path / "koclip.toml").write_text(f'data = "{data}"\nimages = "{images}"\n["data check"]\njson = true\n')
    ran = run("data", "check", "--config", tmp_path / "koclip.toml")
    assert ran.code == 0, ran.stderr
    assert json.loads(ran.stdout)["rows"] == len(data.read_text(encoding="utf-8").splitlines()) - 1
