"""One record for each command that trains nothing: the options it has, and no others."""

from dataclasses import dataclass
from pathlib import Path

from consistency.options.annotating import Answering
from consistency.options.option import option, record
from consistency.options.records import (
    BACKBONES,
    DATA,
    MACHINE,
    RESULTS,
    SPLIT,
    CacheChoice,
    Encoding,
    Engine,
    Evaluation,
    MapMethod,
    Output,
    Source,
    large_rows,
)

CONTROLS, SERVER = "Controls", "Server"


@dataclass(frozen=True)
class DataCheckOptions:
    source: Source = record(Source)
    controls: bool = option(False, "Also score the controls that see no image.", group=CONTROLS)
    folds: int | None = option(
        None,
        "Also score the controls out of fold, in K folds by image.",
        group=CONTROLS,
        metavar="K",
        low=2,
        needs="controls",
    )
    ordered: bool = option(
        False, "Add a control that reads the order of the rows of a post.", group=CONTROLS, needs="controls"
    )
    seed: int = option(42, "Random seed of the folds.", group=CONTROLS, low=0)


@dataclass(frozen=True)
class DataSplitOptions:
    source: Source = record(Source)
    evaluation: Evaluation = record(Evaluation, without=("split", "intervals"))
    folds: int | None = option(None, "Also draw K outer folds, as `heads --folds` does.", group=SPLIT, low=2)
    file: Path = option(None, "File to write.", group=RESULTS, flag="-o --output", metavar="SPLIT.csv", required=True)


@dataclass(frozen=True)
class DataPrepareOptions:
    table: Path = option(None, "Table to prepare.", metavar="IN", argument=True, remote=True)
    source: Source = record(Source, without=("data",))
    jpeg: bool = option(False, "Also write the images to DIR/image, HEIC as JPEG.", group=RESULTS)
    folder: Path = option(None, "Folder to write to.", group=RESULTS, flag="-o --output", metavar="DIR", required=True)


@dataclass(frozen=True)
class DataCodebookOptions:
    source: Source = record(
        Source,
        only=(
            "data",
            "image_column",
            "hashtag_column",
            "score_column",
            "post_column",
            "encoding",
            "separator",
            "score_map",
        ),
    )
    meanings: tuple[str, ...] = option(
        (),
        "What a score means; repeatable.",
        flag="--meaning",
        metavar="SCORE=TEXT",
        default_text="1=Very low relevance to 5=Very high relevance",
    )
    folder: Path = option(None, "Folder to write to.", group=RESULTS, flag="-o --output", metavar="DIR", required=True)


@dataclass(frozen=True)
class DataDemoOptions:
    folder: Path = option(None, "Folder to draw into.", metavar="OUT", argument=True)
    like_published: bool = option(
        False, "Draw posts in which hashtags alone tell as little as in the published data.", flag="--like-published"
    )
    annotators: int = option(
        0, "Add columns annotator_1 to annotator_N of simulated people who score each pair.", metavar="N", low=0
    )
    noise: float = option(
        0.3, "Share of an annotator's scores that are moved by one.", needs="annotators", metavar="SHARE", low=0, high=1
    )
    missing: float = option(
        0.0, "Share of the pairs that an annotator leaves out.", needs="annotators", metavar="SHARE", low=0, high=1
    )
    seed: int = option(42, "Random seed.", low=0)


@dataclass(frozen=True)
class ExtractOptions:
    source: Source = record(Source)
    encoding: Encoding = record(Encoding, without=("extract",))
    large_rows: int = large_rows()
    shard: str | None = option(
        None,
        "Encode only the I-th of N parts of the table; the others may run at the same time.",
        metavar="I/N",
        group=MACHINE,
    )
    engine: Engine = record(Engine)
    output: Output = record(Output, without=("resume",))


@dataclass(frozen=True)
class ScoreOptions:
    model: Path | None = option(
        None,
        "Run of similarity, heads or finetune, folder of export, or weight file of the published scripts.",
        metavar="RUN_DIR|FILE.pth",
    )
    backbone: str | None = option(
        None,
        "Model that FILE.pth was trained with; without --model, show its cosine in place of scores.",
        metavar=BACKBONES,
    )
    system: str | None = option(None, "System to score with, if the run has several.")
    image_files: tuple[Path, ...] = option(
        (), "Image to score; needs --hashtag or --suggest; repeatable.", flag="--image", metavar="FILE"
    )
    hashtags: tuple[str, ...] = option((), "Hashtag to score with --image; repeatable.", flag="--hashtag")
    suggest: int | None = option(
        None, "Show the N hashtags that suit --image best.", metavar="N", low=1, excludes=("hashtags",)
    )
    words: Path | None = option(
        None,
        "Hashtags that --suggest chooses from, one a line.",
        metavar="FILE",
        needs="suggest",
        default_text="those of the cache",
    )
    file: Path | None = option(
        None,
        "Score every row of --data, and write the table with the scores to this file; if --data is a folder of Parquet "
        "parts, to a folder.",
        flag="-o --output",
        metavar="OUT.csv|OUT.parquet|DIR",
    )
    sets: float | None = option(
        None,
        "Also give the range of scores that holds the label with this probability, in steps of 0.01.",
        metavar="LEVEL",
        low=0.5,
        high=0.99,
    )
    prefix: str = option("", "Put this before the names of the columns that are added to the table.")
    spreadsheet_safe: bool = option(
        False, "Put an apostrophe before text that Excel would take for a formula.", needs="file"
    )
    source: Source = record(Source)
    large_rows: int = large_rows()
    encoding: Encoding = record(Encoding, only=("cache", "device", "threads"))
    engine: Engine = record(Engine)


@dataclass(frozen=True)
class Listening:
    """Where a server listens."""

    port: int = option(8765, "Port; 0 takes any free one.", group=SERVER, low=0, high=65535)
    host: str = option("127.0.0.1", "Address; any other than this machine's own needs --token-file.", group=SERVER)
    token_file: Path | None = option(
        None,
        "File with the token that every request must send; written with a random one if it does not exist.",
        group=SERVER,
        metavar="FILE",
    )


@dataclass(frozen=True)
class ServeOptions:
    model: Path = option(None, "Run of similarity, heads or finetune that answers.", metavar="RUN_DIR", required=True)
    system: str | None = option(None, "System to score with, if the run has several.")
    listening: Listening = record(Listening)
    source: Source = record(Source, only=("max_megapixels", "max_aspect"))
    encoding: Encoding = record(Encoding, only=("cache", "device", "threads"))


@dataclass(frozen=True)
class ExplainOptions:
    model: Path | None = option(
        None,
        "Run of similarity, heads or finetune, or weight file of the published scripts.",
        metavar="RUN_DIR|FILE.pth",
    )
    backbone: str | None = option(
        None,
        "Model that FILE.pth was trained with; without --model, explain its cosine alone.",
        metavar=BACKBONES,
    )
    system: str | None = option(None, "System to explain, if the run has several.")
    image_file: Path = option(None, "Image to explain.", flag="--image", metavar="FILE", required=True)
    hashtag: str = option("", "Hashtag to explain.", required=True)
    others: tuple[str, ...] = option(
        (), "Another hashtag of the post, for systems that read the post; repeatable.", flag="--other", metavar="TEXT"
    )
    methods: tuple[MapMethod, ...] = option(
        (),
        "Attention times gradient for the cosine, occlusion for the score; repeatable.",
        flag="--method",
        default_text="both",
    )
    file: Path = option(None, "Figure to write.", group=RESULTS, flag="-o --output", metavar="MAP.png", required=True)
    data: Path | None = option(None, "Labelled table.", default_text="where the run found it", remote=True)
    images: Path | None = option(None, "Folder of its images.", default_text="where the run found them", remote=True)
    source: Source = record(Source, only=("max_megapixels", "max_aspect"))
    encoding: Encoding = record(Encoding, only=("cache", "device", "threads"))


@dataclass(frozen=True)
class AppOptions:
    runs: Path = option(Path("runs"), "Folder of the runs to show.", env="KOCLIP_RUNS")
    data: Path | None = option(
        None, "Table to show.", group=DATA, env="KOCLIP_DATA", default_text="that of the newest run", remote=True
    )
    images: Path | None = option(
        None,
        "Folder of its images, or a ZIP or tar of them.",
        group=DATA,
        env="KOCLIP_IMAGES",
        default_text="those of the newest run",
        remote=True,
    )
    answering: Answering = record(Answering)
    rows: Path | None = option(
        None, "Also offer the rows of this table for annotation, whose column `row` numbers them.", metavar="FILE"
    )
    browser: bool = option(True, "Open the page in the browser.", group=SERVER, flag="--browser/--no-browser")
    listening: Listening = record(Listening)
    source: Source = record(
        Source,
        only=(
            "image_column",
            "hashtag_column",
            "score_column",
            "aggregate",
            "split_hashtags",
            "encoding",
            "separator",
            "score_map",
            "max_megapixels",
            "max_aspect",
        ),
    )
    encoding: Encoding = record(Encoding, only=("cache", "device", "threads"))


@dataclass(frozen=True)
class AgreementOptions:
    columns: str = option("", "Columns of scores, one for each rater.", metavar="COLUMN,COLUMN,...", required=True)
    run: Path | None = option(None, "Run on this table, whose systems stand beside the raters.", metavar="RUN_DIR")
    source: Source = record(
        Source, only=("data", "image_column", "hashtag_column", "encoding", "separator", "score_map")
    )


@dataclass(frozen=True)
class CompareOptions:
    run_dirs: tuple[Path, ...] = option(
        (), "Run folders, the reference first.", metavar="RUN_DIR RUN_DIR...", argument=True, required=True
    )
    relabelled: Path | None = option(
        None,
        "Leave out the rows that this list of `data relabel` names.",
        metavar="NEW.relabelled.csv",
    )
    seed: int = option(42, "Random seed of the resamples.", low=0)


@dataclass(frozen=True)
class ReportOptions:
    run_dirs: tuple[Path, ...] = option((), "Run folders.", metavar="RUN_DIR...", argument=True, required=True)
    file: Path | None = option(None, "The page to write.", group=RESULTS, flag="-o --output", metavar="report.html")
    paper: Path | None = option(
        None,
        "Write figures (SVG, PDF), a LaTeX table and a methods paragraph to this folder.",
        group=RESULTS,
        metavar="DIR",
    )
    columns: str = option(
        "",
        "Columns of scores, one for each rater, for the figure of agreement.",
        metavar="COLUMN,COLUMN,...",
        needs="paper",
        default_text="those of --score-column, if there are several",
    )
    data: Path | None = option(
        None, "Table with --columns.", needs="columns", default_text="that of the run", remote=True
    )
    images: Path | None = option(
        None,
        "Folder of the images. Without it, runs of others and edited ones show none.",
        env="KOCLIP_IMAGES",
        default_text="where each run of yours found them",
        remote=True,
    )


@dataclass(frozen=True)
class RerunOptions:
    run_dir: Path = option(None, "The run to repeat.", metavar="RUN_DIR", argument=True)
    data: Path | None = option(None, "Where the CSV is now.", default_text="where the run found it", remote=True)
    images: Path | None = option(
        None, "Where the images are now.", default_text="where the run found them", remote=True
    )
    cache: Path | None = option(None, "Folder of the stored embeddings.", default_text="the run's", remote=True)
    download: bool = option(
        False, "Download the run's backbone if it is not on this machine, and fetch its data from the URLs it names."
    )
    output: Output = record(Output, without=("resume",))


@dataclass(frozen=True)
class CacheOptions:
    choice: CacheChoice = record(CacheChoice)


@dataclass(frozen=True)
class CacheGcOptions:
    choice: CacheChoice = record(CacheChoice)
    yes: bool = option(False, "Do not ask for confirmation.")


@dataclass(frozen=True)
class CacheExportOptions:
    file: Path = option(None, "File to write.", metavar="OUT.npz|OUT.h5|OUT.parquet", argument=True)
    runs: tuple[Path, ...] = option(
        (),
        "Run on this table, for OUT.parquet: its predictions, or the doubts of an audit; repeatable.",
        group=RESULTS,
        flag="--run",
        metavar="RUN_DIR",
    )
    system: str | None = option(None, "System whose predictions are written.", default_text="the best", needs="runs")
    source: Source = record(Source)
    choice: CacheChoice = record(CacheChoice)
    encoding: Encoding = record(Encoding, only=("text", "templates"))
