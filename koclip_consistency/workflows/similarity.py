"""`similarity`: cosine similarity cut into five scores by thresholds, published and exact."""

from collections.abc import Mapping, Sequence

from consistency.data.inputs import read_inputs
from consistency.data.splits import with_folds
from consistency.options import Encoding, Evaluation, Source
from consistency.progress import Progress, silent
from heads.similarity import METHODS, Method, SimilarityModel, fit
from heads.thresholds import Objective
from koclip_consistency.workflows.encode import encode_pairs
from koclip_consistency.workflows.folds import Answers, Rows, cross_validate
from koclip_consistency.workflows.trial import (
    Clock,
    Outcome,
    check_run,
    controls,
    open_run,
    predictions_of,
    split_table,
    write_run,
)

PAPER_METHODS: tuple[Method, ...] = ("simple", "search")


def run_similarity(
    source: Source,
    encoding: Encoding,
    evaluation: Evaluation,
    *,
    methods: Sequence[Method] = METHODS,
    objective: Objective = "macro-f1",
    folds: int | None = None,
    progress: Progress = silent,
) -> Outcome:
    """Fit thresholds on the train rows, answer for the test rows; systems `similarity-<method>` and controls.

    With `folds`, also for every row out of fold.
    """
    clock = Clock()
    check_run(evaluation, "similarity")
    inputs = read_inputs(source, near_duplicates=evaluation.near_duplicates, progress=progress)
    split = split_table(inputs, source, evaluation)
    encoded = encode_pairs(inputs, encoding, source, progress=progress)
    clock.lap("encode")
    train, test = encoded.side(split, "train"), encoded.side(split, "test")
    results = controls(inputs, split, train, test, encoding, encoded)
    clock.lap("controls")

    def fitted_on(rows: Rows) -> dict[str, SimilarityModel]:
        similarity, labels = encoded.at(rows).cosine(), split.labels[rows]
        return {f"similarity-{method}": fit(method, similarity, labels, objective) for method in methods}

    def answers(models: Mapping[str, SimilarityModel], rows: Rows) -> dict[str, Answers]:
        similarity = encoded.at(rows).cosine()
        return {system: Answers(model.predict(similarity) + 1, similarity) for system, model in models.items()}

    fitted = fitted_on(train)
    clock.lap("fit")
    for system, said in answers(fitted, test).items():
        results.append(predictions_of(system, encoding, inputs, split, test, **vars(said)))
    if folds:
        split = with_folds(split, folds)
        results += cross_validate(
            inputs, split, encoding, encoded, folds, lambda train, held_out: answers(fitted_on(train), held_out)
        )
        clock.lap("cross-validate")
    folder = open_run(evaluation, "similarity", encoding.backbone)
    folder.write_json("thresholds.json", {system: model.as_dict() for system, model in fitted.items()})
    return write_run(
        folder,
        inputs,
        split,
        results,
        encoded.skipped,
        encoded.position >= 0,
        options={
            "source": source,
            "encoding": encoding,
            "evaluation": evaluation,
            "methods": methods,
            "objective": objective,
            "folds": folds,
            "extraction": encoded.report,
        },
        seed=evaluation.seed,
        fields=encoded.cache.fields,
        clock=clock,
        notes=(encoded.note,),
    )
