"""The directive `run`: commands of a page, run while the site is built, with what they show in a terminal.

    ```{run}
    :exit: 3
    :lines: 12
    python cli.py data check
    ```

All pages share a folder in which `cli.py` and the demo's data set are (`docs/prepare.py`). Every line is a command; one
that ends with another exit code than `exit` (0) fails the build. `lines` shows so many lines of the output only.
"""

import os
import pty
import shlex
import subprocess
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util.docutils import SphinxDirective

WORK = Path(__file__).resolve().parent / "_build" / "work"
WIDTH = 100


def shown_by(command: str, folder: Path) -> tuple[int, str]:
    """Run a command in a terminal without colours; return its exit code and all that it shows."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": str(WIDTH), "PYTHONWARNINGS": "ignore"}
    with subprocess.Popen(
        shlex.split(command), cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        parts = []
        while True:
            try:
                part = os.read(ours, 1 << 16)
            except OSError:  # how Linux says that the other side is closed
                break
            if not part:
                break
            parts.append(part)
    os.close(ours)
    text = b"".join(parts).decode().replace("\r\n", "\n")
    return process.returncode, text.replace(f"{folder}{os.sep}", "").rstrip()


class Run(SphinxDirective):
    """See the head of the module."""

    has_content = True
    option_spec: ClassVar[Any] = {"exit": int, "lines": directives.positive_int}

    def run(self) -> list[nodes.Node]:
        expected = self.options.get("exit", 0)
        found: list[nodes.Node] = []
        commands = "\n".join(self.content)
        block = nodes.literal_block(commands, commands, language="sh")
        found.append(block)
        lines = []
        for command in commands.replace("\\\n", " ").splitlines():
            code, text = shown_by(command, WORK)
            if code != expected:
                raise self.error(f"{command}: exit code {code}, expected {expected}\n{text}")
            lines += text.splitlines()
        if "lines" in self.options and len(lines) > self.options["lines"]:
            lines = [*lines[: self.options["lines"]], "..."]
        output = "\n".join(lines)
        if output:
            found.append(nodes.literal_block(output, output, language="text", classes=["output"]))
        return found


def setup(app: Any) -> dict[str, Any]:
    app.add_directive("run", Run)
    return {"version": "1", "parallel_read_safe": False, "parallel_write_safe": True}
