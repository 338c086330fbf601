"""`similarity`: cuts the cosine similarity into five scores by published and optimal thresholds."""

from collections.abc import Mapping
from dataclasses import replace

from consistency.data.inputs import open_source
from consistency.data.spool import spooled
from consistency.data.tables import TableFile
from consistency.options import SimilarityOptions
from consistency.progress import QUIET, Reporter
from consistency.runs.folder import RunFolder
from heads.familiarity import keep_familiarity
from heads.similarity import SimilarityModel, fit
from heads.thresholds import describe_quantiles
from koclip_consistency.workflows.answers import Answers
from koclip_consistency.workflows.encode import resolve
from koclip_consistency.workflows.trial import Outcome, Rows, Trial


def run_similarity(options: SimilarityOptions, reporter: Reporter = QUIET) -> Outcome:
    """Fit thresholds on the training rows, predict the test rows and, with `folds`, every row out of fold.

    The systems are `similarity-<method>` and the controls. `thresholds.json` has the thresholds. A table that may have
    more than `large_rows` rows waits on disk; see `large_similarity` for what its run lacks.
    """
    RunFolder.check(options.output, "similarity")
    table = open_source(options.source)
    large, note = spooled(table, options.large_rows)
    if large:
        from koclip_consistency.workflows.large_similarity import needs_memory, run_large_similarity

        asked = needs_memory(options, resolve(options.encoding)[0])
        if asked is None:
            return run_large_similarity(options, table, reporter)
        note = f"all rows, up to {table.most_rows:,}, are held in memory, which {asked} needs"
    outcome = similarity_in_memory(options, reporter, table)
    return outcome if note is None else replace(outcome, notes=(*outcome.notes, note))


def similarity_in_memory(
    options: SimilarityOptions, reporter: Reporter = QUIET, table: TableFile | None = None
) -> Outcome:
    """Do what `run_similarity` does for a table of at most `large_rows` rows, perhaps already opened."""
    trial = Trial("similarity", options, reporter, table=table)
    encoded = trial.encode()
    train, test = trial.sides()
    trial.add_controls(train, test)

    def fitted_on(rows: Rows) -> dict[str, SimilarityModel]:
        similarity, labels = encoded.at(rows).cosine(), trial.split.labels[rows]
        return {
            f"similarity-{method}": fit(method, similarity, labels, options.objective) for method in options.methods
        }

    def answers(models: Mapping[str, SimilarityModel], rows: Rows) -> dict[str, Answers]:
        similarity = encoded.at(rows).cosine()
        return {system: Answers(model.predict(similarity) + 1, similarity) for system, model in models.items()}

    fitted = fitted_on(train)
    quantiles = (
        describe_quantiles(encoded.at(train).cosine(), options.objective) if "exact" in options.methods else None
    )
    trial.clock.lap("fit")
    for system, said in answers(fitted, test).items():
        trial.add(system, test, said)
    if options.folds:
        trial.cross_validate(options.folds, lambda train, held_out: answers(fitted_on(train), held_out))
    folder = trial.open()
    folder.write_json("thresholds.json", {system: model.as_dict() for system, model in fitted.items()})
    unfamiliar = keep_familiarity(
        folder.path,
        encoded.at(train).hashtag_vectors(),
        trial.inputs.table.hashtags[train].tolist(),
        encoded.at(test).hashtag_vectors(),
        trial.inputs.table.hashtags[test].tolist(),
    )
    return trial.finish(
        usable=encoded.position >= 0,
        unfamiliar=unfamiliar,
        skipped=encoded.skipped,
        fields=encoded.cache.fields,
        details={"extraction": encoded.report, **({"thresholds": quantiles} if quantiles else {})},
        notes=(encoded.note, *([quantiles] if quantiles else [])),
    )
