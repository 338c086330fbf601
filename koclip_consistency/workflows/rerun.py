"""`rerun`: repeats a run from its run.json in a new folder, and says whether the same came out."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np

from consistency.data.inputs import read_inputs, read_table
from consistency.errors import DataError, InputError
from consistency.options import Encoding, Evaluation, Source, from_config, typed
from consistency.progress import Reporter
from consistency.runs.read import read_info
from koclip_consistency.workflows.audit import Audit, run_audit
from koclip_consistency.workflows.demo import run_demo
from koclip_consistency.workflows.finetune import run_finetune
from koclip_consistency.workflows.heads import run_heads
from koclip_consistency.workflows.paper import run_paper
from koclip_consistency.workflows.similarity import run_similarity
from koclip_consistency.workflows.trial import Outcome

# What a run answers, and with what weights. Figures in PNG and seconds may differ.
COMPARED = (
    "predictions.csv",
    "metrics.json",
    "split.csv",
    "audit.csv",
    "leaderboard.csv",
    "thresholds.json",
    "head.json",
    "*.safetensors",
)
WORKFLOWS: dict[str, Callable[..., Any]] = {
    "similarity": run_similarity,
    "heads": run_heads,
    "finetune": run_finetune,
    "audit": run_audit,
}
REPEATABLE = (*WORKFLOWS, "paper", "demo")


@dataclass(frozen=True)
class Change:
    """Something a result may depend on that is not as it was."""

    what: str
    then: str
    now: str


@dataclass(frozen=True)
class Compared:
    """A file of both runs. difference: the largest of its numbers, None where more than numbers differ."""

    file: str
    identical: bool
    difference: float | None
    about: str


@dataclass(frozen=True)
class Rerun:
    path: Path
    changes: tuple[Change, ...]
    files: tuple[Compared, ...]

    @property
    def identical(self) -> bool:
        return all(file.identical for file in self.files)

    def as_dict(self) -> dict[str, Any]:
        return {
            "run": str(self.path),
            "identical": self.identical,
            "changes": [asdict(change) for change in self.changes],
            "files": [asdict(file) for file in self.files],
        }


@dataclass(frozen=True)
class Where:
    """Where the repetition goes, and where data, images and embeddings are now (None: where the run found them)."""

    out: Path | None = None
    runs: Path = Path("runs")
    data: Path | None = None
    images: Path | None = None
    cache: Path | None = None


def rerun(path: Path, where: Where, reporter: Reporter) -> Rerun:
    """Repeat the run in `path` and compare the two folders. torch gets as many threads as it had.

    Raises InputError where the run cannot be repeated: its data are missing or have changed, or it is of a command
    that gives no result.
    """
    info = read_info(path)
    if info["command"] not in REPEATABLE:
        raise InputError(f"{path} is a run of {info['command'] or 'nothing'}: {', '.join(REPEATABLE)} can be repeated")
    out = where.out
    if out is not None and out.exists() and (out.is_file() or any(out.iterdir())):
        raise InputError(f"--out {out} is there already: name a new folder for the repetition")
    try:
        repeat = _prepared(path, info, where, reporter)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path / 'run.json'} lacks what a repetition needs ({error}): repeat it by hand") from error
    again = repeat().path
    return Rerun(again, changes(info, read_info(again)), tuple(compare_folders(path, again)))


def _prepared(path: Path, info: Mapping[str, Any], where: Where, reporter: Reporter) -> Callable[[], Outcome | Audit]:
    config = dict(info["config"])
    threads = info["platform"].get("threads")

    def encoding_of(values: Mapping[str, Any]) -> Encoding:
        encoding = from_config(Encoding, values)
        return replace(encoding, threads=encoding.threads or threads, cache=where.cache or encoding.cache)

    if info["command"] == "demo":
        encoding = encoding_of(config["encoding"])
        return partial(
            run_demo,
            out=where.out,
            runs=where.runs,
            cache=encoding.cache,
            seed=config["seed"],
            quick=config["quick"],
            device=encoding.device,
            threads=encoding.threads,
            reporter=reporter,
        )
    source = from_config(Source, config["source"])
    source = replace(source, data=where.data or source.data, images=where.images or source.images)
    _check_data(source, info)
    if info["command"] == "paper":
        return partial(
            run_paper,
            source,
            [encoding_of(values) for values in config["encodings"]],
            seed=config["seed"],
            runs=where.runs,
            out=where.out,
            finetune=config["finetune"],
            quick=config["quick"],
            reporter=reporter,
        )
    evaluation = from_config(Evaluation, config["evaluation"])
    evaluation = replace(evaluation, runs=where.runs, out=where.out, resume=None)
    if evaluation.split is not None:
        evaluation = replace(evaluation, split=path / "split.csv")  # as it was read
    if info["command"] == "finetune":
        config["changes"] = dict(config["finetune"])
        config["head_changes"] = config["changes"].pop("head")
    if config.get("grid_file"):
        config["grid_file"] = str(path / "grid.toml")  # as it was read
    work = WORKFLOWS[info["command"]]
    encoding = encoding_of(config["encoding"])
    return partial(work, source, encoding, evaluation, **_asked(work, config), progress=reporter.progress)


def _asked(work: Callable[..., Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments of a workflow that its configuration tells."""
    taken = {"source", "encoding", "evaluation", "progress"}
    hints = get_type_hints(work)
    return {name: typed(hint, config[name]) for name, hint in hints.items() if name in config and name not in taken}


def _check_data(source: Source, info: Mapping[str, Any]) -> None:
    if (digest := read_table(source).digest) != info["data_digest"]:
        raise DataError(
            f"{source.data} has changed since the run (SHA-256 {digest[:12]}, it was {info['data_digest'][:12]}): "
            "the run cannot be repeated on it; name the file it read with --data"
        )
    recorded = info.get("pictures_digest")
    if recorded and read_inputs(source).pictures_digest != recorded:
        raise DataError(
            f"the images in {source.images} are not those of the run: it cannot be repeated on them; "
            "name the folder it read with --images"
        )


def changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[Change, ...]:
    """What differs between two run.json: data, program, versions, computer, threads, embeddings; in this order."""
    found = []
    for what in ("data_digest", "pictures_digest", "code_digest", "versions", "platform", "fingerprint"):
        before, after = then.get(what), now.get(what)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            names = dict.fromkeys([*before, *after])
            found += [Change(name, _text(before.get(name)), _text(after.get(name))) for name in names]
        else:
            found.append(Change(what.replace("_", " "), _text(before), _text(after)))
    return tuple(change for change in found if change.then != change.now)


def _text(value: object) -> str:
    return "–" if value is None else str(value)


def compare_folders(before: Path, after: Path) -> Iterator[Compared]:
    """Every file of answers or weights in either folder, the runs of a suite included."""
    names = {file.relative_to(folder) for folder in (before, after) for name in COMPARED for file in folder.rglob(name)}
    for name in sorted(names):
        yield compare_files(str(name), before / name, after / name)


def compare_files(name: str, before: Path, after: Path) -> Compared:
    """Whether two files have the same bytes; if not, by how much their numbers differ."""
    for file, when in ((before, "then"), (after, "now")):
        if not file.is_file():
            return Compared(name, False, None, f"not there {when}")
    old, new = before.read_bytes(), after.read_bytes()
    if old == new:
        return Compared(name, True, 0.0, "identical")
    try:
        difference = largest_difference(_cells(before.suffix, old), _cells(before.suffix, new))
    except ValueError as error:
        return Compared(name, False, None, f"differs: {error}")
    about = f"largest difference {difference:.3g}" if difference else "same numbers, other bytes"
    return Compared(name, False, difference, about)


Cells = dict[str, Any]  # by place: text, or an array of numbers


def largest_difference(old: Cells, new: Cells) -> float:
    """Between two files' numbers. Raises ValueError, saying where, if anything else differs."""
    if old.keys() != new.keys():
        raise ValueError(f"{len(old.keys() ^ new.keys())} entries are in one of them only")
    largest = 0.0
    for place, before in old.items():
        after = new[place]
        if isinstance(before, str) or isinstance(after, str):
            if not (isinstance(before, str) and before == after):
                raise ValueError(f"{place}: {before} then, {after} now")
        elif np.shape(before) != np.shape(after):
            raise ValueError(f"{place}: shape {np.shape(before)} then, {np.shape(after)} now")
        elif np.size(before):
            with np.errstate(invalid="ignore"):  # of two infinite numbers
                gap = np.abs(np.subtract(before, after, dtype=np.float64))
            gap = np.where(np.equal(before, after) | (np.isnan(before) & np.isnan(after)), 0, gap)
            if np.isnan(gap).any():
                raise ValueError(f"{place}: NaN in one of them only")
            largest = max(largest, float(gap.max()))
    return largest


def _cells(suffix: str, data: bytes) -> Cells:
    if suffix == ".safetensors":
        from safetensors.torch import load

        return {name: tensor.float().numpy() for name, tensor in load(data).items()}
    if suffix == ".json":
        return dict(_flat(json.loads(data), "entry"))
    rows = csv.DictReader(io.StringIO(data.decode(), newline=""))
    return {f"row {at}, {name}": _number(value) for at, row in enumerate(rows, 1) for name, value in row.items()}


def _flat(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value, 1)
        for key, item in items:
            yield from _flat(item, f"{place} {key}")
    else:
        yield place, float(value) if isinstance(value, int | float) else str(value)


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
