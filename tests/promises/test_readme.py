"""README, docs, `--help` and CONTRIBUTING agree with the program: commands, options and files that they name exist."""

import re
import shlex
from collections.abc import Iterator

import click
import pytest

from cli import app
from tests.builders.pages import PAGES, PROGRAM, README, shown_commands
from tests.promises.house import ROOT, House

REFERENCE = ROOT / "docs" / "command-line.md"


def commands_below(group: click.Command, path: str = "") -> Iterator[tuple[str, click.Command]]:
    if not isinstance(group, click.Group):
        yield path.strip(), group
        return
    for name, inside in group.commands.items():
        yield from commands_below(inside, f"{path} {name}")


COMMANDS = dict(commands_below(app))


def options_of(command: click.Command) -> set[str]:
    return {
        flag
        for parameter in command.get_params(click.Context(command))
        for flag in (*parameter.opts, *parameter.secondary_opts)
        if flag.startswith("--")
    }


def named_options(text: str) -> set[str]:
    """The options that a text names in code, without the lines that run another program."""
    others = r"python -m benchmarks|chromium|uv pip|embedding-atlas"
    lines = (re.sub(r"torchrun .*?cli\.py", "", line) for line in text.splitlines() if not re.search(others, line))
    code = re.findall(r"```.*?```|`[^`]+`", "\n".join(lines), re.S)
    return {flag for part in code for flag in re.findall(r"(?<![\w-])--[a-z][\w-]*", part)}


def sections() -> dict[str, str]:
    """The sections of the reference about a command, by their titles."""
    text = REFERENCE.read_text(encoding="utf-8")
    return dict(re.findall(r"^### `([a-z ]+)`\n(.*?)(?=^##)", text, re.S | re.M))


@pytest.mark.parametrize("name", COMMANDS)
def test_reference_documents_every_command(name: str) -> None:
    """Each command, or its family, has a section with an example that runs it."""
    section = sections().get(name) or sections()[name.split()[0]]
    assert re.search(rf"(?:{PROGRAM} |^\| `){name}\b", section, re.M)


@pytest.mark.parametrize("name", sections())
def test_reference_names_options_of_the_command(name: str) -> None:
    """A section about a command names only options that this command has."""
    family = [command for path, command in COMMANDS.items() if f"{path} ".startswith(f"{name} ")]
    assert family, f"there is no command {name}"
    text = "\n".join(line for line in sections()[name].splitlines() if not re.match(rf"{PROGRAM} ", line))
    mentioned = named_options(re.sub(rf"`(?:{'|'.join(app.commands)}) [^`]*`|```.*?```", "", text, flags=re.S))
    known = set().union(*map(options_of, family))
    assert mentioned - known == set()


def test_reference_names_every_option() -> None:
    named = named_options(REFERENCE.read_text(encoding="utf-8"))
    every = set().union(*(options_of(command) for _, command in COMMANDS.items()))
    assert every - named - {"--help"} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_exist_that_pages_name(page: object) -> None:
    known = set().union(*(options_of(command) for _, command in COMMANDS.items()), {"--version"})
    assert named_options((ROOT / str(page)).read_text(encoding="utf-8")) - known == set()


def test_readme_shows_the_commands_a_user_needs_first() -> None:
    shown = " ".join(line for page, line in shown_commands() if page == "README.md")
    first = ("data check", "similarity", "heads", "finetune", "report", "score")
    assert [name for name in first if not re.search(rf"\b{name}\b", shown)] == []
    text = README.read_text(encoding="utf-8")
    assert [name for name in app.commands if f"`{name}`" not in text and f"cli.py {name}" not in text] == []


def test_links_lead_to_files() -> None:
    """README and docs link to files that exist. That every page is reached, and every heading, `make docs` checks."""
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
            made = target.startswith("_build/")  # by docs/prepare.py
            assert made or (page.parent / target).exists(), f"{page.name} links to {target}"


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


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_of_help_parse(name: str) -> None:
    """`--help` ends with examples, and the program understands them."""
    command = COMMANDS[name]
    examples = getattr(command, "examples", ())
    assert examples
    for example in examples:
        assert example == example.strip()
        command.make_context(name, shlex.split(example))


def test_help_text_of_every_option() -> None:
    lacking = [
        f"{name} {parameter.opts[0]}"
        for name, command in COMMANDS.items()
        for parameter in command.get_params(click.Context(command))
        if isinstance(parameter, click.Option) and not (parameter.help or "").strip()
    ]
    assert lacking == []


def test_contributing_names_what_is_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:\w+/)+(?:\w+\.\w+)?|\w+\.py)`", text))
    assert len(named) > 15
    assert [name for name in sorted(named) if not (ROOT / name).exists() and "NAME" not in name] == []


def test_what_security_promises_is_tested() -> None:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[^`]+)`", text)
    assert len(named) > 10
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_contributing_draws_every_room() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    tree = re.findall(r"```text\n(cli\.py.*?)```", text, re.S)[0]
    rooms = [module.path.parent for module in House(ROOT).modules.values() if module.path.name == "__init__.py"]
    assert len(rooms) > 12
    assert [room.name for room in rooms if not re.search(rf"^[│├└─ ]*{room.name}/", tree, re.M)] == []
