"""`paper`: the six published systems and ours, under both protocols, for every backbone asked for, in one table."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from consistency.figures import METRIC_TITLES, with_interval
from consistency.metrics import METRICS
from consistency.pairs import Skipped
from consistency.runs import Result, RunFolder, slug, to_csv
from consistency.splits import Protocol
from workflows.console import NO_BACKBONE, Screen
from workflows.evaluate import Outcome
from workflows.finetune import Recipe as FinetuneRecipe
from workflows.finetune import run_finetune
from workflows.heads import Recipe as HeadRecipe
from workflows.heads import run_heads
from workflows.inputs import read_table
from workflows.options import Encoding, Evaluation, Source, as_config
from workflows.similarity import run_similarity
from workflows.suite import Done, Step, close_suite, open_suite, run_steps

PROTOCOLS: tuple[Protocol, ...] = ("grouped", "paper")  # of the table, in its order
QUICK_EPOCHS = 2


def system_steps(
    source: Source,
    encoding: Encoding,
    protocol: Protocol,
    seed: int,
    *,
    prefix: str = "",
    recipes: Sequence[FinetuneRecipe] = ("paper", "default"),
    epochs: int | None = None,
    screen: Screen,
) -> list[Step]:
    """Every system on one backbone under one protocol, with the fine-tuning `recipes` asked for.

    The published recipes decode pictures as the published scripts did, ours as `encoding` says.
    """
    published = replace(encoding, decode="published")
    progress = screen.progress

    def evaluation(out: Path) -> Evaluation:
        return Evaluation(protocol, seed, out=out, resume=out if RunFolder.is_unfinished(out) else None)

    def similarity(out: Path) -> Outcome:
        return run_similarity(source, encoding, evaluation(out), progress=progress)

    def heads(recipe: HeadRecipe, how: Encoding) -> Step:
        def work(out: Path) -> Outcome:
            return run_heads(source, how, evaluation(out), recipe=recipe, progress=progress, live=screen.live)

        return Step(f"{prefix}heads-{recipe}", work)

    def finetune(recipe: FinetuneRecipe, how: Encoding) -> Step:
        def work(out: Path) -> Outcome:
            changes = {} if epochs is None else {"epochs": epochs}
            return run_finetune(source, how, evaluation(out), recipe=recipe, changes=changes, progress=progress)

        return Step(f"{prefix}finetune-{recipe}" if recipe == "paper" else f"{prefix}finetune", work)

    return [
        Step(f"{prefix}similarity", similarity),
        heads("paper", published),
        heads("grid", encoding),
        *(finetune(recipe, published if recipe == "paper" else encoding) for recipe in recipes),
    ]


def run_paper(
    source: Source,
    encodings: Sequence[Encoding],
    *,
    seed: int,
    runs: Path,
    out: Path | None,
    finetune: bool,
    quick: bool,
    screen: Screen,
) -> Outcome:
    """The table as `paper.csv`, `paper.md` and `metrics.json`; every run is kept in a folder of its own.

    The same command with the same --out goes on where it stopped.
    """
    digest = read_table(source).digest
    plan = as_config(
        source=source, encodings=list(encodings), seed=seed, finetune=finetune, quick=quick, data_digest=digest
    )
    label = "+".join(encoding.backbone for encoding in encodings)
    folder = open_suite(out, runs=runs, command="paper", backbone=label, plan=plan)
    steps = []
    for encoding in encodings:
        for protocol in PROTOCOLS:
            steps += system_steps(
                source,
                encoding,
                protocol,
                seed,
                prefix=f"{slug(encoding.backbone)}-{protocol}-",
                recipes=("paper", "default") if finetune else (),
                epochs=QUICK_EPOCHS if quick else None,
                screen=screen,
            )
    done = run_steps(folder, steps, screen.note)
    results = distinct_results(done)
    folder.write_json("metrics.json", [{**result.as_entry(), "run": name} for name, result in results])
    folder.write_file("paper.csv", _csv(results))
    folder.write_file("paper.md", _markdown(results).encode())
    close_suite(folder, plan, seed, done)
    return Outcome(folder.path, tuple(result for _, result in results), skipped_of(done))


def distinct_results(done: Sequence[Done]) -> list[tuple[str, Result]]:
    """The results of all runs, each with its run's name: by protocol, the controls, which every run repeats, once."""
    results: dict[tuple[str, ...], tuple[str, Result]] = {}
    for step in done:
        for result in step.run.results:
            p = result.predictions
            results.setdefault((p.system, p.backbone, p.protocol, p.split), (step.name, result))

    def order(item: tuple[str, Result]) -> tuple[int, bool]:
        p = item[1].predictions
        return list[str](PROTOCOLS).index(p.protocol), p.backbone != NO_BACKBONE

    return sorted(results.values(), key=order)


def skipped_of(done: Sequence[Done]) -> tuple[Skipped, ...]:
    """What any of the runs left out, once."""
    return tuple(dict.fromkeys(skipped for step in done for skipped in step.run.skipped))


def _csv(results: Sequence[tuple[str, Result]]) -> bytes:
    columns = ["protocol", "backbone", "system", "split", "n"]
    columns += [column for name in METRICS for column in (name, f"{name}_low", f"{name}_high")]
    rows: list[list[object]] = []
    for _, result in results:
        p = result.predictions
        row: list[object] = [p.protocol, p.backbone, p.system, p.split, len(p)]
        for name in METRICS:
            value, interval = result.metrics[name], result.ci95[name]
            row += ["" if value is None else value, *(interval or ("", ""))]
        rows.append(row)
    return to_csv(columns, rows)


def _markdown(results: Sequence[tuple[str, Result]]) -> str:
    """A table for a manuscript: value and 95 % interval."""
    columns = ["protocol", "backbone", "system", "split", "n", *METRIC_TITLES.values()]
    lines = [columns, ["---"] * len(columns)]
    for _, result in results:
        p = result.predictions
        figures = [with_interval(result.metrics[key], result.ci95[key]) for key in METRIC_TITLES]
        lines.append([p.protocol, p.backbone, p.system, p.split, str(len(p)), *figures])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
