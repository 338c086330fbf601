"""A run folder: what was asked, what came out, and everything needed to recompute and repeat it."""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from consistency.durable import check_folder, make_folder, sweep_temp, write_file
from consistency.environment import code_digest, computer, versions
from consistency.errors import InputError, StorageError
from consistency.pairs import PairTable, Skipped

if TYPE_CHECKING:  # scikit-learn takes a second to import, and reading a run needs none of it
    from consistency.splits import Split

CHANCES = ("p1", "p2", "p3", "p4", "p5")
PREDICTION_COLUMNS = ("system", "row", "image", "hashtag", "score", "predicted", "value", *CHANCES, "split", "cluster")
SPLIT_COLUMNS = ("row", "image", "hashtag", "split", "fold")
AUDIT_COLUMNS = ("rank", "row", "image", "hashtag", "score", "suggested", "doubt", *CHANCES, "repeats")
SCORE_COLUMNS = ("system", "split", "score", "precision", "recall", "f1", "rows")
SKIPPED_COLUMNS = ("row", "image", "hashtag", "reason")
UNFINISHED = ".unfinished"


@dataclass(frozen=True, eq=False)
class Predictions:
    """What one system said about n rows.

    backbone: "none" for a control. split: "test", "cv" (out of fold), "val" or "train". rows: (n,) int64,
    1-based data rows of the CSV. images, hashtags: (n,) object str as in the CSV. scores, predicted: (n,)
    int64 1..5. values: (n,) float64, the expected score or the similarity. probabilities: (n, 5) float64 or
    None. clusters: (n,) int64, equal where rows may not be taken for independent (see `consistency.intervals`).
    """

    system: str
    backbone: str
    protocol: str
    split: str
    rows: npt.NDArray[np.int64]
    images: npt.NDArray[np.object_]
    hashtags: npt.NDArray[np.object_]
    scores: npt.NDArray[np.int64]
    predicted: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]
    probabilities: npt.NDArray[np.float64] | None
    clusters: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, eq=False)
class Result:
    """Predictions with their metrics and 95 % intervals (None where undefined)."""

    predictions: Predictions
    metrics: dict[str, float | None]
    ci95: dict[str, tuple[float, float] | None]

    def as_entry(self) -> dict[str, Any]:
        """The entry of `metrics.json`."""
        p = self.predictions
        return {
            "system": p.system,
            "backbone": p.backbone,
            "protocol": p.protocol,
            "split": p.split,
            "n": len(p),
            "metrics": self.metrics,
            "ci95": self.ci95,
        }


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run folder as read back. info: the whole of `run.json`; skipped: the lines of `skipped.csv`."""

    path: Path
    info: dict[str, Any]
    results: tuple[Result, ...]
    skipped: tuple[Skipped, ...] = ()

    @property
    def command(self) -> str:
        return str(self.info["command"])

    @property
    def config(self) -> dict[str, Any]:
        return dict(self.info["config"])


@dataclass(frozen=True)
class Audited:
    """A line of `audit.csv`: a row, the score that fits it better, and how much better (see `consistency.audit`).

    repeats: the rows of the CSV that are merged into this one.
    """

    rank: int
    row: int
    image: str
    hashtag: str
    score: int
    suggested: int
    doubt: float
    chances: tuple[float, ...]
    repeats: tuple[int, ...]


def evaluate_predictions(predictions: Predictions, *, seed: int = 42) -> Result:
    """Metrics, and intervals from a bootstrap over clusters."""
    from consistency.intervals import bootstrap_intervals
    from consistency.metrics import evaluate

    p = predictions
    columns = (p.scores, p.predicted, p.values, p.probabilities)
    return Result(p, evaluate(*columns), bootstrap_intervals(*columns, p.clusters, seed=seed))


@dataclass(frozen=True)
class RunFolder:
    """A run being written. `run.json` comes last: a folder without it is unfinished."""

    path: Path
    command: str
    backbone: str
    started: str
    aside: Path | None = None  # where the run is now that was here before

    @classmethod
    def create(cls, out: Path | None, *, runs: Path, command: str, backbone: str) -> "RunFolder":
        """Make `out`, or `runs/<time>-<command>-<backbone>` where it is None.

        An `out` that holds an earlier run, finished or not, is moved aside to OUT.1, OUT.2, ...; raises
        InputError where it is anything else that is not an empty folder.
        """
        cls.check_new(out, runs=runs)
        now = datetime.now().astimezone()
        aside = None
        try:
            if out is None:
                path = _default_folder(runs, now, command, backbone)
            else:
                path, aside = out, _claim(out)
        except OSError as error:
            raise StorageError(f"cannot make the run folder {out or runs}: {error.strerror or error}") from error
        write_file(path / UNFINISHED, f"{command}\nrun.json is not written yet: this run is not complete\n".encode())
        return cls(path, command, backbone, now.isoformat(timespec="seconds"), aside)

    @staticmethod
    def check_new(out: Path | None, *, runs: Path) -> None:
        """Raises InputError where `create` could make no folder; asked before the work whose result goes there."""
        if out is not None and out.is_file():
            raise InputError(f"--out {out} is a file, expected a folder: name another one")
        if out is not None and out.is_dir() and any(out.iterdir()):
            if not any((out / name).exists() for name in ("run.json", UNFINISHED)):
                raise InputError(f"--out {out} is not empty and holds no run: name another folder, or empty it")
            check_folder(out.parent)  # where the earlier run is moved aside
        check_folder(out or runs)

    @staticmethod
    def check_unfinished(path: Path, command: str) -> None:
        """Raises InputError unless `path` holds an unfinished run of `command`."""
        if (path / "run.json").is_file():
            raise InputError(f"{path} is a finished run: there is nothing to resume")
        if not (path / UNFINISHED).is_file():
            raise InputError(f"{path} holds no unfinished run: name the folder of the interrupted {command}")
        if (began := (path / UNFINISHED).read_text(encoding="utf-8").split("\n")[0]) != command:
            raise InputError(f"{path} is an unfinished run of {began}, not of {command}: resume it with {began}")
        check_folder(path)

    @classmethod
    def reopen(cls, path: Path, *, command: str, backbone: str) -> "RunFolder":
        """The unfinished run of `command` in `path`, to go on with. Raises InputError where there is none."""
        cls.check_unfinished(path, command)
        sweep_temp(path)
        return cls.at(path, command=command, backbone=backbone)

    @classmethod
    def at(cls, path: Path, *, command: str, backbone: str) -> "RunFolder":
        """The run folder `path`, as it is, to write into from now on."""
        return cls(path, command, backbone, datetime.now().astimezone().isoformat(timespec="seconds"))

    @staticmethod
    def is_unfinished(path: Path) -> bool:
        return (path / UNFINISHED).is_file()

    @property
    def notes(self) -> tuple[str, ...]:
        """What to tell of the folder."""
        return () if self.aside is None else (f"the run that was in {self.path} is now {self.aside}",)

    def write_file(self, name: str, data: bytes) -> None:
        write_file(self.path / name, data)

    def write_json(self, name: str, value: object) -> None:
        """Full precision, UTF-8; numbers that are not finite become null."""
        self.write_file(name, to_json(value).encode())

    def write_results(self, results: Sequence[Result]) -> None:
        """`metrics.json`, `predictions.csv`, `per_score.csv`, confusion matrices, and reliability diagrams.

        `confusion_matrix.png` shows all systems; where there are several, each has a picture of its own beside it.
        `reliability.png` shows the systems with probabilities that are no controls, where there are such.
        """
        from consistency.controls import CONTROLS
        from consistency.plots import reliability_png, result_png, tiles_png

        names = [_result_name(result) for result in results]
        if len(set(names)) < len(names):
            raise ValueError(f"two results share a system and a split: {names}")
        self.write_json("metrics.json", [result.as_entry() for result in results])
        rows = (row for result in results for row in _prediction_rows(result.predictions))
        self.write_file("predictions.csv", to_csv(PREDICTION_COLUMNS, rows))
        self.write_file("per_score.csv", to_csv(SCORE_COLUMNS, _score_rows(results)))
        pictures = [result_png(result) for result in results]
        if len(pictures) > 1:
            for name, picture in zip(names, pictures, strict=True):
                self.write_file(f"confusion_matrix-{name}.png", picture)
        self.write_file("confusion_matrix.png", tiles_png(pictures))
        told = (result for result in results if result.predictions.probabilities is not None)
        diagrams = [reliability_png(result) for result in told if result.predictions.system not in CONTROLS]
        if diagrams:
            self.write_file("reliability.png", tiles_png(diagrams))

    def write_split(self, table: PairTable, split: "Split") -> None:
        """`split.csv`: where every row of the table stands."""
        self.write_file("split.csv", split_csv(table, split))

    def write_audit(self, rows: Sequence[Audited]) -> None:
        """`audit.csv`, the most doubtful label first."""
        cells = ((*astuple(r)[:7], *r.chances, " ".join(map(str, r.repeats))) for r in rows)
        self.write_file("audit.csv", to_csv(AUDIT_COLUMNS, cells))

    def write_skipped(self, skipped: Sequence[Skipped]) -> None:
        """`skipped.csv`, where anything was skipped."""
        if skipped:
            self.write_file("skipped.csv", skipped_csv(skipped))

    def finish(
        self,
        config: Mapping[str, Any],
        *,
        seeds: Mapping[str, int],
        data_digest: str,
        fingerprint: str | None,
        timings: Mapping[str, float],
        pictures_digest: str | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> None:
        """`run.json`, which makes the folder a run.

        timings: seconds by step. Digests: of the CSV, of its pictures. fields: what the fingerprint is made of, in
        plain text (model, its resolved revision, preprocessing, ...).
        """
        self.write_json(
            "run.json",
            {
                "command": self.command,
                "backbone": self.backbone,
                "config": config,
                "seeds": seeds,
                "data_digest": data_digest,
                "pictures_digest": pictures_digest,
                "fingerprint": fingerprint,
                "fingerprint_fields": fields,
                "versions": versions(),
                "code_digest": code_digest(),
                "platform": computer(),
                "started": self.started,
                "finished": datetime.now().astimezone().isoformat(timespec="seconds"),
                "timings": timings,
            },
        )
        (self.path / UNFINISHED).unlink(missing_ok=True)


def split_csv(table: PairTable, split: "Split") -> bytes:
    """A line for every row of the table; `--split` reads it again."""
    columns = (table.rows, table.images, table.hashtags, split.side, split.fold)
    rows = (
        (row, image, hashtag, side, "" if fold < 0 else fold)
        for row, image, hashtag, side, fold in zip(*columns, strict=True)
    )
    return to_csv(SPLIT_COLUMNS, rows)


def skipped_csv(skipped: Sequence[Skipped]) -> bytes:
    """A line for everything that was left out."""
    return to_csv(SKIPPED_COLUMNS, (("" if s.row is None else s.row, s.image, s.hashtag, s.reason) for s in skipped))


def to_json(value: object) -> str:
    return json.dumps(_plain(value), ensure_ascii=False, indent=2, allow_nan=False) + "\n"


def to_csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    """UTF-8 with LF; floats in full, quotes wherever a reader could stumble (the csv module leaves a lone CR
    bare).
    """

    def cell(value: object) -> str:
        if isinstance(value, float):
            return repr(float(value)) if math.isfinite(value) else ""
        text = str(value)
        return '"' + text.replace('"', '""') + '"' if re.search('[,"\r\n]', text) else text

    lines = [",".join(columns), *(",".join(map(cell, row)) for row in rows)]
    return ("\n".join(lines) + "\n").encode()


def slug(name: str) -> str:
    """Fit for a file name everywhere."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "unnamed"


def _result_name(result: Result) -> str:
    p = result.predictions
    return slug(p.system if p.split == "test" else f"{p.system}-{p.split}")


def _prediction_rows(p: Predictions) -> Iterable[tuple[object, ...]]:
    none = [("",) * 5] * len(p)
    probabilities = none if p.probabilities is None else p.probabilities.tolist()
    columns = (p.rows, p.images, p.hashtags, p.scores, p.predicted, p.values, probabilities, p.clusters)
    for *start, chances, cluster in zip(*columns, strict=True):
        yield (p.system, *start, *chances, p.split, cluster)


def _score_rows(results: Sequence[Result]) -> Iterable[tuple[object, ...]]:
    from consistency.metrics import per_score

    for p in (result.predictions for result in results):
        for score, figures in enumerate(per_score(p.scores, p.predicted), start=1):
            yield (p.system, p.split, score, *figures)


def _claim(out: Path) -> Path | None:
    """Make `out`; what it held before is now in the folder that is returned."""
    aside = None
    if out.is_dir() and any(out.iterdir()):
        aside = next(path for n in count(1) if not (path := out.with_name(f"{out.name}.{n}")).exists())
        out.rename(aside)
    make_folder(out)
    return aside


def _default_folder(runs: Path, now: datetime, command: str, backbone: str) -> Path:
    make_folder(runs)
    stem = f"{now:%Y%m%d-%H%M%S}-{command}-{slug(backbone.rstrip('/').rsplit('/', 1)[-1])}"
    for n in count(1):
        path = runs / (stem if n == 1 else f"{stem}-{n}")
        try:
            path.mkdir()
        except FileExistsError:  # another run started within this second
            continue
        return path
    raise AssertionError("count() does not end")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
