"""`demo`: a drawn data set, every system on it with the packaged backbone, and the report."""

from pathlib import Path

from consistency.options import Encoding, Evaluation, Source, as_config
from consistency.progress import Reporter
from consistency.report.page import write_report
from consistency.report.plots import result_figures
from demo.dataset import write_demo
from koclip_consistency.workflows.audit import run_audit
from koclip_consistency.workflows.paper import QUICK_EPOCHS, distinct_results, system_steps
from koclip_consistency.workflows.suite import Step, close_suite, notes_of, open_suite, run_steps, skipped_of
from koclip_consistency.workflows.trial import Outcome

IMAGES, QUICK_IMAGES = 180, 60
AUDITS = 3  # divisions into folds


def run_demo(
    *,
    out: Path | None,
    runs: Path,
    cache: Path,
    seed: int,
    quick: bool,
    device: str,
    threads: int | None,
    reporter: Reporter,
) -> Outcome:
    """Everything on the drawn data set, split by image; ends with `report.html` in the run folder."""
    encoding = Encoding(backbone="tiny", cache=cache, device=device, threads=threads)
    plan = as_config(encoding=encoding, seed=seed, quick=quick)
    folder = open_suite(out, runs=runs, command="demo", backbone="tiny", plan=plan)
    source = Source(data=folder.path / "data" / "combined_data.csv", images=folder.path / "data" / "image")
    if not source.data.is_file():
        reporter.say(f"Drawing the demo data set: {source.data.parent}")
        write_demo(source.data.parent, seed=seed, images=QUICK_IMAGES if quick else IMAGES)

    def audit(out: Path) -> Outcome:
        clean = source.data.parent / "clean_labels.csv"
        evaluation = Evaluation(seed=seed, out=out)
        return run_audit(source, encoding, evaluation, repeats=AUDITS, clean=clean, progress=reporter.progress).outcome

    steps = system_steps(
        source,
        encoding,
        "grouped",
        seed,
        recipes=("default",),
        epochs=QUICK_EPOCHS if quick else None,
        reporter=reporter,
    )
    steps.append(Step("audit", audit))
    done = run_steps(folder, steps, reporter.say)
    results = [line.result for line in distinct_results(done)]
    tested = [result for result in results if result.predictions.split == "test"]
    folder.write_results(tested)
    folder.write_files(result_figures(tested))
    write_report([step.run for step in done], folder.path / "report.html", images=source.images)
    close_suite(folder, plan, seed, done)
    shown = tuple(result for result in results if result.predictions.split == "test")
    return Outcome(folder.path, shown, skipped_of(done), notes=notes_of(done[:1]) + folder.notes)
