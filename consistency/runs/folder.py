"""A run folder: what was asked, what came out, and everything needed to recompute and repeat it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from consistency.data.pairs import PairTable, Skipped, skipped_csv
from consistency.durable import check_folder, make_folder, sweep_temp, write_file
from consistency.errors import InputError, StorageError, os_errors_as
from consistency.evaluation.results import Audited, Predictions, Result
from consistency.runs.environment import code_digest, computer, versions
from consistency.text import slug, to_csv, to_json

if TYPE_CHECKING:  # scikit-learn takes a second to import, and reading a run needs none of it
    from consistency.data.splits import Split

CHANCES = ("p1", "p2", "p3", "p4", "p5")
PREDICTION_COLUMNS = ("system", "row", "image", "hashtag", "score", "predicted", "value", *CHANCES, "split", "cluster")
SPLIT_COLUMNS = ("row", "image", "hashtag", "split", "fold")
AUDIT_COLUMNS = ("rank", "row", "image", "hashtag", "score", "suggested", "doubt", *CHANCES, "repeats")
SCORE_COLUMNS = ("system", "split", "score", "precision", "recall", "f1", "rows")
UNFINISHED = ".unfinished"


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
        with os_errors_as(StorageError, f"cannot make the run folder {out or runs}"):
            if out is None:
                path = _default_folder(runs, now, command, backbone)
            else:
                path, aside = out, _claim(out)
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

        `confusion_matrix.png` shows all systems; where there are several, each has an image of its own beside it.
        `reliability.png` shows the systems with probabilities that are no controls, where there are such.
        """
        from consistency.evaluation.controls import CONTROLS
        from consistency.report.plots import reliability_png, result_png, tiles_png

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

        timings: seconds by step. Digests: of the CSV, of its images. fields: what the fingerprint is made of, in
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
    from consistency.evaluation.metrics import per_score

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
