"""One record for each command that works on finished runs as a whole: handing one on, listing and removing them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from consistency.options.option import option, record
from consistency.options.records import RESULTS, Encoding

RUNS = "Runs"


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
    onnx: bool = option(False, "Also write the towers and the head as ONNX.", group=RESULTS)
    push_to_hub: str | None = option(
        None, "Also push the folder to this repository of the Hugging Face hub, private.", group=RESULTS, metavar="ID"
    )
    public: bool = option(False, "Let everybody see what is pushed.", group=RESULTS, needs="push_to_hub")
    encoding: Encoding = record(Encoding, only=("cache", "device", "threads"))


@dataclass(frozen=True)
class RunsListOptions:
    runs: Path = option(Path("runs"), "Folder of the runs.", group=RUNS, env="KOCLIP_RUNS")
    where: tuple[str, ...] = option(
        (),
        "Only runs whose command, backbone, protocol, system or state is this; repeatable.",
        group=RUNS,
        metavar="FIELD=VALUE",
    )
    sort: Literal["name", "age", "size", "qwk", "macro-f1"] = option(
        "name", "Order: by name, newest, largest or best first.", group=RUNS
    )


@dataclass(frozen=True)
class RunsGcOptions:
    run_dirs: tuple[Path, ...] = option((), "Run folders to delete.", metavar="RUN_DIR...", argument=True)
    runs: Path = option(Path("runs"), "Folder of the runs.", group=RUNS, env="KOCLIP_RUNS")
    unfinished: bool = option(False, "Also delete every unfinished run of --runs.", group=RUNS)
    delete: bool = option(False, "Delete; without it, only show what would be deleted.", group=RUNS)
    yes: bool = option(False, "Do not ask for confirmation.", group=RUNS, needs="delete")
