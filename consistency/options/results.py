"""One record for each command that works on finished runs as a whole: handing one on, listing and removing them."""

from dataclasses import dataclass
from pathlib import Path

from consistency.options.option import option, record
from consistency.options.records import RESULTS, Encoding

HUB = "Hugging Face hub"


@dataclass(frozen=True)
class ExportOptions:
    run_dir: Path = option(None, "Run of similarity, heads or finetune.", metavar="RUN_DIR", argument=True)
    system: str | None = option(None, "System to export, if the run has several.")
    folder: Path = option(None, "Folder to write.", group=RESULTS, flag="-o --output", metavar="FOLDER", required=True)
    licence: str | None = option(
        None,
        "Licence of the weights by the hub's ids, for example mit or cc-by-nc-4.0.",
        group=RESULTS,
        metavar="ID",
        default_text="that of the backbone, if its folder says so",
    )
    encoding: Encoding = record(Encoding, only=("cache", "device", "threads"))
