"""`extract`: fills the cache for a data set, and keeps an account of it in a run folder."""

from dataclasses import dataclass
from pathlib import Path

from consistency.data.inputs import read_inputs
from consistency.options import Encoding, Source, as_config
from consistency.progress import Progress, silent
from consistency.runs.folder import RunFolder
from koclip_consistency.workflows.encode import Extracted, fill_cache, resolve
from koclip_consistency.workflows.trial import Clock


@dataclass(frozen=True, eq=False)
class Extraction:
    extracted: Extracted
    folder: RunFolder


def run_extract(
    source: Source, encoding: Encoding, *, runs: Path, out: Path | None, progress: Progress = silent
) -> Extraction:
    """Fill the cache; `run.json` tells what was done and how fast, `skipped.csv` what was left out.

    Backbone and device are looked for before the data: they are quick to be missing. No vector is kept in memory,
    however many there are. The run folder is made last: an interrupted extraction has its rows in the cache.
    """
    RunFolder.check_new(out, runs=runs)
    resolved, fields = resolve(encoding)
    clock = Clock()
    inputs = read_inputs(source, require_scores=False)
    clock.lap("read")
    extracted = fill_cache(inputs, encoding, source, resolved, fields, progress)
    clock.lap("encode")
    folder = RunFolder.create(out, runs=runs, command="extract", backbone=encoding.backbone)
    folder.write_skipped(extracted.skipped)
    folder.finish(
        as_config(source=source, encoding=encoding, extraction=extracted.report),
        seeds={},
        data_digest=inputs.table.digest,
        pictures_digest=inputs.pictures_digest,
        fingerprint=extracted.fingerprint,
        fields=extracted.cache.fields,
        timings=clock.seconds,
    )
    return Extraction(extracted, folder)
