"""`extract`: fills the cache for a data set and writes a run folder about it."""

from dataclasses import dataclass

from consistency.data.inputs import read_inputs
from consistency.data.memo import DigestMemo
from consistency.options import ExtractOptions, as_config
from consistency.progress import QUIET, Reporter
from consistency.runs.folder import RunFolder
from koclip_consistency.workflows.encode import Extracted, fill_cache, resolve
from koclip_consistency.workflows.trial import Clock


@dataclass(frozen=True, eq=False)
class Extraction:
    extracted: Extracted
    folder: RunFolder


def run_extract(options: ExtractOptions, reporter: Reporter = QUIET) -> Extraction:
    """Fill the cache; `run.json` records what was done and how fast, `skipped.csv` what was left out.

    Backbone and device are checked before the data are read, since that is quick. No vector stays in memory. The run
    folder is made last: the rows of an interrupted extraction are in the cache.
    """
    RunFolder.check(options.output, "extract")
    encoding = options.encoding
    resolved, fields = resolve(encoding)
    clock = Clock(reporter.detail)
    with DigestMemo(encoding.cache) as memo:
        inputs = read_inputs(options.source, require_scores=False, memo=memo)
        clock.lap("read")
        extracted = fill_cache(inputs, encoding, options.source, resolved, fields, reporter.progress)
        clock.lap("encode")
    folder = RunFolder.open(options.output, command="extract", backbone=encoding.backbone, config=as_config(options))
    folder.write_skipped(extracted.skipped)
    folder.finish(
        as_config({"extraction": extracted.report, **({"adopted": extracted.adopted} if extracted.adopted else {})}),
        seeds={},
        data_digest=inputs.table.digest,
        pictures_digest=inputs.pictures_digest,
        fingerprint=extracted.fingerprint,
        fields=extracted.cache.fields,
        timings=clock.seconds,
    )
    return Extraction(extracted, folder)
