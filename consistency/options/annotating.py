"""The records of options of the commands about annotators: their queue, their answers, and what is made of these."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from consistency.options.option import option, record
from consistency.options.records import RESULTS, Source

QUEUE = "Queue"
TABLE = ("data", "image_column", "hashtag_column", "score_column", "encoding", "separator")
Rule = Literal["median", "mean", "majority"]


@dataclass(frozen=True)
class Answering:
    """Where answers are."""

    answers: Path = option(Path("answers"), "Folder of the answers, a file for each annotator.", env="KOCLIP_ANSWERS")


@dataclass(frozen=True)
class QueueChoice:
    """Which pairs are annotated, in which order: all of them at random, unless a list or an audit says otherwise."""

    rows: Path | None = option(
        None,
        "Take the rows of this table, whose column `row` numbers them, in its order.",
        group=QUEUE,
        metavar="FILE",
        excludes=("audit",),
    )
    audit: Path | None = option(
        None,
        "Take the labels that this run of `audit` doubts, the most doubtful first.",
        group=QUEUE,
        metavar="RUN_DIR",
    )
    limit: int | None = option(
        None, "Take the first N pairs.", group=QUEUE, metavar="N", low=1, default_text="all of them"
    )
    seed: int = option(42, "Random seed of the order, without --rows and --audit.", group=QUEUE, low=0)


@dataclass(frozen=True)
class AnnotatePageOptions:
    queue: QueueChoice = record(QueueChoice)
    source: Source = record(Source, without=("post_column", "on_conflict", "on_error"))
    file: Path = option(None, "Page to write.", group=RESULTS, flag="-o --output", metavar="PAGE.html", required=True)


@dataclass(frozen=True)
class AnnotateImportOptions:
    files: tuple[Path, ...] = option(
        (), "Answers that a page has saved.", metavar="ANSWERS.csv...", argument=True, required=True
    )
    answering: Answering = record(Answering)
    source: Source = record(Source, without=("post_column", "on_conflict", "on_error", "max_megapixels", "max_aspect"))


@dataclass(frozen=True)
class AnnotateExportOptions:
    answering: Answering = record(Answering)
    source: Source = record(Source, without=("post_column", "on_conflict", "on_error", "max_megapixels", "max_aspect"))
    file: Path = option(
        None, "Table to write.", group=RESULTS, flag="-o --output", metavar="RATED.csv|RATED.parquet", required=True
    )


@dataclass(frozen=True)
class AnnotateStatusOptions:
    answering: Answering = record(Answering)
    queue: QueueChoice = record(QueueChoice)
    source: Source = record(Source, without=("post_column", "on_conflict", "on_error", "max_megapixels", "max_aspect"))


@dataclass(frozen=True)
class DataRelabelOptions:
    answering: Answering = record(Answering)
    rule: Rule = option(
        "median",
        "Label of a pair: the median or mean of its scores, halves rounded up, or the score that most annotators gave.",
    )
    keep_test: Path | None = option(
        None,
        "Leave the test rows of this run alone, so that figures before and after can be compared on all of them.",
        metavar="RUN_DIR",
    )
    least: int = option(1, "Leave rows alone that fewer annotators have scored.", metavar="N", low=1)
    source: Source = record(Source, only=(*TABLE, "images"))
    file: Path = option(None, "Table to write.", group=RESULTS, flag="-o --output", metavar="NEW.csv", required=True)
