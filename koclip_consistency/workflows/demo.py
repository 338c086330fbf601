"""`demo`: draws a data set, runs every system on it with the packaged backbone, and writes the report."""

from dataclasses import replace
from pathlib import Path

from consistency.options import AuditOptions, DemoOptions, Evaluation, Output, Source, as_config
from consistency.progress import QUIET, Reporter
from consistency.report.page import write_report
from consistency.report.plots import result_figures
from demo.dataset import IMAGES, write_demo
from koclip_consistency.workflows.audit import run_audit
from koclip_consistency.workflows.paper import QUICK_EPOCHS, distinct_results, system_steps
from koclip_consistency.workflows.suite import Step, close_suite, notes_of, open_suite, run_steps, skipped_of
from koclip_consistency.workflows.trial import Outcome

QUICK_IMAGES = 60
AUDITS = 3  # divisions into folds


def run_demo(options: DemoOptions, reporter: Reporter = QUIET) -> Outcome:
    """Run everything on the drawn data set, split by image, and write `report.html` into the run folder."""
    encoding, seed = replace(options.encoding, backbone="tiny"), options.seed
    folder = open_suite(options.output, command="demo", backbone="tiny", config=as_config(options))
    source = Source(data=folder.path / "data" / "combined_data.csv", images=folder.path / "data" / "image")
    if not source.data.is_file():
        reporter.say(f"Drawing the demo data set: {source.data.parent}")
        write_demo(source.data.parent, seed=seed, images=QUICK_IMAGES if options.quick else IMAGES)

    def audit(out: Path) -> Outcome:
        audit_options = AuditOptions(
            repeats=AUDITS,
            clean=source.data.parent / "clean_labels.csv",
            source=source,
            encoding=encoding,
            evaluation=Evaluation(seed=seed),
            output=Output(out=out),
        )
        return run_audit(audit_options, reporter).outcome

    epochs = QUICK_EPOCHS if options.quick else None
    steps = system_steps(source, encoding, "grouped", seed, finetune=(None,), epochs=epochs, reporter=reporter)
    done = run_steps(folder, [*steps, Step("audit", audit)], reporter.say)
    results = [line.result for line in distinct_results(done)]
    shown = tuple(result for result in results if result.predictions.split == "test")
    folder.write_results(shown)
    folder.write_files(result_figures(shown))
    write_report([step.run for step in done], folder.path / "report.html", images=source.images)
    close_suite(folder, seed, done)
    return Outcome(folder.path, shown, skipped_of(done), notes=notes_of(done[:1]) + folder.notes)
