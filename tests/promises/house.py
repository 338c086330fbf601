"""The size and shape of the code, as numbers: `python -m tests.promises.house [CHECKOUT ...]`.

Prints one column per checkout, so that two commits can be compared; without an argument, this checkout.
`--option NAME` names the option whose places are counted (default: ensemble).
"""

import argparse
import ast
import io
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
LONGEST = 420  # lines a module may have
CLI_LINES = 300  # lines that cli.py stays under
COMMAND_LINE = ("cli.py", "koclip_consistency/screen/app.py", "koclip_consistency/screen/commands/")
GROUND_MODULES = 10  # modules at the root of consistency/


@dataclass(frozen=True)
class Import:
    """One imported module.

    Attributes
    ----------
    name : str
        Full dotted name. `from a import b` gives `a.b` where that is a module of ours, otherwise `a`.
    at_load : bool
        Whether loading the importing module loads this one: False inside functions and under TYPE_CHECKING.
    """

    name: str
    at_load: bool


@dataclass(frozen=True)
class Module:
    """One Python file of a checkout."""

    root: Path
    path: Path

    @property
    def name(self) -> str:
        parts = self.path.relative_to(self.root).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @property
    def place(self) -> str:
        return self.path.relative_to(self.root).as_posix()

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def lines(self) -> int:
        return len(self.text.splitlines())

    @cached_property
    def code_lines(self) -> int:
        """Lines that are not blank, comment or docstring."""
        ignored = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
        ignored |= {tokenize.ENCODING, tokenize.ENDMARKER}
        lines: set[int] = set()
        for token in tokenize.generate_tokens(io.StringIO(self.text).readline):
            if token.type not in ignored:
                lines.update(range(token.start[0], token.end[0] + 1))
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                first = node.body[0] if node.body else None
                if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                    lines.difference_update(range(first.lineno, (first.end_lineno or first.lineno) + 1))
        return len(lines)

    @property
    def defines_nothing(self) -> bool:
        """Whether the file only names things: docstring, imports, `__all__`."""
        return all(
            isinstance(node, ast.Import | ast.ImportFrom)
            or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
            or (
                isinstance(node, ast.Assign)
                and isinstance(node.targets[0], ast.Name)
                and node.targets[0].id == "__all__"
            )
            for node in self.tree.body
        )


@dataclass(frozen=True)
class House:
    """A checkout: the modules that are installed, those of the benchmarks, and the tests."""

    root: Path

    @cached_property
    def modules(self) -> dict[str, Module]:
        packages = sorted(path.parent for path in self.root.glob("*/__init__.py") if path.parent.name != "tests")
        files = [self.root / "cli.py", *(path for package in packages for path in sorted(package.rglob("*.py")))]
        return {module.name: module for module in (Module(self.root, path) for path in files)}

    @cached_property
    def benchmarks(self) -> list[Module]:
        return [Module(self.root, path) for path in sorted((self.root / "benchmarks").rglob("*.py"))]

    @cached_property
    def tests(self) -> list[Module]:
        return [Module(self.root, path) for path in sorted((self.root / "tests").rglob("*.py"))]

    def imports(self, module: Module) -> set[Import]:
        """Everything that import statements in `module` name, standard library and packages of others included."""
        found = set()
        for node, at_load in _statements(module.tree):
            if isinstance(node, ast.Import):
                found |= {Import(alias.name, at_load) for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                if node.level:
                    raise ValueError(f"{module.place}:{node.lineno}: a relative import")
                base = node.module or ""
                inner = {f"{base}.{alias.name}" for alias in node.names}
                found |= {Import(name if name in self.modules else base, at_load) for name in inner}
        return found

    def circles(self, *, at_load: bool) -> list[list[str]]:
        """Groups of modules that import one another.

        Parameters
        ----------
        at_load : bool
            Count only what is imported when a module loads; False counts every import statement.
        """
        edges = {
            name: {
                each.name
                for each in self.imports(module)
                if each.name in self.modules and (each.at_load or not at_load)
            }
            for name, module in self.modules.items()
        }
        reach = {name: _reachable(name, edges) for name in edges}
        groups = {frozenset(other for other in reach[name] if name in reach[other]) for name in edges}
        return sorted(sorted(group) for group in groups if group)

    def too_long(self, limit: int = LONGEST) -> list[Module]:
        return [module for module in self.modules.values() if module.lines > limit]

    def ground(self) -> list[str]:
        """The modules at the root of consistency/."""
        return sorted(path.stem for path in (self.root / "consistency").glob("*.py") if path.stem != "__init__")

    def places_of(self, text: str) -> list[str]:
        """Lines of code that contain `text`, as path:line."""
        return [
            f"{module.place}:{number}"
            for module in self.modules.values()
            for number, line in enumerate(module.text.splitlines(), 1)
            if text in line
        ]

    def places_of_option(self, name: str) -> list[str]:
        """Lines of code that declare the option or hand it on, as path:line.

        These are its flag, a field, a parameter, a keyword argument and a key of its name; a plain use is not counted.
        """
        return [
            f"{module.place}:{line}"
            for module in self.modules.values()
            for line in sorted(set(_option_lines(module.tree, name)))
        ]

    def without_test(self) -> list[str]:
        """Modules that miss the test file of their own that `place_of_test` names.

        The command line is tested from outside instead, command by command, in tests/commands; so is the workflow of a
        command that has no test file beside the other workflows.
        """
        return [
            module.place
            for module in self.modules.values()
            if not module.defines_nothing
            and not module.place.startswith(COMMAND_LINE)
            and not any((self.root / place).is_file() for place in places_of_test(module.place))
        ]


def place_of_test(place: str) -> str:
    """Where a module's tests belong: for consistency/scale.py in tests/consistency/test_scale.py."""
    path = Path(place)
    if path.stem == "__init__":
        return (Path("tests") / path.parent / f"test_{path.parent.name}.py").as_posix()
    return (Path("tests") / path.parent / f"test_{path.stem}.py").as_posix()


def places_of_test(place: str) -> list[str]:
    """Every place in which a module's tests may be."""
    own, workflow = place_of_test(place), Path(place).parent == Path("koclip_consistency/workflows")
    return [own, f"tests/commands/test_{Path(place).stem}.py"] if workflow else [own]


def _statements(tree: ast.Module) -> Iterator[tuple[ast.stmt, bool]]:
    """Every statement, and whether it runs when the module loads."""
    todo: list[tuple[ast.AST, bool]] = [(node, True) for node in tree.body]
    while todo:
        node, at_load = todo.pop()
        if isinstance(node, ast.stmt):
            yield node, at_load
        inside = at_load and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            inside = False
        todo += [(child, inside) for child in ast.iter_child_nodes(node)]


def _reachable(start: str, edges: dict[str, set[str]]) -> set[str]:
    """What `start` imports, directly or through others."""
    seen: set[str] = set()
    todo = [start]
    while todo:
        for name in edges[todo.pop()] - seen:
            seen.add(name)
            todo.append(name)
    return seen


def _option_lines(tree: ast.Module, name: str) -> Iterator[int]:
    flag = f"--{name.replace('_', '-')}"
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=value) if value in (name, flag) or str(value).startswith(f"{flag}/"):
                yield node.lineno
            case ast.keyword(arg=argument) | ast.arg(arg=argument) if argument == name:
                yield node.lineno
            case ast.AnnAssign(target=ast.Name(id=field)) if field == name:
                yield node.lineno


def measures(house: House, option: str) -> dict[str, str]:
    """What is printed of a checkout, under one heading each."""
    longest = sorted(house.modules.values(), key=lambda module: -module.lines)[:5]
    without = house.without_test()
    named = {path.name for path in (house.root / "tests").rglob("test_*.py")}
    nameless = [place for place in without if Path(place_of_test(place)).name not in named]
    parts = {"code": list(house.modules.values()), "benchmarks": house.benchmarks, "tests": house.tests}
    ours = house.places_of_option(option)
    return {
        "import circles, every import statement": _count(house.circles(at_load=False)),
        "import circles, when modules load": _count(house.circles(at_load=True)),
        f"lines of cli.py (under {CLI_LINES})": str(house.modules["cli"].lines),
        f"modules at the root of consistency/ (at most {GROUND_MODULES})": str(len(house.ground())),
        "modules": str(sum(not module.defines_nothing for module in house.modules.values())),
        f"modules over {LONGEST} lines": _count([module.place] for module in house.too_long()),
        "longest modules": ", ".join(f"{module.place} {module.lines}" for module in longest),
        "places of given[": str(len(house.places_of("given["))),
        f"places where --{option} is declared or handed on": f"{len(ours)}: {', '.join(ours)}",
        f"lines that contain {option}": str(len(house.places_of(option))),
        **{
            f"lines of {name}, all / without blank, comment, docstring": (
                f"{sum(module.lines for module in modules)} / {sum(module.code_lines for module in modules)}"
            )
            for name, modules in parts.items()
        },
        "modules without a test file in the mirrored place": str(len(without)),
        "modules without a test file of their name anywhere": _count([place] for place in nameless),
        "assert statements in tests": str(sum(_asserts(module) for module in house.tests)),
    }


def _count(groups: Iterator[list[str]] | list[list[str]]) -> str:
    groups = list(groups)
    return str(len(groups)) + "".join(f"\n    {', '.join(group)}" for group in groups)


def _asserts(module: Module) -> int:
    """`assert` statements, `pytest.raises`, `pytest.warns` and numpy's assert functions."""
    found = 0
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Assert):
            found += 1
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            found += node.func.attr in ("raises", "warns") or node.func.attr.startswith("assert_")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkouts", nargs="*", type=Path, default=[ROOT], metavar="CHECKOUT")
    parser.add_argument("--option", default="ensemble", help="option whose places are counted (default: ensemble)")
    chosen = parser.parse_args()
    columns = [measures(House(path.resolve()), chosen.option) for path in chosen.checkouts]
    for heading in columns[0]:
        print(heading)
        for path, column in zip(chosen.checkouts, columns, strict=True):
            print(f"  {path}: {column[heading]}" if len(columns) > 1 else f"  {column[heading]}")


if __name__ == "__main__":
    main()
