"""Every command that README and docs show is one that the command line understands."""

import re
import shlex

import click
import pytest

from cli import app
from tests.promises.house import ROOT, House

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def shown_commands() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        for block in re.findall(r"```(?:sh|console)\n(.*?)```", page.read_text(encoding="utf-8"), re.S):
            for line in block.replace("\\\n", " ").splitlines():
                words = re.match(r"(?:\$ )?(?:\w+=\S+ )*(?:python cli\.py|koclip-consistency) (.*)", line)
                if words:
                    found.append((page.name, words[1].split(" #")[0]))
    return found


def test_readme_shows_every_command() -> None:
    shown = " ".join(command for page, command in shown_commands() if page == "README.md")
    for name in app.commands:
        assert re.search(rf"\b{name}\b", shown), f"README never shows {name}"


@pytest.mark.parametrize(("page", "line"), shown_commands())
def test_shown_command_parses(page: str, line: str) -> None:
    words = shlex.split(line)
    command: click.Command = app
    context = None
    while isinstance(command, click.Group):
        context = click.Context(command, parent=context)
        _, found, words = command.resolve_command(context, words)
        assert found is not None
        command = found
    if words != ["--help"]:
        command.make_context(line, words, parent=context)  # raises for an unknown option or a wrong value


def test_contributing_names_what_is_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:\w+/)+(?:\w+\.\w+)?|\w+\.py)`", text))
    assert len(named) > 15
    assert [name for name in sorted(named) if not (ROOT / name).exists() and "NAME" not in name] == []


def test_contributing_draws_every_room() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    tree = re.findall(r"```text\n(cli\.py.*?)```", text, re.S)[0]
    rooms = [module.path.parent for module in House(ROOT).modules.values() if module.path.name == "__init__.py"]
    assert len(rooms) > 12
    assert [room.name for room in rooms if not re.search(rf"^[│├└─ ]*{room.name}/", tree, re.M)] == []
