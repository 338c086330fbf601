"""The limits on the size and shape of the code, which `python -m tests.promises.house` prints."""

from pathlib import Path

import pytest

from cli import app
from tests.promises.house import CLI_LINES, GROUND_MODULES, LONGEST, ROOT, House, place_of_test


@pytest.fixture(scope="module")
def house() -> House:
    return House(ROOT)


def test_no_module_imports_itself_through_others(house: House) -> None:
    assert house.circles(at_load=False) == []


def test_no_module_is_too_long(house: House) -> None:
    longest = {module.place: module.lines for module in house.too_long()}
    assert longest == {}, f"at most {LONGEST} lines"
    assert house.modules["cli"].lines < CLI_LINES


def test_the_ground_has_few_modules_outside_its_rooms(house: House) -> None:
    assert len(house.ground()) <= GROUND_MODULES, house.ground()


def test_options_reach_the_workflows_as_records(house: House) -> None:
    assert house.places_of("given[") == []


def test_every_module_has_its_test_file(house: House) -> None:
    missing = house.without_test()
    assert missing == [], [place_of_test(place) for place in missing]


def test_every_command_has_its_test_file() -> None:
    missing = [name for name in app.commands if not (ROOT / "tests" / "commands" / f"test_{name}.py").is_file()]
    assert missing == []


def test_no_test_file_imports_another(house: House) -> None:
    found = [
        (module.place, each.name)
        for module in house.tests
        for each in house.imports(module)
        if each.name.startswith("tests.") and ".test_" in each.name
    ]
    assert found == []


def written(folder: Path, files: dict[str, str]) -> House:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        if path.parent != folder:
            (path.parent / "__init__.py").touch()
    return House(folder)


def test_the_measures_of_a_small_house(tmp_path: Path) -> None:
    """A checkout whose numbers are counted by hand."""
    house = written(
        tmp_path,
        {
            "cli.py": '"""Doc."""\n\nfrom roof import one  # a note\n',
            "roof/one.py": "import json\nfrom roof.two import f\n\n\n"
            'def g(level: int = 1) -> str:\n    """Doc\n\n    more.\n    """\n'
            '    return json.dumps({"level": level, "text": """a\n\nb"""})\n',
            "roof/two.py": "def f():\n    from roof import one\n    return one.g(level=2)\n",
            "roof/three.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from roof import four\n",
            "roof/four.py": "import roof.three\nOPTIONS = ['--level', 'levels', '--level/--no-level']\n",
            "tests/roof/test_one.py": "from roof import one\n",
        },
    )
    assert house.circles(at_load=False) == [["roof.four", "roof.three"], ["roof.one", "roof.two"]]
    assert house.circles(at_load=True) == []
    assert house.places_of_option("level") == ["roof/four.py:2", "roof/one.py:5", "roof/one.py:10", "roof/two.py:3"]
    assert house.modules["roof.one"].lines == 12
    assert house.modules["roof.one"].code_lines == 6  # a blank line within a text counts, a docstring does not
    assert house.modules["cli"].code_lines == 1
    assert [module.place for module in house.too_long(11)] == ["roof/one.py"]
    assert house.without_test() == ["roof/four.py", "roof/three.py", "roof/two.py"]
