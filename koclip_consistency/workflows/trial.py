"""One trial of one or several systems, as every command that evaluates runs it: read, split, encode, evaluate, write.

A trial holds state and writes it. It never chooses: the command decides which system predicts, and for which rows.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from consistency.backbone.resolve import ResolvedBackbone
from consistency.data.folds import with_folds
from consistency.data.inputs import read_inputs
from consistency.data.memo import DigestMemo
from consistency.data.pairs import Skipped
from consistency.data.tables import TableFile
from consistency.errors import DataError
from consistency.evaluation.intervals import BOOTSTRAP_SEED
from consistency.evaluation.learning_curve import LearningCurve
from consistency.evaluation.panel import describe_panel
from consistency.evaluation.results import CountedResult, Result
from consistency.evaluation.seeds import Trainings
from consistency.evaluation.systems import ON_EMBEDDINGS
from consistency.options import Encoding, Evaluation, Output, Source, as_config
from consistency.progress import Reporter
from consistency.report.plots import result_figures
from consistency.runs.folder import RunFolder
from embedcache.fingerprint import fingerprint
from heads.familiarity import Unfamiliar
from koclip_consistency.workflows.answers import Answers, control_answers, evaluate_answers
from koclip_consistency.workflows.clock import Clock
from koclip_consistency.workflows.division import describe_division, split_table
from koclip_consistency.workflows.encode import Encoded, encode_pairs, with_posts

Rows = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Number = TypeVar("Number", np.int64, np.float64)


class Options(Protocol):
    """The options that every command that evaluates has."""

    @property
    def source(self) -> Source: ...
    @property
    def encoding(self) -> Encoding: ...
    @property
    def evaluation(self) -> Evaluation: ...
    @property
    def output(self) -> Output: ...


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a command that evaluates returns to the screen.

    Attributes
    ----------
    path
        The run folder.
    results
        One per system and set of rows.
    skipped
        Rows and images that were left out, or the first of them.
    notes
        Lines beside the table.
    seconds
        Duration of the run of each result, if there are several runs; otherwise empty.
    trainings
        The metrics of repeated training, if `--seeds` asked for it.
    curve
        Quality against the number of labelled images, if `--learning-curve` asked for it.
    counted
        The results of a large table, whose rows are not in memory.
    lost
        Number of rows and images that were left out, if `skipped` is only the first of them.
    """

    path: Path
    results: tuple[Result, ...]
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...] = ()
    seconds: tuple[float, ...] = ()
    trainings: Trainings | None = None
    curve: LearningCurve | None = None
    counted: tuple[CountedResult, ...] = ()
    lost: int | None = None


Answer = Callable[[Rows, Rows], Mapping[str, Answers]]


class Trial:
    """One command's run, from its options to its run folder.

    Parameters
    ----------
    command
        Name of the command, for run.json.
    options
        Its options.
    reporter
        Where progress goes.
    validation
        Whether the split needs validation rows.
    backbone_name
        How results name the backbone; as the options name it if None.
    table
        The table, opened; None opens the one of the options.

    Raises
    ------
    InputError
        If the run folder cannot be made, or the data cannot be used; before any work.
    """

    def __init__(
        self,
        command: str,
        options: Options,
        reporter: Reporter,
        *,
        validation: bool = False,
        backbone_name: str | None = None,
        table: TableFile | None = None,
    ) -> None:
        self.command, self.options, self.reporter = command, options, reporter
        self._backbone_name = backbone_name
        self.clock = Clock(reporter.detail)
        RunFolder.check(options.output, command)
        near = options.evaluation.near_duplicates
        self._memo = DigestMemo(options.encoding.cache)
        self.inputs = read_inputs(
            options.source, near_duplicates=near, memo=self._memo, table=table, progress=reporter.progress
        )
        self.split = split_table(self.inputs, options.source, options.evaluation, validation=validation)
        self.results: list[Result] = []
        self.backbone: ResolvedBackbone | None = None  # that the systems use, once it is known
        self._encoded: Encoded | None = None
        self._ordered = False  # whether the order of a post is read
        self.clock.lap("read")

    def encode(self, *, posts: bool = False, ordered: bool = False) -> Encoded:
        """Return the embeddings of every pair, with the context of its post if `posts` is set.

        The backbone encodes what the cache lacks. If `ordered` is set, controls too read the order of a post.
        """
        o, self._ordered = self.options, ordered
        encoded = encode_pairs(self.inputs, o.encoding, o.source, progress=self.reporter.progress)
        self._memo.save()  # the cache exists now
        self._encoded = with_posts(encoded, self.inputs) if posts else encoded
        self.backbone = self._encoded.resolved
        if self._backbone_name is not None:
            self.backbone = replace(self.backbone, name=self._backbone_name)
        self.clock.lap("encode")
        return self._encoded

    @property
    def encoded(self) -> Encoded:
        """The result of `encode`."""
        assert self._encoded is not None, "encode() comes first"
        return self._encoded

    def sides(self) -> tuple[Rows, Rows]:
        """The training rows and the test rows that have embeddings."""
        return self.encoded.side(self.split, "train"), self.encoded.side(self.split, "test")

    def open(self) -> RunFolder:
        """Open the run folder, a new one or that of `--resume`, and write the options to it."""
        o = self.options
        self.folder = RunFolder.open(
            o.output, command=self.command, backbone=o.encoding.backbone, config=as_config(self.options)
        )
        return self.folder

    @contextmanager
    def resumable(self) -> Iterator[None]:
        """If the block is interrupted, the error message says how to continue the run."""
        with resumable("--resume", self.folder.path):
            yield

    def add(self, system: str, rows: Rows, answers: Answers, *, side: str = "test", encoded: bool = True) -> Result:
        """Evaluate the predictions of a system.

        Parameters
        ----------
        system
            Its name.
        rows
            (n,) int64, the rows of the table that it predicts.
        answers
            Its predictions for them.
        side
            "test", or "cv" for answers out of fold.
        encoded
            Whether it works on embeddings of the backbone.

        Raises
        ------
        ValueError
            If there are neither probabilities nor both predicted scores and values.
        """
        result = self.evaluate(system, rows, answers, side=side, encoded=encoded)
        self.results.append(result)
        return result

    def evaluate(
        self, system: str, rows: Rows, answers: Answers, *, side: str = "test", encoded: bool = True
    ) -> Result:
        """Evaluate as `add` does, without a place among the results of the run."""
        backbone = self.backbone if encoded else None
        two_way = self.options.evaluation.intervals == "two-way"
        return evaluate_answers(system, backbone, self.inputs, self.split, rows, answers, side=side, two_way=two_way)

    def add_controls(self, train: Rows, test: Rows) -> None:
        """Train the controls on `train` and evaluate them on `test`; every table has them."""
        for system, answers in self._controls(train, test).items():
            self.add(system, test, answers, encoded=system in ON_EMBEDDINGS)
        self.clock.lap("controls")

    def _controls(self, train: Rows, test: Rows) -> Mapping[str, Answers]:
        return control_answers(self.inputs, self.split, train, test, self._encoded, ordered=self._ordered)

    def cross_validate(self, folds: int, answer: Answer) -> None:
        """Evaluate pooled out-of-fold predictions for all rows with embeddings.

        Parameters
        ----------
        folds
            Number of outer folds; folds that the split already has are used.
        answer
            Trains each system on the given training rows and returns its predictions for the held-out rows.

        Raises
        ------
        DataError
            If a fold has no row that can be used.
        """
        self.split = with_folds(self.split, folds)
        rows = self.encoded.usable(np.flatnonzero(self.split.kept))
        order: list[Rows] = []
        blind: Mapping[str, Answers] = {}
        pooled: dict[str, list[Answers]] = {}
        for fold in range(folds):
            train, held_out = rows[self.split.fold[rows] != fold], rows[self.split.fold[rows] == fold]
            if not (len(train) and len(held_out)):
                raise DataError(f"fold {fold + 1} of {folds} has no image that can be used: ask for fewer folds")
            order.append(held_out)
            blind = self._controls(train, held_out)
            for system, said in {**blind, **answer(train, held_out)}.items():
                pooled.setdefault(system, []).append(said)
        sequence = np.argsort(np.concatenate(order))

        def whole(parts: Iterable[npt.NDArray[Number] | None]) -> npt.NDArray[Number] | None:
            there = [part for part in parts if part is not None]
            return np.concatenate(there)[sequence] if there else None

        for system, said_by_fold in pooled.items():
            answers = Answers(
                whole(part.predicted for part in said_by_fold),
                whole(part.values for part in said_by_fold),
                whole(part.probabilities for part in said_by_fold),
            )
            self.add(system, rows, answers, side="cv", encoded=system not in blind or system in ON_EMBEDDINGS)
        self.clock.lap("cross-validate")

    def finish(
        self,
        *,
        usable: npt.NDArray[np.bool_],
        skipped: Sequence[Skipped],
        fields: Mapping[str, str],
        details: Mapping[str, Any],
        notes: Sequence[str] = (),
        unfamiliar: Unfamiliar | None = None,
    ) -> Outcome:
        """Write everything except the weights. run.json comes last: a folder without it is unfinished.

        Parameters
        ----------
        usable
            (n,) bool, the rows of the table whose images could be used.
        skipped
            Rows and images that were left out.
        fields
            The fields of the fingerprint of the embeddings.
        details
            What run.json records besides the options.
        notes
            Lines for the screen.
        unfamiliar
            The test rows whose hashtag is unlike every hashtag of train, if that was asked.
        """
        inputs, folder = self.inputs, self.folder
        division = describe_division(self.split, inputs, usable, self.backbone)
        near, digest = inputs.near, self.split.digest
        panel = describe_panel(inputs.table, self.options.source.aggregate)
        own = [unfamiliar.note] if unfamiliar and unfamiliar.rows else []
        own += [panel.note] if panel else []
        folder.write_results(self.results)
        folder.write_files(result_figures(self.results))
        folder.write_split(inputs.table, self.split)
        folder.write_skipped(skipped)
        self.clock.lap("write")
        folder.finish(
            as_config(
                {
                    "division": division,
                    **({"split_digest": digest} if digest else {}),
                    **({"near_duplicates": {"joined": near.joined, "groups": near.groups}} if near else {}),
                    **({"unfamiliar": unfamiliar} if unfamiliar else {}),
                    **({"panel": panel} if panel else {}),
                    **details,
                }
            ),
            seeds={"seed": self.options.evaluation.seed, "bootstrap": BOOTSTRAP_SEED},
            data_digest=inputs.table.digest,
            pictures_digest=inputs.pictures_digest,
            fingerprint=fingerprint(fields),
            fields=fields,
            timings=self.clock.seconds,
        )
        return Outcome(folder.path, tuple(self.results), tuple(skipped), (*division.notes, *own, *notes, *folder.notes))


@contextmanager
def resumable(option: str, path: Path) -> Iterator[None]:
    """Attach to an interruption of the block the option that continues the work."""
    try:
        yield
    except KeyboardInterrupt as error:
        error.add_note(f"{option} {path}")
        raise
