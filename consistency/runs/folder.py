"""Write a run folder: the options of a run, its results, and everything needed to recompute and repeat it."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from consistency.data.pairs import PairTable, Skipped, skipped_csv
from consistency.durable import check_folder, make_folder, sweep_temp, write_file, writing
from consistency.errors import InputError, StorageError, os_errors_as
from consistency.evaluation.results import Audited, CountedResult, Predictions, Result
from consistency.folders import refuse_pipes
from consistency.format_version import check_format
from consistency.options import Output
from consistency.runs.environment import code_digest, computer, versions
from consistency.runs.origin import SEAL, seal
from consistency.text import slug, to_csv, to_json

if TYPE_CHECKING:  # scikit-learn takes a second to import, and reading a run does not need it
    from consistency.data.splits import Split

CHANCES = ("p1", "p2", "p3", "p4", "p5")
PREDICTION_COLUMNS = ("system", "row", "image", "hashtag", "score", "predicted", "value", *CHANCES, "split", "cluster")
SPLIT_COLUMNS = ("row", "image", "hashtag", "split", "fold")
AUDIT_COLUMNS = ("rank", "row", "image", "hashtag", "score", "suggested", "doubt", *CHANCES, "repeats")
SCORE_COLUMNS = ("system", "split", "score", "precision", "recall", "f1", "rows")
RUN_FORMAT = 1  # of run.json and of all the files that it vouches for; runs of the first versions name none
UNFINISHED = ".unfinished"


@dataclass(frozen=True)
class RunFolder:
    """A run being written. `run.json` comes last: a folder without it is unfinished.

    Attributes
    ----------
    path
        The folder.
    command
        Name of the command.
    backbone
        As the user named it.
    config
        The options of the command, as `run.json` records them.
    started
        When it was opened, ISO 8601.
    aside
        Where the run is now that was here before, None if there was none.
    """

    path: Path
    command: str
    backbone: str
    config: Mapping[str, Any]
    started: str
    aside: Path | None = None

    @classmethod
    def open(cls, output: Output, *, command: str, backbone: str, config: Mapping[str, Any]) -> "RunFolder":
        """The folder of `--out` or a new one under `--runs`, or the unfinished one of `--resume`.

        An `--out` that holds an earlier run, finished or not, is moved aside to OUT.1, OUT.2, ... The options are
        written at once, so that `--resume` finds them.

        Raises
        ------
        InputError
            If `check` refuses the folder.
        StorageError
            If it cannot be made.
        """
        cls.check(output, command)
        if output.resume is not None:
            for folder in (output.resume, *(path for path in output.resume.rglob("*") if path.is_dir())):
                sweep_temp(folder)
            return cls.at(output.resume, command=command, backbone=backbone, config=config)
        now, out = datetime.now().astimezone(), output.out
        aside = None
        with os_errors_as(StorageError, f"cannot make the run folder {out or output.runs}"):
            if out is None:
                path = _default_folder(output.runs, now, command, backbone)
            else:
                path, aside = out, _claim(out)
        begun = {"format": RUN_FORMAT, "command": command, "directory": str(Path.cwd()), "config": config}
        write_file(path / UNFINISHED, to_json(begun).encode())
        return cls(path, command, backbone, config, now.isoformat(timespec="seconds"), aside)

    @staticmethod
    def check(output: Output, command: str) -> None:
        """Refuse a folder that `open` would refuse, before the work whose results go there.

        Raises
        ------
        InputError
            If `--out` is a file or holds something else than a run, or `--resume` no unfinished run of `command`.
        """
        out = output.out
        if output.resume is not None:
            read_unfinished(output.resume, command)
            return
        if out is not None and out.is_file():
            raise InputError(f"--out {out} is a file, expected a folder: name another one")
        if out is not None and out.is_dir():
            sweep_temp(out)  # all that is left of a run that was killed when it began
        if out is not None and out.is_dir() and any(out.iterdir()):
            if not any((out / name).exists() for name in ("run.json", UNFINISHED)):
                raise InputError(f"--out {out} is not empty and holds no run: name another folder, or empty it")
            check_folder(out.parent)  # where the earlier run is moved aside
        check_folder(out or output.runs)

    @classmethod
    def at(cls, path: Path, *, command: str, backbone: str, config: Mapping[str, Any]) -> "RunFolder":
        """The run folder `path`, as it is, to write into from now on."""
        return cls(path, command, backbone, config, datetime.now().astimezone().isoformat(timespec="seconds"))

    @staticmethod
    def is_unfinished(path: Path) -> bool:
        """Whether a run in `path` began and did not finish."""
        return (path / UNFINISHED).is_file()

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know about the folder."""
        return () if self.aside is None else (f"the run that was in {self.path} is now {self.aside}",)

    def write_file(self, name: str, data: bytes) -> None:
        write_file(self.path / name, data)

    def write_files(self, files: Mapping[str, bytes]) -> None:
        for name, data in files.items():
            self.write_file(name, data)

    def write_json(self, name: str, value: object) -> None:
        """Write UTF-8 JSON in full precision; numbers that are not finite become null."""
        self.write_file(name, to_json(value).encode())

    def write_results(self, results: Sequence[Result]) -> None:
        """Write `metrics.json`, `predictions.csv` and `per_score.csv`.

        Raises
        ------
        ValueError
            If two results share a system and a split: nothing could tell their predictions apart.
        """
        names = [(result.predictions.system, result.predictions.split) for result in results]
        if len(set(names)) < len(names):
            raise ValueError(f"two results share a system and a split: {names}")
        self.write_json("metrics.json", [result.as_entry() for result in results])
        rows = (row for result in results for row in _prediction_rows(result.predictions))
        self.write_file("predictions.csv", to_csv(PREDICTION_COLUMNS, rows))
        self.write_file("per_score.csv", to_csv(SCORE_COLUMNS, _score_rows(results)))

    def write_counted(self, results: Sequence[CountedResult], predictions: Iterable[bytes]) -> None:
        """Write what `write_results` does; `predictions` are the lines of `predictions.csv` after its header."""
        from consistency.evaluation.metrics import per_score_counts

        self.write_parts("predictions.csv", PREDICTION_COLUMNS, predictions)
        self.write_json("metrics.json", [result.as_entry() for result in results])
        figures = ((result, enumerate(per_score_counts(result.counts), start=1)) for result in results)
        rows = ((of.system, of.split, score, *cells) for of, found in figures for score, cells in found)
        self.write_file("per_score.csv", to_csv(SCORE_COLUMNS, rows))

    def write_parts(self, name: str, columns: Sequence[str], parts: Iterable[bytes]) -> None:
        """Write a CSV file part by part."""
        with writing(self.path / name) as write:
            write(to_csv(columns, []))
            for part in parts:
                write(part)

    def write_split(self, table: PairTable, split: "Split") -> None:
        """Write `split.csv`: the side and the fold of every row of the table."""
        self.write_file("split.csv", split_csv(table, split))

    def write_audit(self, rows: Sequence[Audited]) -> None:
        """Write `audit.csv`, the most doubtful label first."""
        cells = ((*astuple(r)[:7], *r.chances, " ".join(map(str, r.repeats))) for r in rows)
        self.write_file("audit.csv", to_csv(AUDIT_COLUMNS, cells))

    def write_skipped(self, skipped: Sequence[Skipped]) -> None:
        """Write `skipped.csv` if anything was skipped."""
        self.write_skipped_parts([skipped])

    def write_skipped_parts(self, parts: Iterable[Sequence[Skipped]]) -> None:
        """Write `skipped.csv` part by part if anything was skipped."""
        some = filter(None, parts)
        if first := next(some, None):
            with writing(self.path / "skipped.csv") as write:
                write(skipped_csv(first))
                for part in some:
                    write(skipped_csv(part, header=False))

    def finish(
        self,
        details: Mapping[str, Any],
        *,
        seeds: Mapping[str, int],
        data_digest: str,
        fingerprint: str | None,
        timings: Mapping[str, float],
        pictures_digest: str | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> None:
        """Write `run.json`, which makes the folder a run.

        Parameters
        ----------
        details
            What the command found out besides its results: the leakage of its split, what was encoded, ...
        seeds
            By what they are for.
        data_digest, pictures_digest
            SHA-256 in hex of the CSV and of its images.
        fingerprint, fields
            Of the embeddings: the digest, and what it is made of, in plain text.
        timings
            Seconds by step.
        """
        info = {
            "format": RUN_FORMAT,
            "command": self.command,
            "backbone": self.backbone,
            "config": self.config,
            "details": details,
            "seeds": seeds,
            "data_digest": data_digest,
            "pictures_digest": pictures_digest,
            "fingerprint": fingerprint,
            "fingerprint_fields": fields,
            "versions": versions(),
            "code_digest": code_digest(),
            "platform": computer(),
            "directory": str(Path.cwd()),
            "started": self.started,
            "finished": datetime.now().astimezone().isoformat(timespec="seconds"),
            "timings": timings,
        }
        self.write_json("run.json", {**info, SEAL: seal(self.path, info)})
        (self.path / UNFINISHED).unlink(missing_ok=True)


def read_unfinished(path: Path, command: str) -> dict[str, Any]:
    """What the unfinished run of `command` in `path` wrote when it began: `command`, `directory` and `config`.

    Raises
    ------
    InputError
        If there is no such run.
    """
    refuse_pipes(path, InputError)
    if (path / "run.json").is_file():
        raise InputError(f"{path} is a finished run: there is nothing to resume")
    if not (path / UNFINISHED).is_file():
        raise InputError(f"{path} holds no unfinished run: name the folder of the interrupted {command}")
    try:
        begun = json.loads((path / UNFINISHED).read_text(encoding="utf-8"))
        began, _, _ = begun["command"], begun["directory"], begun["config"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path / UNFINISHED} does not hold the options of a run: begin the run again") from error
    check_format(path / UNFINISHED, begun.get("format", 1), RUN_FORMAT, instead="begin the run again")
    if began != command:
        raise InputError(f"{path} is an unfinished run of {began}, not of {command}: resume it with {began}")
    check_folder(path)
    return dict(begun)


def split_csv(table: PairTable, split: "Split") -> bytes:
    """The content of `split.csv`: a line for every row of the table. `--split` reads it."""
    columns = (table.rows, table.images, table.hashtags, split.side, split.fold)
    rows = (
        (row, image, hashtag, side, "" if fold < 0 else fold)
        for row, image, hashtag, side, fold in zip(*columns, strict=True)
    )
    return to_csv(SPLIT_COLUMNS, rows)


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
    """Make `out`, and return the folder to which an earlier run in it was moved."""
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
