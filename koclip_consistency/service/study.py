"""What the pages of the app show: the collection, the runs about it, and work that goes on in the background."""

import io
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from consistency.data.reading import PIXELS_AT_ONCE, Budget, Decoding
from consistency.errors import ConsistencyError, ImageError, InputError
from consistency.evaluation.health import check
from consistency.evaluation.results import Result
from consistency.options import ImageLimits, Source
from consistency.runs.origin import made_here
from consistency.runs.read import Run, read_audit, read_options, read_sides
from consistency.text import METRIC_TITLES
from embedcache.keys import hashtag_keys
from koclip_consistency.scoring.explanation import explain
from koclip_consistency.scoring.facts import find_facts
from koclip_consistency.scoring.learned import Learned, read_learned
from koclip_consistency.scoring.scorer import Scorer
from koclip_consistency.service.background import Background
from koclip_consistency.service.collection import Collection, Opinions
from koclip_consistency.service.projection import METHODS, Method, project
from koclip_consistency.service.shelf import Shelf, Shelved
from koclip_consistency.workflows.explain import draw
from koclip_consistency.workflows.report import compare_folders, report_runs

SIZES = (240, 1000)  # pixels of the longer side of a shown image
SEED = 42  # of the resamples of a comparison, as on the command line
ON_MAP = 2000  # points of each kind
KEPT = 8  # runs whose opinions, and whose training rows, stay in memory
NEAR = 50  # groups, pairs and names that a panel lists


class Study:
    """A collection, if there is one, and the runs of a folder.

    Parameters
    ----------
    shelf : Shelf
        The runs.
    source : Source or None
        The table and its images; None without a table.
    """

    def __init__(self, shelf: Shelf, source: Source | None) -> None:
        self.shelf, self.source = shelf, source
        self._collection = None if source is None else Collection(source)
        self.background = Background()
        self._room = Budget(PIXELS_AT_ONCE)
        self._reading = threading.Lock()
        self._known: dict[tuple[Shelved | None, str, Shelved | None], Opinions] = {}
        self._learned: dict[Shelved, tuple[Learned | None, str | None]] = {}
        # One at a time: an explanation keeps every core busy.
        self.explaining = ThreadPoolExecutor(1, thread_name_prefix="explaining")

    def close(self) -> None:
        """Drop the work that has not begun."""
        self.background.close()
        self.explaining.shutdown(wait=False, cancel_futures=True)

    @property
    def collection(self) -> Collection:
        """The table. Raises InputError if there is none."""
        if self._collection is None:
            raise InputError("there is no table: start the app with --data and --images")
        return self._collection

    def about(self) -> dict[str, Any]:
        """What there is to see, as JSON."""
        found = self._collection
        return {
            "data": None if found is None else str(found.table.path),
            "rows": 0 if found is None else len(found),
            "images": 0 if found is None else len(found.names),
            "runs_folder": str(self.shelf.folder),
            "audits": [each.name for each in self._audits()],
        }

    def opinions(self, run: str, system: str) -> Opinions:
        """What a system of a run says about the rows, with the newest audit; an empty run says nothing."""
        shelved = self.shelf.run(run) if run else None
        audit = next(iter(self._audits()), None)
        key = shelved, system, audit
        with self._reading:
            if key not in self._known:
                result, sides, audited = None, {}, None
                if shelved is not None and shelved.run is not None:
                    result, sides = _result(shelved.run, system), read_sides(shelved.run.path)
                if audit is not None and audit.run is not None:
                    audited = read_audit(audit.run.path)
                found = self.collection.opinions(result, sides, audited)
                self._known = {key: found, **dict(list(self._known.items())[: KEPT - 1])}
            return self._known[key]

    def learned(self, run: str) -> tuple[Learned | None, str | None]:
        """The rows that a run learned from, read once; or why they are not at hand."""
        shelved = self.shelf.run(run)
        with self._reading:
            if shelved not in self._learned:
                found: tuple[Learned | None, str | None] = (None, "this run holds no predictions")
                try:
                    if shelved.run is not None:
                        found = read_learned(shelved.run.path), None
                except ConsistencyError as error:
                    found = None, str(error)
                self._learned = {shelved: found, **dict(list(self._learned.items())[: KEPT - 1])}
            return self._learned[shelved]

    def facts(self, scorer: Scorer, run: str, image: bytes, hashtag: str) -> dict[str, Any]:
        """What is known about a pair beside its score, as JSON; neighbours have the numbers of their images."""
        learned, why_not = self.learned(run)
        found = find_facts(scorer, image, hashtag, learned, why_not=why_not, limits=self.limits).as_dict()
        numbers = {} if self._collection is None else {name: at for at, name in enumerate(self._collection.names)}
        for each in found["nearest"]:
            each["id"] = numbers.get(each["image"])
        return found

    def map_of(self, scorer: Scorer, image: bytes, hashtag: str, others: Sequence[str]) -> bytes:
        """The maps of the parts of an image that its cosine and its score depend on, as PNG."""
        return draw(explain(scorer, image, hashtag, others=others, limits=self.limits))

    @property
    def limits(self) -> ImageLimits:
        """Which images are refused."""
        return ImageLimits() if self.source is None else self.source.limits

    def original(self, number: int) -> bytes:
        """The file of an image of the table. Raises as `image` does, so that no other file is handed out."""
        self.image(number, SIZES[0])
        return self.collection.files([number])[number].read()

    def image(self, number: int, size: int) -> bytes:
        """An image of the table as a JPEG whose longer side is at most `size` pixels.

        Raises
        ------
        InputError
            If there is no such image or size.
        ImageError
            If it cannot be decoded.
        """
        if size not in SIZES:
            raise InputError(f"images have a size of {SIZES[0]} or {SIZES[1]}, not {size}")
        self.collection.of_image(number)
        file = self.collection.files([number])[number]
        limits = self.collection.source.limits

        def shrunk(pixels: Image.Image | npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
            image = Image.fromarray(np.asarray(pixels))
            image.thumbnail((size, size), Image.Resampling.LANCZOS)
            buffer = io.BytesIO()
            image.save(buffer, "JPEG", quality=82)
            return np.frombuffer(buffer.getvalue(), np.uint8)

        if file.path is None:
            raise ImageError(file.problem or "not found")
        return Decoding("fast", limits, size).prepared(file, shrunk, self._room).tobytes()

    def health(self) -> dict[str, Any]:
        """Leakage, duplicates, near-duplicates and conflicts, as JSON; decodes every image."""
        from consistency.data.near_duplicates import find_near_duplicates

        c = self.collection
        files = {file.name: file for file in c.files().values()}
        health = check(c.table, files, limits=c.source.limits)
        pictures = health.image_files
        leaks = {
            name: {"n": each.n, "image": each.image, "pair": each.pair, "hashtag": each.hashtag}
            for name, each in (
                ("paper", health.published_leakage),
                ("grouped", health.grouped_leakage),
                ("hashtag", health.hashtag_leakage),
            )
            if each is not None
        }
        identity = np.array([files[name].digest or name for name in c.table.images], dtype=object)
        near = find_near_duplicates(c.table.images, identity, files, limits=c.source.limits)
        scenes: dict[Any, dict[str, None]] = {}
        for scene, name in zip(near.scenes, c.table.images, strict=True):
            scenes.setdefault(scene, {})[name] = None
        same = {frozenset(each) for each in pictures.duplicates}
        alike = [list(names) for names in scenes.values() if len(names) > 1 and frozenset(names) not in same]
        return {
            "leakage": leaks,
            "missing": len(pictures.missing),
            "broken": [list(each) for each in pictures.broken[:NEAR]],
            "duplicates": [list(each) for each in pictures.duplicates[:NEAR]],
            "near_duplicates": alike[:NEAR],
            "repeats": health.repeats,
            "conflicts": health.conflicts,
        }

    def points(self, scorer: Scorer, method: Method) -> dict[str, Any]:
        """The map of the table's images and hashtags that the embedding cache holds, as JSON."""
        c = self.collection
        files = {at: file.digest for at, file in c.files().items() if file.digest}
        firsts = list(dict(zip(reversed(c.table.hashtags.tolist()), range(len(c) - 1, -1, -1), strict=True)).items())
        images, hashtags = _sample(list(files), ON_MAP), _sample([text for text, _ in reversed(firsts)], ON_MAP)
        image_keys = np.frombuffer(b"".join(files[at] for at in images), np.uint8).reshape(-1, 32)
        cache = scorer.encoder.cache
        if cache is None:
            raise InputError("a fine-tuned model has no embedding cache to draw a map of: choose another run")
        with scorer.encoder.lock:
            image_vectors, image_rows = cache.present("image", image_keys)
            text_vectors, text_rows = cache.present("hashtag", hashtag_keys(hashtags))
        if not len(image_vectors) and not len(text_vectors):
            raise InputError("the embedding cache holds none of the table's images and hashtags: run `extract` first")
        points = project(image_vectors, text_vectors, method).round(4).tolist()
        shown = [at for at, row in zip(images, image_rows.tolist(), strict=True) if row >= 0]
        words = [text for text, row in zip(hashtags, text_rows.tolist(), strict=True) if row >= 0]
        return {
            "method": method,
            "images": [{"id": at, "name": c.names[at], "at": point} for at, point in zip(shown, points, strict=False)],
            "hashtags": [
                {"hashtag": text, "at": point} for text, point in zip(words, points[len(shown) :], strict=True)
            ],
            "left_out": len(c.names) - len(shown) + len(set(c.table.hashtags)) - len(words),
        }

    def runs(self) -> list[dict[str, Any]]:
        """The runs with the metrics of their test rows, as JSON."""
        return [
            {
                "name": each.name,
                "command": str(each.info.get("command", "")),
                "backbone": str(each.info.get("backbone", "")),
                "finished": str(each.info.get("finished", "")),
                "systems": list(each.systems),
                "problem": each.problem,
                "results": [] if each.run is None else [_entry(result) for result in each.run.results],
            }
            for each in self.shelf.runs()
        ]

    def compare(self, names: Sequence[str]) -> dict[str, Any]:
        """What `compare` says about some runs, the reference first, as JSON."""
        differences, notes = compare_folders(self._folders(names), seed=SEED)
        return {"differences": [each.as_dict() for each in differences], "notes": list(notes)}

    def report(self, names: Sequence[str]) -> bytes:
        """The page that `report` writes about some runs."""
        images = None if self.source is None else self.source.images
        with TemporaryDirectory() as folder:
            report_runs(self._folders(names), Path(folder) / "report.html", images=images)
            return (Path(folder) / "report.html").read_bytes()

    def _folders(self, names: Sequence[str]) -> list[Path]:
        found = [self.shelf.run(name).run for name in names]
        return [run.path for run in found if run is not None]

    @cached_property
    def titles(self) -> dict[str, str]:
        """The names of the metrics."""
        return dict(METRIC_TITLES)

    def newest_audit(self) -> str:
        """Name of the newest run of `audit`. Raises InputError if there is none."""
        found = self._audits()
        if not found:
            raise InputError(f"there is no run of `audit` in {self.shelf.folder}")
        return found[0].name

    def _audits(self) -> list[Shelved]:
        """The audits, the newest first."""
        found = [each for each in self.shelf.runs() if each.run is not None and each.info.get("command") == "audit"]
        return sorted(found, key=lambda each: str(each.info.get("finished")), reverse=True)


def source_of_runs(shelf: Shelf) -> Source | None:
    """The table and images of this user's newest run whose table is still there; None if there is none."""
    for each in sorted(shelf.runs(), key=lambda each: str(each.info.get("finished")), reverse=True):
        if each.run is None or not made_here(each.run.path, each.run.info):
            continue
        try:
            found: Source = read_options(each.run.path / "run.json", each.run.setting("source"), Source, complete=False)
        except InputError:
            continue
        here = Path(str(each.run.info.get("directory", "")))
        if (here / found.data).is_file():
            return replace(found, data=here / found.data, images=here / found.images, on_error="allow")
    return None


def check_method(method: str) -> Method:
    """A method of the map. Raises InputError if it is none."""
    for each in METHODS:
        if each == method:
            return each
    raise InputError(f"the map is drawn by {' or '.join(METHODS)}, not {method!r}")


def _result(run: Run, system: str) -> Result | None:
    """The answers of a system: those on test rows, else any."""
    found = [result for result in run.results if result.predictions.system == system]
    return next((result for result in found if result.predictions.split == "test"), next(iter(found), None))


def _entry(result: Result) -> dict[str, Any]:
    entry = result.as_entry()
    return {name: entry[name] for name in ("system", "protocol", "split", "n", "metrics", "ci95")}


def _sample(items: list[Any], most: int) -> list[Any]:
    """At most so many items, evenly over the list."""
    if len(items) <= most:
        return items
    return [items[int(at)] for at in np.linspace(0, len(items) - 1, most)]
