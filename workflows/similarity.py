"""`similarity`: cosine similarity cut into five scores by thresholds, published and exact."""

from collections.abc import Sequence

from consistency.progress import Progress, silent
from heads.similarity import METHODS, Method, fit
from heads.thresholds import Objective
from workflows.encode import encode_pairs
from workflows.evaluate import Clock, Outcome, controls, open_run, predictions_of, split_table, write_run
from workflows.inputs import read_inputs
from workflows.options import Encoding, Evaluation, Source

PAPER_METHODS: tuple[Method, ...] = ("simple", "search")


def run_similarity(
    source: Source,
    encoding: Encoding,
    evaluation: Evaluation,
    *,
    methods: Sequence[Method] = METHODS,
    objective: Objective = "macro-f1",
    progress: Progress = silent,
) -> Outcome:
    """Fit thresholds on the train rows, answer for the test rows; systems `similarity-<method>` and controls."""
    clock = Clock()
    inputs = read_inputs(source)
    split = split_table(inputs, source, evaluation)
    encoded = encode_pairs(inputs, encoding, source, progress=progress)
    clock.lap("encode")
    train, test = encoded.side(split, "train"), encoded.side(split, "test")
    results = controls(inputs, split, train, test)
    clock.lap("controls")
    in_train, in_test = encoded.at(train).cosine(), encoded.at(test).cosine()
    fitted = {f"similarity-{method}": fit(method, in_train, split.labels[train], objective) for method in methods}
    clock.lap("fit")
    for system, model in fitted.items():
        predicted = model.predict(in_test) + 1
        results.append(predictions_of(system, encoding, inputs, split, test, predicted=predicted, values=in_test))
    folder = open_run(evaluation, "similarity", encoding.backbone)
    folder.write_json("thresholds.json", {system: model.as_dict() for system, model in fitted.items()})
    return write_run(
        folder,
        inputs,
        split,
        results,
        encoded.skipped,
        options={
            "source": source,
            "encoding": encoding,
            "evaluation": evaluation,
            "methods": methods,
            "objective": objective,
            "extraction": encoded.report,
        },
        seed=evaluation.seed,
        fingerprint=encoded.fingerprint,
        clock=clock,
        notes=(encoded.note,),
    )
