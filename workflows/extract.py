"""`extract`: fills the cache for a data set, and keeps an account of it in a run folder."""

from dataclasses import dataclass
from pathlib import Path

from consistency.progress import Progress, silent
from consistency.runs import RunFolder
from workflows.console import Table
from workflows.encode import Extracted, fill_cache, resolve
from workflows.evaluate import Clock
from workflows.inputs import read_inputs
from workflows.options import Encoding, Source, as_config


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


def extraction_table(extracted: Extracted) -> Table:
    """What an extraction did, pictures and hashtags side by side."""
    r = extracted.report
    rows: list[list[object]] = [
        ["distinct", r.images, r.hashtags],
        ["already in the cache", r.images_cached, r.hashtags_cached],
        ["encoded now", r.images_encoded, r.hashtags_encoded],
    ]
    name, fingerprint = extracted.resolved.name, extracted.fingerprint[:12]
    title = f"Embeddings of {name}, {extracted.cache.dim or 0} wide, fingerprint {fingerprint}"
    return Table(title, ("", "images", "hashtags"), rows)
