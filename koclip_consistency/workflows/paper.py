"""`paper`: the six published systems and ours under both protocols, for several backbones, in one table."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from consistency.data.inputs import read_inputs
from consistency.data.memo import DigestMemo
from consistency.data.pairs import PairTable
from consistency.errors import InputError
from consistency.evaluation.intervals import LEVEL, RESAMPLES
from consistency.evaluation.metrics import METRICS
from consistency.evaluation.results import Result
from consistency.evaluation.systems import CONTROLS
from consistency.options import (
    Encoding,
    Evaluation,
    FinetuneOptions,
    HeadsOptions,
    Output,
    PaperOptions,
    Preset,
    Protocol,
    SimilarityOptions,
    Source,
    as_config,
)
from consistency.progress import QUIET, Reporter
from consistency.report.page import write_report
from consistency.runs.folder import RunFolder
from consistency.text import METRIC_TITLES, number, slug, to_csv, with_interval
from koclip_consistency.workflows.encode import resolve
from koclip_consistency.workflows.finetune import run_finetune
from koclip_consistency.workflows.heads import recipe_of, run_heads
from koclip_consistency.workflows.ranking import FILE, rank_backbones, ranking_csv, ranking_notes
from koclip_consistency.workflows.similarity import similarity_in_memory
from koclip_consistency.workflows.suite import Done, Step, close_suite, notes_of, open_suite, run_steps, skipped_of
from koclip_consistency.workflows.trial import Outcome

PROTOCOLS: tuple[Protocol, ...] = ("grouped", "paper")  # in the order of the table
QUICK_EPOCHS = 2
PAPER_FOLDS = 5
CHOSEN = ("macro_f1", "qwk")  # the metrics by which backbones are compared


def system_steps(
    source: Source,
    encoding: Encoding,
    protocol: Protocol,
    seed: int,
    *,
    prefix: str = "",
    finetune: Sequence[Preset | None] = ("paper", None),
    epochs: int | None = None,
    grid: bool = True,
    reporter: Reporter,
) -> list[Step]:
    """Return the runs of every system on one backbone under one protocol.

    The published heads predict the test rows and, by cross-validation, every row. The published recipes decode images
    and read hashtags as the published scripts do, ours as `encoding` says.

    Parameters
    ----------
    finetune
        The recipes of fine-tuning: "paper", and None for the default one.
    epochs
        Epochs of fine-tuning, None for those of the recipe.
    grid
        Whether our head is chosen from a grid; otherwise the default head is trained.
    """
    published = replace(encoding, decode="published", text="raw", templates=())
    evaluation = Evaluation(protocol=protocol, seed=seed)

    def output(out: Path) -> Output:
        return Output(resume=out) if RunFolder.is_unfinished(out) else Output(out=out)

    def similarity(out: Path) -> Outcome:
        return similarity_in_memory(
            SimilarityOptions(source=source, encoding=encoding, evaluation=evaluation, output=output(out)), reporter
        )

    def heads(options: HeadsOptions) -> Step:
        options = replace(options, source=source, evaluation=evaluation)
        recipe = recipe_of(options)
        return Step(
            f"{prefix}heads" if recipe == "default" else f"{prefix}heads-{recipe}",
            lambda out: run_heads(replace(options, output=output(out)), reporter),
        )

    def tuned(preset: Preset | None) -> Step:
        how = published if preset else encoding
        options = FinetuneOptions(epochs=epochs, source=source, encoding=how, evaluation=evaluation, preset=preset)
        return Step(
            f"{prefix}finetune-{preset}" if preset else f"{prefix}finetune",
            lambda out: run_finetune(replace(options, output=output(out)), reporter),
        )

    def post_of_tuned(out: Path) -> Outcome:
        """Heads on the whole post, on the encoders that the default recipe has fine-tuned.

        Protocol and seed are the same, so that the test rows are those of the fine-tuning.
        """
        tuned = replace(encoding, backbone=str(out.with_name(f"{prefix}finetune")))
        options = HeadsOptions(context="post", source=source, encoding=tuned, evaluation=evaluation, output=output(out))
        return run_heads(options, reporter, tuned_from=encoding.backbone)

    return [
        Step(f"{prefix}similarity", similarity),
        heads(HeadsOptions(encoding=published, preset="paper", folds=PAPER_FOLDS)),
        heads(HeadsOptions(encoding=encoding, grid=grid)),
        heads(HeadsOptions(encoding=encoding, context="post")),
        *map(tuned, finetune),
        *([Step(f"{prefix}finetune-post", post_of_tuned)] if None in finetune else []),
    ]


def run_paper(options: PaperOptions, reporter: Reporter = QUIET) -> Outcome:
    """Write the table as `paper.csv`, `paper.md`, `metrics.json` and `report.html`; each run has its own folder.

    An interrupted run continues with --resume, or with the same command and the same --out.
    """
    source, seed = options.source, options.evaluation.seed
    encodings = [replace(options.encoding, backbone=backbone) for backbone in options.backbones]
    for encoding in encodings:
        resolved, _ = resolve(encoding)  # otherwise a missing backbone would show only after hours with the others
        if resolved.fixed and "finetune" not in options.skip:
            raise InputError(
                f"{encoding.backbone} is {resolved.fixed}, which cannot be fine-tuned here: "
                "give --skip finetune, or leave this backbone out"
            )
    with DigestMemo(options.encoding.cache) as memo:
        inputs = read_inputs(source, memo=memo)
    folder = open_suite(
        options.output,
        command="paper",
        backbone="+".join(options.backbones),
        config=as_config(options),
        digests={"data_digest": inputs.table.digest, "pictures_digest": inputs.pictures_digest},
    )
    steps = []
    for encoding in encodings:
        for protocol in PROTOCOLS:
            steps += system_steps(
                source,
                encoding,
                protocol,
                seed,
                prefix=f"{slug(encoding.backbone)}-{protocol}-",
                finetune=() if "finetune" in options.skip else ("paper", None),
                epochs=QUICK_EPOCHS if options.quick else None,
                grid=not options.quick,
                reporter=reporter,
            )
    done = run_steps(folder, steps, reporter.say)
    lines = distinct_results(done)
    ranked = rank_backbones([line.result for line in lines], *_cost_of(done))
    notes = notes_of(done)
    write_tables(folder, lines, inputs.table, notes)
    if ranked:
        folder.write_file(FILE, ranking_csv(ranked))
    write_report([step.run for step in done], folder.path / "report.html", images=source.images)
    close_suite(folder, seed, done)
    return Outcome(
        folder.path,
        tuple(line.result for line in lines),
        skipped_of(done),
        notes=notes + ranking_notes(ranked) + folder.notes,
        seconds=tuple(line.seconds for line in lines),
    )


def _cost_of(done: Sequence[Done]) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """By backbone: images per second and peak of memory where some were encoded, and the duration of all runs."""
    speeds: dict[str, float] = {}
    peaks: dict[str, float] = {}
    seconds: dict[str, float] = {}
    for step in done:
        name, extraction = step.run.info["backbone"], step.run.info["details"].get("extraction") or {}
        seconds[name] = round(seconds.get(name, 0.0) + step.seconds, 3)
        if speed := extraction.get("images_per_second"):
            speeds.setdefault(name, speed)
        if peak := extraction.get("peak_megabytes"):
            peaks[name] = max(peak, peaks.get(name, 0.0))
    return speeds, peaks, seconds


@dataclass(frozen=True, eq=False)
class Line:
    """A line of the table.

    Attributes
    ----------
    run
        Name of the run.
    seconds
        Duration of the run with all its systems.
    result
        The result of one of its systems.
    """

    run: str
    seconds: float
    result: Result


def distinct_results(done: Sequence[Done]) -> list[Line]:
    """The results of all runs by protocol, with the controls, which every run repeats, only once."""
    lines: dict[tuple[str, ...], Line] = {}
    for step in done:
        for result in step.run.results:
            p = result.predictions
            line = Line(step.name, step.seconds, result)
            lines.setdefault((p.system, p.backbone, p.protocol, p.split), line)

    def order(line: Line) -> tuple[int, bool]:
        p = line.result.predictions
        return list[str](PROTOCOLS).index(p.protocol), p.system not in CONTROLS

    return sorted(lines.values(), key=order)


def write_tables(folder: RunFolder, lines: Sequence[Line], table: PairTable, notes: Sequence[str]) -> None:
    """Write `metrics.json`, `paper.csv`, `paper.md` and, for several backbones, `backbones.csv`."""
    folder.write_json("metrics.json", [{**line.result.as_entry(), "run": line.run} for line in lines])
    folder.write_file("paper.csv", _csv(lines))
    folder.write_file("paper.md", _markdown(lines, table, notes).encode())
    results = [line.result for line in lines]
    columns, rows = by_backbone(results)
    if rows_compare(columns):
        folder.write_file("backbones.csv", to_csv(columns, [["" if x is None else x for x in row] for row in rows]))


def by_backbone(results: Sequence[Result]) -> tuple[list[str], list[list[Any]]]:
    """Compare backbones: a row per protocol, system and split, a column per metric of CHOSEN and backbone.

    Values are floats, None if undefined or if a backbone has no such run. Controls are left out.
    """
    found: dict[tuple[str, str, str], dict[str, Result]] = {}
    for result in results:
        p = result.predictions
        if p.system not in CONTROLS:
            found.setdefault((p.protocol, p.system, p.split), {})[p.backbone] = result
    backbones = list(dict.fromkeys(name for of in found.values() for name in of))
    columns = ["protocol", "system", "split", *(f"{METRIC_TITLES[key]} {name}" for key in CHOSEN for name in backbones)]
    rows = [
        [*key, *(of[name].metrics[metric] if name in of else None for metric in CHOSEN for name in backbones)]
        for key, of in found.items()
    ]
    return columns, rows


def rows_compare(columns: Sequence[str]) -> bool:
    """Whether the columns of `by_backbone` have more than one backbone."""
    return len(columns) > 3 + len(CHOSEN)


def _csv(lines: Sequence[Line]) -> bytes:
    columns = ["protocol", "backbone", "system", "split", "n"]
    columns += [column for name in METRICS for column in (name, f"{name}_low", f"{name}_high")]
    rows: list[list[object]] = []
    for line in lines:
        p = line.result.predictions
        row: list[object] = [p.protocol, p.backbone, p.system, p.split, len(p)]
        for name in METRICS:
            value, interval = line.result.metrics[name], line.result.ci95[name]
            row += ["" if value is None else value, *(interval or ("", ""))]
        rows.append([*row, line.seconds, line.run])
    return to_csv([*columns, "seconds", "run"], rows)


def _markdown(lines: Sequence[Line], table: PairTable, notes: Sequence[str]) -> str:
    """The table with its caption for a manuscript, and the comparison of backbones if there are several."""
    columns = ["protocol", "backbone", "system", "split", "n", *METRIC_TITLES.values(), "seconds"]
    rows: list[list[str]] = []
    for line in lines:
        result, p = line.result, line.result.predictions
        figures = [with_interval(result.metrics[key], result.ci95[key]) for key in METRIC_TITLES]
        rows.append([p.protocol, p.backbone, p.system, p.split, str(len(p)), *figures, f"{line.seconds:.1f}"])
    leaks = "".join(f"- {note}\n" for note in notes)
    parts = [_caption(table), _grid(columns, rows), f"Test rows that share something with train:\n\n{leaks}"]
    results = [line.result for line in lines]
    columns, figures_by = by_backbone(results)
    if rows_compare(columns):
        parts += ["The same figures by backbone:\n"]
        parts += [_grid(columns, [[*row[:3], *map(number, row[3:])] for row in figures_by])]
    return "\n".join(parts)


def _caption(table: PairTable) -> str:
    return (
        f"Published systems and ours on {len(table):,} pairs of {len(set(table.images)):,} images (CSV of SHA-256 "
        f"{table.digest}). Protocol grouped: repeated pairs are merged and all rows of an image are on one side, so "
        "that every test image is new. Protocol paper: the published split by rows (seed 42, 20 %), in which most "
        "test images, and some pairs, are also in train. Split test: held-out rows; cv: out-of-fold rows of a "
        f"cross-validation, pooled. n: number of rows. After each figure its {LEVEL:.0%} interval: bias-corrected "
        f"bootstrap over images, {RESAMPLES:,} resamples. seconds: duration of the run with all its systems "
        "and controls. finetune-paper-best is the epoch that was best on the test rows, as published: not a fair "
        "figure. heads-paper and finetune-paper count the scores of all rows for their class weights, as published. "
        "heads-post and finetune-post also read the other hashtags of the image, without their scores; under protocol "
        "paper some of these are in train. "
        f"The controls never look at an image: {', '.join(CONTROLS)}.\n"
    )


def _grid(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
