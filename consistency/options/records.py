"""The records of options that several commands share: the data, the backbone, the evaluation, where results go."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from consistency.errors import InputError
from consistency.options.option import option

OnError = Literal["skip", "allow", "abort"]
Aggregate = Literal["median", "mean"]
OnConflict = Literal["abort", "mean", "first", "drop"]
Decode = Literal["ours", "fast", "published"]
Protocol = Literal["grouped", "hashtag", "paper"]
Preset = Literal["paper"]
MapMethod = Literal["attention", "occlusion"]
Device = Literal["auto", "cpu", "cuda", "mps"]

TEST_FRACTION = 0.2
LARGE_ROWS = 2_000_000  # which take about 0.5 GB in memory; benchmarks/large_tables.py
NEAR_DUPLICATES = 8  # bits; consistency/data/near_duplicates.py has the measurement
BACKBONES = "clip|koclip|tiny|HF_ID|FOLDER"

DATA, BACKBONE, MACHINE, SPLIT = "Data", "Backbone and embeddings", "Machine", "Evaluation"
RESULTS, DISPLAY = "Results", "Output"


@dataclass(frozen=True)
class ImageLimits:
    """Images that are too large or too long are left out.

    Attributes
    ----------
    max_pixels
        Largest number of pixels.
    max_aspect
        Largest ratio of the longer side to the shorter one.
    """

    max_pixels: int = 50_000_000
    max_aspect: float = 50.0


@dataclass(frozen=True)
class Source:
    """The pair table and its images."""

    data: Path = option(
        Path("data/combined_data.csv"),
        "Table of images, hashtags and scores: CSV, TSV, JSON Lines, Parquet or XLSX.",
        group=DATA,
        env="KOCLIP_DATA",
        remote=True,
    )
    images: Path = option(
        Path("data/image"),
        "Folder of the images, or a ZIP or tar of them.",
        group=DATA,
        env="KOCLIP_IMAGES",
        remote=True,
    )
    image_column: str = option("Image Filename", "Column of the image file names.", group=DATA)
    hashtag_column: str = option("Hashtag", "Column of the hashtags.", group=DATA)
    score_column: tuple[str, ...] | str = option(
        ("Score",), "Column of the scores, 1 to 5; repeatable, one for each person.", group=DATA
    )
    aggregate: Aggregate = option(
        "median", "Label of a pair that several people have scored; halves are rounded up.", group=DATA
    )
    post_column: str | None = option(
        None,
        "Column that says which post a row belongs to; splits keep posts whole.",
        group=DATA,
        metavar="TEXT",
        default_text="a post is all rows of an image",
    )
    split_hashtags: bool = option(
        False, "Make a row of each hashtag in a cell such as `#a #b`; the cell's score counts for each.", group=DATA
    )
    encoding: str = option("utf-8-sig", "Text encoding of the table, for example cp949.", group=DATA)
    separator: str | None = option(
        None,
        "Character between the cells of a text file.",
        group=DATA,
        metavar="CHAR",
        default_text="found in the header",
    )
    score_map: Mapping[str, int] | None = option(
        None,
        "Scores of the labels, if these are not 1 to 5, for example 0=1,1=2,2=3 or low=1,high=5.",
        group=DATA,
        metavar="LABEL=SCORE,...",
    )
    on_error: OnError = option(
        "skip",
        "Rows and images that cannot be used: leave them out and exit with 3 (skip) or 0 (allow), or stop (abort).",
        group=DATA,
    )
    on_conflict: OnConflict = option(
        "abort",
        "Repeats of a pair with different scores: stop, take the mean or the first score, or drop the pair.",
        group=DATA,
    )
    max_megapixels: float = option(50.0, "Leave out images with more pixels.", group=DATA, low=0, high=10_000)
    max_aspect: float = option(
        50.0,
        "Leave out images whose longer side is more than this many times the shorter.",
        group=DATA,
        low=1,
        high=100_000,
    )

    def __post_init__(self) -> None:
        if not isinstance(self.score_column, str) and len(self.score_column) == 1:
            object.__setattr__(self, "score_column", self.score_column[0])

    @property
    def score_columns(self) -> tuple[str, ...]:
        """The columns of scores, usually one."""
        return (self.score_column,) if isinstance(self.score_column, str) else self.score_column

    def one_score_column(self, command: str) -> str:
        """The only column of scores; raises InputError, which names the command, if there are several."""
        if len(self.score_columns) > 1:
            raise InputError(
                f"{command} takes one column of scores, but --score-column names {len(self.score_columns)}: "
                f"{', '.join(self.score_columns)}"
            )
        return self.score_columns[0]

    @property
    def limits(self) -> ImageLimits:
        """Which images are left out for their size."""
        return ImageLimits(int(self.max_megapixels * 1e6), self.max_aspect)


def large_rows() -> int:
    """The option of commands that read a table of any number of rows."""
    return option(
        LARGE_ROWS,
        "Read a table that may have more rows than this in bounded memory (extra tables).",
        group=DATA,
        metavar="N",
        low=0,
    )


@dataclass(frozen=True)
class Engine:
    """Where the work is done."""

    name: Literal["local", "ray"] = option(
        "local", "Work in this process, or on Ray (extra ray).", group=MACHINE, flag="--engine"
    )
    ray_address: str | None = option(
        None,
        "Address of a running Ray cluster.",
        group=MACHINE,
        metavar="HOST:PORT",
        default_text="started here",
    )
    num_workers: int | None = option(
        None, "Processes of Ray that run the model.", group=MACHINE, low=1, default_text="one for each GPU, or one"
    )
    gpus_per_worker: float | None = option(
        None, "GPUs of each of them, perhaps a fraction.", group=MACHINE, low=0, default_text="1 if there are any"
    )


@dataclass(frozen=True)
class Encoding:
    """The backbone, and how images and hashtags pass through it into the cache."""

    backbone: str = option(
        "koclip",
        "Model that encodes images and hashtags; repeatable, several are used as one.",
        group=BACKBONE,
        env="KOCLIP_BACKBONE",
        metavar=BACKBONES,
        joined=",",
    )
    revision: str | None = option(None, "Branch, tag or commit of a hub model, as in HF_ID@REVISION.", group=BACKBONE)
    cache: Path = option(
        Path("cache"), "Folder of the stored embeddings.", group=BACKBONE, env="KOCLIP_CACHE", remote=True
    )
    decode: Decode = option(
        "ours",
        "Decode images by our rules, by almost the same but faster, or as published.",
        group=BACKBONE,
        paper="published",
    )
    text: Literal["raw", "plain"] = option(
        "raw",
        "Give the model each hashtag as it is written, or without its number sign (plain).",
        group=BACKBONE,
    )
    templates: tuple[str, ...] = option(
        (),
        "Give the model this text with {} replaced by the hashtag; repeatable, the vectors are averaged.",
        group=BACKBONE,
        flag="--template",
        metavar="TEXT",
        default_text="the hashtag alone",
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = option(
        "auto", "Number format in the encoder; auto is fp32 on a CPU and bf16 on a GPU that has it.", group=BACKBONE
    )
    batch_size: int | Literal["auto"] = option("auto", "Images in a batch.", group=BACKBONE, metavar="auto|N", low=1)
    workers: int | None = option(
        None, "Threads (on a GPU: processes) that decode images.", group=MACHINE, low=1, default_text="one per core"
    )
    store: Literal["fp32", "fp16"] = option("fp32", "Number format of the stored embeddings.", group=BACKBONE)
    device: Device = option("auto", "Where the model runs.", group=MACHINE)
    threads: int | None = option(None, "CPU threads of torch.", group=MACHINE, low=1, default_text="torch's choice")
    extract: bool = option(
        True, "Encode what the cache lacks, or stop with an error.", group=BACKBONE, flag="--extract/--no-extract"
    )


@dataclass(frozen=True)
class Evaluation:
    """Which rows are tested."""

    split: Path | None = option(
        None,
        "Take the split from this split.csv instead of drawing one.",
        group=SPLIT,
        metavar="FILE",
        excludes=("protocol", "test_fraction"),
    )
    protocol: Protocol = option(
        "grouped",
        "Keep all rows of an image (grouped) or of a hashtag on one side, or split single rows as published (paper).",
        group=SPLIT,
        paper="paper",
    )
    test_fraction: float = option(
        TEST_FRACTION,
        "Share of the rows to test on.",
        group=SPLIT,
        metavar="F",
        low=0,
        high=1,
        open_low=True,
        open_high=True,
    )
    near_duplicates: int | None = option(
        None,
        "Also keep images together whose 64-bit hashes differ in at most LIMIT bits (protocol grouped); "
        f"{NEAR_DUPLICATES} if no LIMIT is given.",
        group=SPLIT,
        metavar="[LIMIT]",
        low=0,
        high=64,
        bare=NEAR_DUPLICATES,
        default_text="off",
    )
    seed: int = option(42, "Random seed.", group=SPLIT, low=0)
    intervals: Literal["image", "two-way"] = option(
        "image",
        "Resample images (hashtags with --protocol hashtag) for the 95 % intervals, or images and hashtags at once.",
        group=SPLIT,
    )


@dataclass(frozen=True)
class Output:
    """Where results go."""

    out: Path | None = option(
        None, "Run folder.", group=RESULTS, metavar="RUN_DIR", default_text="runs/<time>-<command>-<backbone>"
    )
    runs: Path = option(Path("runs"), "Folder for run folders without --out.", group=RESULTS, env="KOCLIP_RUNS")
    resume: Path | None = option(
        None,
        "Continue the interrupted run in this folder with its own options.",
        group=RESULTS,
        metavar="RUN_DIR",
        excludes=("out",),
        recorded=False,
    )


@dataclass(frozen=True)
class Display:
    """What a command shows, and where."""

    as_json: bool = option(False, "Print one JSON value on stdout.", group=DISPLAY, flag="--json", recorded=False)
    quiet: bool = option(False, "Print errors only.", group=DISPLAY, recorded=False)
    verbose: bool = option(
        False, "Also print the time of each step, and the traceback of an error.", group=DISPLAY, recorded=False
    )
    log_file: Path | None = option(
        None,
        "Append everything that is shown, with times, to this file.",
        group=DISPLAY,
        metavar="FILE",
        recorded=False,
    )


@dataclass(frozen=True)
class CacheChoice:
    """Which stored embeddings a command works on: all, or those of a backbone or fingerprint."""

    cache: Path = option(
        Path("cache"), "Folder of the stored embeddings.", group=BACKBONE, env="KOCLIP_CACHE", remote=True
    )
    backbone: str | None = option(
        None, "Only embeddings of this backbone.", group=BACKBONE, env="KOCLIP_BACKBONE", metavar=BACKBONES
    )
    fingerprint: str | None = option(
        None, "Only embeddings whose fingerprint begins with this.", group=BACKBONE, metavar="HEX"
    )
