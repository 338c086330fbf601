"""The page with which colleagues annotate without Python: one file with its images, which needs no network."""

import base64
import hashlib
import json
import re
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2

from consistency.data.files import find_images
from consistency.data.inputs import read_table
from consistency.data.reading import Decoding
from consistency.durable import check_output, write_file
from consistency.errors import ImageError, InputError
from consistency.options import AnnotatePageOptions
from consistency.progress import Progress, silent
from consistency.report.gallery import data_uri, jpeg
from koclip_consistency.workflows.queue import choose_queue

SHOWN = 800  # pixels of the longer side of an image
SCRIPTS = ("words.js", "dom.js", "annotator.js", "offline.js")  # in the order in which they need one another
_IMPORT = re.compile(r"^import .*;\n", re.M)
_EXPORT = re.compile(r"^export (?=const|let|function|async|class)", re.M)


@dataclass(frozen=True)
class Page:
    """A page that was written.

    Attributes
    ----------
    path : Path
        The file.
    pairs, images : int
        What it asks about.
    unreadable : int
        Images that cannot be shown.
    megabytes : float
        Its size.
    """

    path: Path
    pairs: int
    images: int
    unreadable: int
    megabytes: float

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "path": str(self.path)}


def write_page(options: AnnotatePageOptions, *, progress: Progress = silent) -> Page:
    """Write the page of a queue.

    Raises
    ------
    InputError
        If the queue cannot be read, or none of its images can be shown.
    """
    source, out = options.source, options.file
    check_output(out)
    table = read_table(source, require_scores=False)
    found = find_images(table.images, source.images)
    queue = choose_queue(options.queue, table, found)
    names = list(dict.fromkeys(str(table.images[at]) for at in queue.places))
    images: dict[str, str] = {}
    with progress("Reading images", len(names)) as advance:
        for name in names:
            try:
                image = Decoding("fast", source.limits, SHOWN).read(found[name])
                images[name] = data_uri("image/jpeg", jpeg(image, SHOWN))
            except ImageError:
                pass
            advance()
    if not images:
        raise InputError(f"none of the {len(names)} images of the queue can be shown: name their folder with --images")
    number = {name: at for at, name in enumerate(images)}
    items = [
        {
            "row": int(table.rows[at]),
            "image": number[table.images[at]],
            "sha256": (found[table.images[at]].digest or b"").hex(),
            "hashtag": str(table.hashtags[at]),
        }
        for at in queue.places.tolist()
        if table.images[at] in number
    ]
    told = {"table": table.digest, "queue": queue.kind, "items": items, "images": list(images.values())}
    data = _page(told)
    write_file(out, data)
    return Page(out, len(items), len(images), len(names) - len(images), len(data) / 1e6)


def _page(told: dict[str, Any]) -> bytes:
    """The page: a policy that allows its own script, style and images alone, and data as text."""
    script = "".join(_inline(_static(name)) for name in SCRIPTS)
    report = files("consistency.report").joinpath("templates", "report.css").read_text(encoding="utf-8")
    style = report + _static("app.css")
    queue = json.dumps(told, ensure_ascii=False).replace("<", "\\u003c")  # no tag can end the script that holds it
    template = jinja2.Environment(autoescape=False, undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    shown = template.from_string(_static("offline.html.j2")).render(
        script=script, style=style, queue=queue, script_hash=_hash(script), style_hash=_hash(style)
    )
    return shown.encode("utf-8", "replace")


def _inline(script: str) -> str:
    """A module as a part of one script."""
    return _EXPORT.sub("", _IMPORT.sub("", script))


def _static(name: str) -> str:
    return files("koclip_consistency.service").joinpath("static", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
