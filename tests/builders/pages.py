"""README and the pages of docs, and the commands that they show."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [README, ROOT / "README.ko.md", *sorted((ROOT / "docs").glob("*.md"))]
PROGRAM = r"(?:python cli\.py|koclip-consistency)"


def shown_commands() -> list[tuple[str, str]]:
    """Each command line of a block of shell commands, without the program, with the name of its page."""
    found = []
    for page in PAGES:
        for block in re.findall(r"```(?:sh|console|\{run\})\n(.*?)```", page.read_text(encoding="utf-8"), re.S):
            for line in block.replace("\\\n", " ").splitlines():
                words = re.match(rf"(?:\$ )?(?:\w+=\S+ )*{PROGRAM} ([^|]*)", line)
                if words:
                    found.append((page.name, words[1].split(" #")[0]))
    return found
