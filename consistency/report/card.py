"""The model card of an exported system: its results, data, leakage and limits, with metadata that the hub reads."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import metadata
from pathlib import PurePath

import jinja2

from consistency.evaluation.results import Result
from consistency.evaluation.systems import CONTROLS
from consistency.report.standing import Comparison
from consistency.report.tables import Table, make_table
from consistency.runs.read import Run
from consistency.text import LOWER_IS_BETTER, METRIC_TITLES, SPLITS, number, with_interval

PROGRAM = "koclip-consistency"
ROWS_IN_A_NOTE = "several hashtags in one cell"  # notes about single rows of the data stay out of the card
CLAIMS = {"better": "better than", "worse": "worse than", "level": "not shown to be better than"}


@dataclass(frozen=True)
class Exports:
    """What the card says of the folder beyond the run.

    Attributes
    ----------
    system : str
        The exported system.
    name : str
        Name of the folder.
    base_model : str or None
        Hub id of the backbone; None if it is a local model.
    library : str
        Library that loads the backbone.
    licence : str or None
        Id of the licence of the weights; None if it is unknown.
    finetuned : bool
        Whether the backbone's own weights were trained.
    keeps_vectors : bool
        Whether the weights hold vectors of training images, as those of a head that reads posts do.
    onnx : str or None
        What was measured about the ONNX files; None without them.
    """

    system: str
    name: str
    base_model: str | None
    library: str
    licence: str | None
    finetuned: bool = False
    keeps_vectors: bool = False
    onnx: str | None = None


def model_card(run: Run, exports: Exports) -> str:
    """Write README.md of an exported folder: metadata in YAML, then text in Markdown.

    No file name, hashtag or row of the training data is in it.

    Parameters
    ----------
    run : Run
        The run that was exported.
    exports : Exports
        What was exported of it, and how.
    """
    answers = [result for result in run.results if result.predictions.system == exports.system]
    tables = [_table(run, result) for result in answers]
    backbone = str(run.info.get("backbone", ""))
    shown = exports.base_model or PurePath(backbone).name

    def notes(table: Table) -> list[str]:
        return [note.replace(backbone, shown) for note in table.notes if ROWS_IN_A_NOTE not in note]

    text = _template().render(
        run=run,
        exports=exports,
        backbone=shown,
        tables=[(table, notes(table), _lines(table), claims) for table, claims in tables],
        columns=[title + " (lower is better)" * (key in LOWER_IS_BETTER) for key, title in METRIC_TITLES.items()],
        resampled=_resampled(run),
        version=metadata.version(PROGRAM),
        year=datetime.fromisoformat(run.info["finished"]).year,
    )
    return f"---\n{_metadata(run, exports, answers)}\n---\n\n{text}"


def _table(run: Run, result: Result) -> tuple[Table, list[str]]:
    """The results of the system and of the controls on the same rows, and how they compare."""
    p = result.predictions
    controls = [
        other for other in run.results if other.predictions.system in CONTROLS and other.predictions.split == p.split
    ]
    comparison = Comparison([result, *controls])
    claims = []
    for metric in ("macro_f1", "qwk"):
        best = comparison.best_control(result, metric)
        if best is not None:
            verdict = CLAIMS.get(comparison.verdict(result, best, metric), "not comparable with")
            name = best.predictions.system
            claims.append(
                f"{METRIC_TITLES[metric]}: {verdict} the best control (`{name}`, {number(best.metrics[metric])})"
            )
    return make_table([(run, each) for each in comparison.results], comparison, several=False), claims


def _resampled(run: Run) -> str:
    """What the intervals of a run resample."""
    if run.setting("evaluation", "intervals") == "two-way":
        return "images and hashtags at once"
    return "hashtags" if run.setting("evaluation", "protocol") == "hashtag" else "images"


def _lines(table: Table) -> list[list[str]]:
    return [
        [f"`{line.system}`" + ", a control that sees no image" * line.control]
        + [f"{cell.text} ({cell.interval})" if cell.interval else cell.text for cell in line.cells]
        for line in table.lines
    ]


def _metadata(run: Run, exports: Exports, results: Sequence[Result]) -> str:
    """The YAML block, by the hub's own client."""
    from huggingface_hub import EvalResult, ModelCardData

    digest = str(run.info.get("data_digest", ""))[:12]
    figures = [
        EvalResult(
            task_type="image-text-to-score",
            task_name="Consistency of image and hashtag, 1 to 5",
            dataset_type="private",
            dataset_name=f"table {digest}, protocol {result.predictions.protocol}",
            dataset_split=SPLITS[result.predictions.split],
            metric_type=name,
            metric_name=f"{title}, 95 % interval {with_interval(value, result.ci95[name]).partition(' ')[2] or 'none'}",
            metric_value=round(value, 4),
        )
        for result in results
        for name, title in METRIC_TITLES.items()
        if (value := result.metrics[name]) is not None
    ]
    data = ModelCardData(
        model_name=exports.name if figures else None,
        eval_results=figures or None,
        language="ko",
        library_name=exports.library,
        license=exports.licence or "other",
        license_name=None if exports.licence else "unknown",
        base_model=exports.base_model,
        base_model_relation="finetune" if exports.base_model and exports.finetuned else None,
        pipeline_tag="zero-shot-image-classification",
        tags=[PROGRAM, "image-text-matching", "hashtags", "ordinal-classification"],
    )
    return str(data.to_yaml()).strip()


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("consistency.report"),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    return environment.get_template("card.md.j2")
