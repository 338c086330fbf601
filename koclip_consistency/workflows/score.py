"""`score`: scores new images and hashtags with a trained run, or with weights of the published scripts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from consistency.data.inputs import list_skipped, read_inputs
from consistency.data.pairs import Skipped
from consistency.durable import check_output, write_file
from consistency.options import Source
from consistency.runs.folder import CHANCES
from consistency.text import to_csv
from koclip_consistency.scoring.loading import load_scorer as load_scorer
from koclip_consistency.scoring.scored import Scored
from koclip_consistency.scoring.scorer import Scorer

COLUMNS = ("row", "image", "hashtag", "score", "predicted", "value", *CHANCES, "familiar")


def score_image(
    scorer: Scorer, image: Path, hashtags: Sequence[str], source: Source
) -> tuple[list[dict[str, Any]], tuple[Skipped, ...]]:
    """Score the hashtags of one image; the result is sorted, best first, as `score --json` prints it.

    Raises
    ------
    InputError
        If the image or a hashtag cannot be used.
    """
    answers = scorer.answer(image, hashtags, source.limits)
    pairs = [(row + 1, image.name, hashtag, None) for row, hashtag in enumerate(hashtags)]
    return sorted(_records(pairs, answers), key=lambda record: -record["value"]), answers.skipped


def score_table(scorer: Scorer, source: Source, out: Path) -> tuple[list[dict[str, Any]], tuple[Skipped, ...]]:
    """Score every row of a CSV and write the scores to `out`; the CSV needs no score column.

    Rows that cannot be scored are listed in a file beside `out`.
    """
    check_output(out)
    inputs = read_inputs(source, require_scores=False)
    table = inputs.table
    answers = scorer.answer_table(inputs, source)
    scores = [score or None for score in table.scores.tolist()]
    records = _records(list(zip(table.rows.tolist(), table.images, table.hashtags, scores, strict=True)), answers)
    write_file(out, to_csv(COLUMNS, ([_cell(record.get(name)) for name in COLUMNS] for record in records)))
    list_skipped(out, answers.skipped)
    return records, answers.skipped


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else value


def _records(pairs: Sequence[tuple[int, str, str, int | None]], answers: Scored) -> list[dict[str, Any]]:
    """One record per answer. `pairs` has row, image, hashtag and score of every row of the table."""
    n = len(answers.rows)
    nothing = np.full(n, None)
    chances = nothing if answers.probabilities is None else answers.probabilities.tolist()
    familiar = nothing if answers.familiar is None else answers.familiar.tolist()
    columns = (answers.rows.tolist(), answers.predicted.tolist(), answers.values.tolist(), chances, familiar)
    return [
        {
            **dict(zip(COLUMNS[:4], pairs[at], strict=True)),
            "predicted": predicted,
            "value": value,
            **dict(zip(CHANCES, given or (), strict=False)),
            "familiar": known,
        }
        for at, predicted, value, given, known in zip(*columns, strict=True)
    ]
