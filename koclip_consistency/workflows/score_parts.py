"""`score` of a folder of Parquet parts: one output for each, here or on Ray; a second run changes nothing."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from consistency.data.table_writer import count_empty, parquet_metadata
from consistency.durable import make_folder, write_file
from consistency.errors import InputError, os_errors_as
from consistency.options import LARGE_ROWS, Source
from consistency.progress import Progress, silent
from koclip_consistency.scoring.scored import WHY_NOT
from koclip_consistency.scoring.scorer import Scorer
from koclip_consistency.workflows.score import score_table

if TYPE_CHECKING:
    from embedcache.engines.cluster import Cluster

MANIFEST = "manifest.json"
FORMAT = 1  # of the scored parts; another one is scored again
IDENTITY = "koclip_score"  # key in the metadata of an output

Load = Callable[[], Scorer]


@dataclass(frozen=True)
class ScoredParts:
    """What was done to a folder of parts.

    Attributes
    ----------
    manifest : dict
        As in manifest.json: `identity` of the run and the options, and each part with its rows and digests.
    scored, present : int
        Number of parts that were scored now, and of those that were there.
    """

    manifest: dict[str, Any]
    scored: int
    present: int

    @property
    def answered(self) -> int:
        """Number of rows with an answer."""
        return sum(part["answered"] for part in self.manifest["parts"])

    @property
    def lost(self) -> int:
        """Number of rows without one."""
        return sum(part["rows"] - part["answered"] for part in self.manifest["parts"])


@dataclass(frozen=True)
class PartScorer:
    """Scores a part with a scorer that stays loaded; pickled without it."""

    load: Load
    source: Source
    out: Path
    prefix: str
    large_rows: int

    def __call__(self) -> "Callable[[tuple[str, str]], str]":
        """What scores the part of a name, and marks the output with its identity; it returns the name."""
        scorer = self.load()

        def score(part: tuple[str, str]) -> str:
            name, identity = part
            source = replace(self.source, data=self.source.data / name)
            score_table(
                scorer,
                source,
                self.out / name,
                prefix=self.prefix,
                large_rows=self.large_rows,
                metadata={IDENTITY: identity},
            )
            return name

        return score


def score_parts(
    load: Load,
    model: Path,
    source: Source,
    out: Path,
    *,
    prefix: str = "",
    sets: float | None = None,
    large_rows: int = LARGE_ROWS,
    progress: Progress = silent,
    cluster: "Cluster | None" = None,
) -> ScoredParts:
    """Score each .parquet file of the folder `source.data` into one of the same name in `out`, then write a manifest.

    Outputs that are there and whole are kept. A part that cannot be scored ends the command; those before it are kept.

    Parameters
    ----------
    load : callable
        Loads the scorer; it is sent to the processes of Ray.
    model : Path
        The run folder, exported folder or weight file that it loads.
    source : Source
        The folder of parts and their images.
    out : Path
        The folder of outputs.
    prefix, sets, large_rows
        As for `score_table` and `load_scorer`.
    progress : Progress
        Counts parts.
    cluster : Cluster or None
        Where Ray scores the parts; None is this process.

    Raises
    ------
    InputError
        If there is no part, the system reads whole posts, or `out` holds outputs of other parts, of another run or of
        other options.
    DataError
        If a part cannot be read, or none of its images is found.
    RunError
        If Ray gives up.
    """
    names = _parts(source.data, out)
    scorer = load()
    if scorer.reads_post:
        raise InputError(
            f"{scorer.system} reads all hashtags of a post, whose rows may lie in several parts: "
            "write the parts into one table, or choose another --system"
        )
    identity = _identity(scorer, model, source, prefix, sets)
    make_folder(out)
    digests = {name: _sha256(source.data / name) for name in names}
    marks = {name: json.dumps({**identity, "part": digests[name]}, sort_keys=True) for name in names}
    known = _known(out)
    missing = [(name, marks[name]) for name in names if not _is_there(out / name, marks[name], known.get(name))]
    make = PartScorer(load if cluster else lambda: scorer, source, out.absolute(), prefix, large_rows)
    with progress("Scoring parts", len(missing)) as advance:
        for _ in _mapped(make, missing, cluster):
            advance(1)
    described = [_described(out / name, digests[name], prefix) for name in names]
    manifest = {"identity": identity, "parts": described}
    text = json.dumps(manifest, ensure_ascii=False, indent=2).encode() + b"\n"
    if not (out / MANIFEST).is_file() or (out / MANIFEST).read_bytes() != text:
        write_file(out / MANIFEST, text)
    return ScoredParts(manifest, len(missing), len(names) - len(missing))


def _parts(folder: Path, out: Path) -> list[str]:
    names = sorted(path.name for path in folder.glob("*.parquet") if not path.name.startswith("."))
    if not names:
        raise InputError(f"{folder} holds no .parquet file: name a folder of Parquet parts, or one table, with --data")
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is no folder: name one for the scored parts with -o")
    if out.resolve() == folder.resolve():
        raise InputError(f"{out} holds the parts themselves: name another folder with -o")
    if others := sorted({path.name for path in out.glob("*.parquet")} - {*names}):
        raise InputError(f"{out} holds {others[0]}, and {folder} has no such part: name another folder with -o")
    return names


def _identity(scorer: Scorer, model: Path, source: Source, prefix: str, sets: float | None) -> dict[str, Any]:
    """What the answers depend on apart from the rows; names no path, so that folders may be moved."""
    kept = scorer.run or model
    files = sorted(path for path in kept.rglob("*") if path.is_file()) if kept.is_dir() else [kept]
    # Reports are made again at any time, and no answer depends on them.
    held = {path.relative_to(kept).as_posix(): _sha256(path) for path in files if path.suffix != ".html"}
    options = {name: value for name, value in asdict(source).items() if name not in ("data", "images")}
    options |= {"prefix": prefix, "sets": sets}
    return {
        "format": FORMAT,
        "system": scorer.system,
        "run": hashlib.sha256(json.dumps(held, sort_keys=True).encode()).hexdigest(),
        "options": json.loads(json.dumps(options, default=str)),
    }


def _known(out: Path) -> dict[str, str]:
    """Digests of the outputs by the manifest of an earlier run; empty if there is none that can be read."""
    try:
        parts = json.loads((out / MANIFEST).read_bytes())["parts"]
        return {part["name"]: part["output_sha256"] for part in parts}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _is_there(path: Path, mark: str, digest: str | None) -> bool:
    """Whether the output of a part is there and whole; raises InputError if it is something else."""
    if not path.is_file():
        return False
    if digest is not None and _sha256(path) != digest:
        return False  # damaged since
    found = parquet_metadata(path, IDENTITY)
    if found is None:
        return False
    if found != mark:
        raise InputError(
            f"{path} was {_difference(found, mark)}: name another folder with -o, or delete it to score the part again"
        )
    return True


def _difference(found: str, mark: str) -> str:
    try:
        before, now = json.loads(found), json.loads(mark)
    except ValueError:
        return "not written by this command"
    if isinstance(before, dict) and before.get("format") != now["format"]:
        return "written by another version of this program"
    if {**before, "part": None} == {**now, "part": None}:
        return "written when its part had other rows"
    return "written by another run or with other options"


def _mapped(make: PartScorer, parts: list[tuple[str, str]], cluster: "Cluster | None") -> Iterator[str]:
    """Names of the parts as they are finished; raises as `score_table`."""
    if cluster is None or not parts:
        yield from map(make(), parts) if parts else ()
        return
    from embedcache.engines.cluster import apply

    yield from apply(cluster, make, parts)


def _described(path: Path, digest: str, prefix: str) -> dict[str, Any]:
    rows, answered = count_empty(path, prefix + WHY_NOT)
    return {
        "name": path.name,
        "sha256": digest,
        "rows": rows,
        "answered": answered,
        "output_sha256": _sha256(path),
    }


def _sha256(path: Path) -> str:
    with os_errors_as(InputError, f"{path} cannot be read"), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
