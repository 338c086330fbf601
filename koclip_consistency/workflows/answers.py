"""What systems answer, controls included, and how answers become results with metrics and intervals."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from consistency.backbone.resolve import ResolvedBackbone
from consistency.data.inputs import Inputs
from consistency.data.splits import Split
from consistency.evaluation.controls import control_predictions, decide, text_embedding_predictions
from consistency.evaluation.results import NO_BACKBONE, Predictions, Result, evaluate_predictions
from consistency.evaluation.systems import TEXT_AND_POST_HEAD, TEXT_EMBEDDING, TEXT_HEAD
from consistency.scale import SCORES
from heads.config import HeadConfig
from heads.post_head import PostConfig, TrainedPostHead
from heads.train import train_head
from koclip_consistency.workflows.division import clusters, seen_by
from koclip_consistency.workflows.encode import Encoded

Rows = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Answers:
    """The predictions of a system for n rows.

    Attributes
    ----------
    predicted
        (n,) int64, 1 to 5; None: the most probable score.
    values
        (n,) float64, what ranks the rows; None: the expected score.
    probabilities
        (n, 5) float64, or None.
    """

    predicted: Rows | None = None
    values: Floats | None = None
    probabilities: Floats | None = None

    def columns(self) -> tuple[Rows, Floats, Floats | None]:
        """Predicted scores, values and probabilities, the first two filled in.

        Raises
        ------
        ValueError
            If there are neither probabilities nor both predicted scores and values.
        """
        chances, predicted, values = self.probabilities, self.predicted, self.values
        if chances is not None:
            predicted = chances.argmax(axis=1) + 1 if predicted is None else predicted
            values = chances @ SCORES if values is None else values
        if predicted is None or values is None:
            raise ValueError("without probabilities, predicted scores and values are needed")
        return predicted, values, chances


def evaluate_answers(
    system: str,
    backbone: ResolvedBackbone | None,
    inputs: Inputs,
    split: Split,
    rows: Rows,
    answers: Answers,
    *,
    side: str = "test",
    two_way: bool = False,
) -> Result:
    """Return the predictions of a system for `rows` of the table with metrics and intervals.

    `backbone` is None for a control. If it was fine-tuned here, the rows that it has already seen are counted.

    Raises
    ------
    ValueError
        If there are neither probabilities nor both predicted scores and values.
    """
    predicted, values, chances = answers.columns()
    table = inputs.table
    predictions = Predictions(
        system=system,
        backbone=NO_BACKBONE if backbone is None else backbone.name,
        protocol=split.protocol,
        split=side,
        rows=table.rows[rows],
        images=table.images[rows],
        hashtags=table.hashtags[rows],
        scores=split.labels[rows] + 1,
        predicted=predicted,
        values=values,
        probabilities=chances,
        clusters=clusters(split, inputs)[rows],
    )
    result = evaluate_predictions(predictions, two_way=two_way)
    if backbone is None or not backbone.trained_on:
        return result
    return replace(result, trained_on=seen_by(backbone, inputs, rows))


def control_answers(
    inputs: Inputs,
    split: Split,
    train: Rows,
    test: Rows,
    encoded: Encoded | None = None,
    *,
    ordered: bool = False,
) -> dict[str, Answers]:
    """Return what can be predicted for the rows `test` without an image, by system.

    The controls on embeddings of hashtags are included if there are embeddings, the one that reads the post if these
    have a context, the balanced controls of the published table if single rows are split, as published. Those that read
    the post read the order of its hashtags if `ordered` is set.
    """
    t = inputs.table
    said = control_predictions(
        t.images,
        t.hashtags,
        split.labels,
        train,
        test,
        posts=inputs.posts,
        groups=split.groups,
        order=t.rows if ordered else None,
        balanced=split.groups is None,  # single rows were split, as published
    )
    if encoded is not None:
        said[TEXT_EMBEDDING] = text_embedding_predictions(
            encoded.at(train).hashtag_vectors(),
            split.labels[train],
            split.groups_of(train),
            encoded.at(test).hashtag_vectors(),
            seed=split.seed,
        )
        config = HeadConfig(features="text")  # the default head on other features
        head, _ = train_head(config, encoded.at(train), split.labels[train], seed=split.seed)
        said[TEXT_HEAD] = head.predict_proba(encoded.at(test))
        if encoded.pairs.context is not None:
            of_blind = PostConfig(sees_image=False, ordered=ordered)
            blind = TrainedPostHead.fit(encoded.at(train), split.labels[train], seed=split.seed, config=of_blind)
            said[TEXT_AND_POST_HEAD] = blind.predict_proba(encoded.at(test))
    return {system: Answers(decide(system, chances) + 1, probabilities=chances) for system, chances in said.items()}
