"""The runs in a folder, and scorers of those that are asked for, each loaded once."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from consistency.errors import ConsistencyError, InputError
from consistency.report.standing import overall
from consistency.runs.read import UNANSWERED, Run, read_info, read_run
from koclip_consistency.scoring.encoder import WarmEncoder
from koclip_consistency.scoring.loading import trained_systems
from koclip_consistency.scoring.scorer import Scorer

LOADED = 8  # scorers that stay loaded; those of one backbone share it


@dataclass(frozen=True, eq=False)
class Shelved:
    """A run of the folder.

    Attributes
    ----------
    name : str
        Its path relative to the folder; the folder's own name for the folder itself.
    run : Run or None
        The run; None if it cannot be read, or holds other runs or no predictions.
    info : dict
        Content of its run.json, empty if that cannot be read.
    systems : tuple of str
        Systems that can score.
    problem : str or None
        Why the run cannot be read.
    """

    name: str
    run: Run | None
    info: dict[str, Any]
    systems: tuple[str, ...] = ()
    problem: str | None = None


class Shelf:
    """Finished runs below a folder, read again when they change.

    Parameters
    ----------
    folder : Path
        A run folder, or a folder of them. It need not exist.
    load : callable
        Loads a scorer: `load_scorer` with the cache, device and threads to use.
    system : str, optional
        The system that answers by default, where the folder is a single run; the best one otherwise.
    """

    def __init__(self, folder: Path, load: Callable[..., Scorer], *, system: str | None = None) -> None:
        self.folder = folder
        self._load, self._system = load, system
        self._read: dict[Path, tuple[int, Shelved]] = {}
        self._scorers: dict[tuple[str, str], Scorer] = {}
        self._encoders: WeakValueDictionary[str, WarmEncoder] = WeakValueDictionary()

    def runs(self) -> list[Shelved]:
        """The runs, sorted by name."""
        found = sorted(path for path in self.folder.glob("**/run.json") if path.is_file())
        read: dict[Path, tuple[int, Shelved]] = {}
        for path in found:
            changed = path.stat().st_mtime_ns
            known = self._read.get(path)
            if known is None or known[0] != changed:
                known = changed, self._shelved(path.parent, any(path.parent in other.parent.parents for other in found))
            read[path] = known
        self._read = read
        return [shelved for _, shelved in read.values()]

    def run(self, name: str) -> Shelved:
        """The run of this name. Raises InputError if there is none, or it is damaged."""
        named = {shelved.name: shelved for shelved in self.runs()}
        if name not in named:
            raise InputError(f"there is no run {name!r} in {self.folder}: expected one of {', '.join(named) or 'none'}")
        if problem := named[name].problem:
            raise InputError(problem)
        return named[name]

    def default(self) -> tuple[str, str] | None:
        """Run and system that answer where a request names none: the best by macro-F1 and QWK on test rows."""
        best: tuple[float, str, str] | None = None
        for shelved in self.runs():
            for system in shelved.systems:
                results = [] if shelved.run is None else shelved.run.results
                tested = [r for r in results if r.predictions.system == system and r.predictions.split == "test"]
                merit = max(map(overall, tested), default=0.0) + (system == self._system)
                if best is None or merit > best[0]:
                    best = merit, shelved.name, system
        return None if best is None else best[1:]

    def choose(self, name: str | None, system: str | None) -> tuple[str, str]:
        """The run and system of a request that may leave out either.

        Raises
        ------
        InputError
            If there is no such run or system, or several.
        """
        if name is None:
            default = self.default()
            if default is None:
                raise InputError(f"no run in {self.folder} can score: train one with `heads` or `finetune`")
            if system in (None, default[1]):
                return default
            holding = [shelved.name for shelved in self.runs() if system in shelved.systems]
            if len(holding) != 1:
                raise InputError(f"{len(holding)} runs hold the system {system}: name the run")
            name = holding[0]
        systems = self.run(name).systems
        if system is None and len(systems) == 1:
            return name, systems[0]
        if system not in systems:
            raise InputError(f"the run {name} has no system {system}: it holds {', '.join(systems) or 'none'}")
        return name, str(system)

    def scorer(self, name: str, system: str) -> Scorer:
        """The scorer of a run, loaded now or earlier; one thread at a time may ask."""
        key = name, system
        if key in self._scorers:
            self._scorers[key] = self._scorers.pop(key)
        else:
            self._scorers[key] = self._load(self._path(name), system=system, encoders=self._encoders)
            while len(self._scorers) > LOADED:
                del self._scorers[next(iter(self._scorers))]
        return self._scorers[key]

    def loading(self, name: str | None, system: str | None) -> partial[Scorer]:
        """Loads the scorer of a request; raises InputError now if there is no such run or system."""
        return partial(self.scorer, *self.choose(name, system))

    def _path(self, name: str) -> Path:
        return next(path.parent for path, (_, shelved) in self._read.items() if shelved.name == name)

    def _shelved(self, path: Path, holds_others: bool) -> Shelved:
        name = path.relative_to(self.folder).as_posix() if path != self.folder else path.resolve().name
        try:
            info = read_info(path)
            if holds_others or info["command"] in UNANSWERED:
                return Shelved(name, None, info)
            run = read_run(path)
            return Shelved(name, run, info, tuple(trained_systems(run)))
        except ConsistencyError as error:
            return Shelved(name, None, {}, problem=str(error))
