"""`extract`: fills the cache for a data set and writes a run folder about it."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from consistency.data.inputs import open_source, read_inputs
from consistency.data.large_table import LargeTable
from consistency.data.memo import DigestMemo
from consistency.data.pairs import Skipped
from consistency.data.shards import Shard
from consistency.data.spool import Spool, spooled
from consistency.options import ExtractOptions, as_config
from consistency.progress import QUIET, Reporter
from consistency.runs.folder import RunFolder
from koclip_consistency.workflows.clock import Clock
from koclip_consistency.workflows.encode import Extracted, fill_cache, resolve
from koclip_consistency.workflows.engine import cluster_of
from koclip_consistency.workflows.large import fill_for


@dataclass(frozen=True, eq=False)
class Extraction:
    """What was done.

    Attributes
    ----------
    extracted : Extracted
        The cache; of a large table, `skipped` is only the first row that was left out.
    folder : RunFolder
        The run folder.
    skipped : int
        Number of rows that were left out.
    note : str or None
        A line about a large table that was held in memory.
    """

    extracted: Extracted
    folder: RunFolder
    skipped: int
    note: str | None = None


def run_extract(options: ExtractOptions, reporter: Reporter = QUIET) -> Extraction:
    """Fill the cache; `run.json` records what was done and how fast, `skipped.csv` what was left out.

    Backbone and device are checked before the data are read, since that is quick. No vector stays in memory. The run
    folder is made last: the rows of an interrupted extraction are in the cache.
    """
    RunFolder.check(options.output, "extract")
    encoding, source, progress = options.encoding, options.source, reporter.progress
    shard = None if options.shard is None else Shard.parse(options.shard)
    cluster = cluster_of(options.engine)
    resolved, fields = resolve(encoding)
    clock = Clock(reporter.detail)
    table = open_source(source)
    large, note = spooled(table, options.large_rows) if shard is None and cluster is None else (False, None)
    with ExitStack() as stack:
        if large:
            rows = LargeTable.read(stack.enter_context(Spool()), source, table, require_scores=False)
            clock.lap("read")
            extracted = fill_for(rows, encoding, source, progress)
            pictures_digest, count = rows.images_digest(), rows.skipped
            skipped: Iterator[Sequence[Skipped]] = rows.skipped_parts()
        else:
            memo = stack.enter_context(DigestMemo(encoding.cache))
            inputs = read_inputs(source, require_scores=False, table=table, memo=memo, shard=shard)
            clock.lap("read")
            extracted = fill_cache(inputs, encoding, source, resolved, fields, progress, cluster=cluster)
            pictures_digest, count = inputs.pictures_digest, len(extracted.skipped)
            skipped = iter([extracted.skipped])
        clock.lap("encode")
        folder = RunFolder.open(
            options.output, command="extract", backbone=encoding.backbone, config=as_config(options)
        )
        folder.write_skipped_parts(skipped)
    folder.finish(
        as_config({"extraction": extracted.report, **({"adopted": extracted.adopted} if extracted.adopted else {})}),
        seeds={},
        data_digest=table.digest,
        pictures_digest=pictures_digest,
        fingerprint=extracted.fingerprint,
        fields=extracted.cache.fields,
        timings=clock.seconds,
    )
    return Extraction(extracted, folder, count, note)
