"""`rerun`: repeats a run from its run.json in a new folder and compares the files of both."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import chdir, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from consistency.backbone.resolve import is_here
from consistency.data.inputs import read_inputs, read_table
from consistency.errors import DataError, InputError
from consistency.options import (
    AuditOptions,
    DemoOptions,
    Encoding,
    FinetuneOptions,
    HeadsOptions,
    PaperOptions,
    RerunOptions,
    SimilarityOptions,
    Source,
    as_config,
    with_urls,
)
from consistency.progress import QUIET, Reporter
from consistency.remote import UnaskedPath
from consistency.runs.origin import made_here
from consistency.runs.read import read_info, read_options
from koclip_consistency.workflows.audit import run_audit
from koclip_consistency.workflows.demo import run_demo
from koclip_consistency.workflows.finetune import run_finetune
from koclip_consistency.workflows.heads import run_heads
from koclip_consistency.workflows.paper import run_paper
from koclip_consistency.workflows.similarity import run_similarity

# Results and weights of a run. Figures in PNG and times may differ.
COMPARED = (
    "predictions.csv",
    "metrics.json",
    "split.csv",
    "audit.csv",
    "leaderboard.csv",
    "learning_curve.csv",
    "seeds.csv",
    "thresholds.json",
    "sets.json",
    "head.json",
    "*.safetensors",
)
# The options of each command, and the workflow that takes them.
REPEATABLE: dict[str, tuple[type[Any], Callable[..., Any]]] = {
    "similarity": (SimilarityOptions, run_similarity),
    "heads": (HeadsOptions, run_heads),
    "finetune": (FinetuneOptions, run_finetune),
    "audit": (AuditOptions, run_audit),
    "paper": (PaperOptions, run_paper),
    "demo": (DemoOptions, run_demo),
}
UNCACHED = ("finetune", "demo")  # commands that do not use the folder of the recorded --cache


@dataclass(frozen=True)
class Change:
    """Something that a result may depend on and that has changed."""

    what: str
    then: str
    now: str


@dataclass(frozen=True)
class Compared:
    """A file of both runs.

    Attributes
    ----------
    file
        Its name.
    identical
        Whether the bytes are the same.
    difference
        The largest difference of two numbers, None if more than numbers differ.
    about
        The same in words.
    """

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


def rerun(options: RerunOptions, reporter: Reporter = QUIET) -> Rerun:
    """Repeat the run in `run_dir` and compare the two folders.

    The run is repeated in the directory in which it began, if that still exists, with the same number of threads. For a
    run of somebody else, the options must name all that is read and written.

    Raises
    ------
    InputError
        If the run cannot be repeated: its data are missing or have changed, it has options that this version does not
        know, or its command gives no result; or somebody else made it, and `options` do not name its places.
    """
    path = options.run_dir.absolute()
    info = read_info(path)
    if info["command"] not in REPEATABLE:
        known = ", ".join(REPEATABLE)
        raise InputError(
            f"{options.run_dir} is a run of {info['command'] or 'nothing'}, expected one of {known}: name such a run"
        )
    out = options.output.out
    if out is not None and out.exists() and (out.is_file() or any(out.iterdir())):
        raise InputError(f"--out {out} already exists: name a new folder for the repetition")
    here, kind, work = _absolute(options), *REPEATABLE[info["command"]]
    began = Path(str(info.get("directory", "")))
    with chdir(began) if began.is_absolute() and began.is_dir() else nullcontext():
        try:
            recorded = read_options(path / "run.json", info["config"], kind, complete=False)
            if as_config(recorded) != info["config"]:
                reporter.say("an earlier version recorded this run: options that it did not know keep their defaults")
            _check_named(recorded, here, path, info)
            repeated = _repeated(with_urls(recorded) if here.download else recorded, here, path, info)
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{path / 'run.json'} lacks what a repetition needs ({error}): run its command again by hand"
            ) from error
        _check_place(repeated.encoding, here, caches=info["command"] not in UNCACHED)
        again = work(repeated, reporter).path
    return Rerun(again, changes(info, read_info(again)), tuple(compare_runs_files(path, again)))


def _absolute(options: RerunOptions) -> RerunOptions:
    """The options with absolute paths."""
    output = options.output
    output = replace(output, out=output.out and output.out.absolute(), runs=output.runs.absolute())
    places = {name: getattr(options, name) for name in ("data", "images", "cache")}
    return replace(options, output=output, **{name: path and path.absolute() for name, path in places.items()})


def _repeated(recorded: Any, here: RerunOptions, path: Path, info: Mapping[str, Any]) -> Any:
    """The recorded options with today's paths."""
    encoding = recorded.encoding
    threads = encoding.threads or info["platform"].get("threads")
    changed: dict[str, Any] = {
        "output": here.output,
        "encoding": replace(encoding, threads=threads, cache=here.cache or encoding.cache),
    }
    if info["command"] != "demo":  # it draws its data
        source = replace(
            recorded.source, data=here.data or recorded.source.data, images=here.images or recorded.source.images
        )
        _check_data(source, info)
        changed["source"] = source
        if recorded.evaluation.split is not None:
            changed["evaluation"] = replace(recorded.evaluation, split=path / "split.csv")  # as it was read
    if getattr(recorded, "grid_file", None) is not None:
        changed["grid_file"] = path / "grid.toml"  # as it was read
    return replace(recorded, **changed)


def _check_url(place: Path, option: str) -> None:
    """Raise InputError for a URL that the run names and nobody here has asked for."""
    if isinstance(place, UnaskedPath):
        raise InputError(f"the run used {place}: name it with {option} if you trust it, or give --download")


def _check_place(encoding: Encoding, options: RerunOptions, *, caches: bool) -> None:
    """Raise InputError where a run would write to a URL or download what nobody here has asked for."""
    if caches:
        _check_url(encoding.cache, "--cache")
    if not options.download and not is_here(encoding.backbone, encoding.revision):
        raise InputError(
            f"the run's backbone {encoding.backbone} is not on this machine: give --download if you trust it"
        )


def _check_named(recorded: Any, here: RerunOptions, path: Path, info: Mapping[str, Any]) -> None:
    """Raise InputError if a run of somebody else could choose a file that is read here, or a folder to write to."""
    if made_here(path, info):
        return
    needed = [] if info["command"] == "demo" else ["data", "images"]
    needed = [name for name in needed if not isinstance(getattr(recorded.source, name), UnaskedPath)]
    needed += [] if info["command"] in UNCACHED else ["cache"]
    lacking = [f"--{name}" for name in needed if getattr(here, name) is None]
    stranger = f"{path} was made by somebody else or by an earlier version, or edited"
    if lacking:
        raise InputError(f"{stranger}: name the files and folders to use, also with {', '.join(lacking)}")
    for name in ("clean", "like"):  # options of `audit` and `finetune`
        if getattr(recorded, name, None) is not None:
            raise InputError(f"{stranger}, and it read --{name} {getattr(recorded, name)}: run its command by hand")


def _check_data(source: Source, info: Mapping[str, Any]) -> None:
    for place, option in ((source.data, "--data"), (source.images, "--images")):
        _check_url(place, option)
    if (digest := read_table(source).digest) != info["data_digest"]:
        raise DataError(
            f"{source.data} has changed since the run (SHA-256 {digest[:12]}, it was {info['data_digest'][:12]}): "
            "the run cannot be repeated on it; name the file that it read with --data"
        )
    recorded = info.get("pictures_digest")
    if recorded and read_inputs(source).pictures_digest != recorded:
        raise DataError(
            f"the images in {source.images} are not those of the run, so it cannot be repeated on them: "
            "name the folder that it read with --images"
        )


def changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[Change, ...]:
    """What differs between two run.json: data, program, versions, machine, threads and embeddings, in this order."""
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


def compare_runs_files(before: Path, after: Path) -> Iterator[Compared]:
    """Compare every file of results or weights in either folder, including the runs of `demo` and `paper`."""
    names = {file.relative_to(folder) for folder in (before, after) for name in COMPARED for file in folder.rglob(name)}
    for name in sorted(names):
        yield compare_files(str(name), before / name, after / name)


def compare_files(name: str, before: Path, after: Path) -> Compared:
    """Compare the bytes of two files and, if they differ, their numbers."""
    for file, when in ((before, "then"), (after, "now")):
        if file.is_symlink() or not file.is_file():
            return Compared(name, False, None, f"missing {when}")
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
    """The largest difference of two files' numbers. Raises ValueError, saying where, if anything else differs."""
    if old.keys() != new.keys():
        raise ValueError(f"{len(old.keys() ^ new.keys())} entries are in only one of them")
    largest = 0.0
    for place, before in old.items():
        after = new[place]
        if isinstance(before, str) or isinstance(after, str):
            if not (isinstance(before, str) and before == after):
                raise ValueError(f"{place}: {before} then, {after} now")
        elif np.shape(before) != np.shape(after):
            raise ValueError(f"{place}: shape {np.shape(before)} then, {np.shape(after)} now")
        elif np.size(before):
            with np.errstate(invalid="ignore"):  # both numbers are infinite
                gap = np.abs(np.subtract(before, after, dtype=np.float64))
            gap = np.where(np.equal(before, after) | (np.isnan(before) & np.isnan(after)), 0, gap)
            if np.isnan(gap).any():
                raise ValueError(f"{place}: NaN in only one of them")
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
