"""`similarity` for a table of any number of rows: thresholds from counted cosines, answers written as they are read."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from consistency.backbone.embeddings import PairEmbeddings
from consistency.backbone.resolve import ResolvedBackbone
from consistency.data.large_split import LargeSplit, draw_split, grouped_values
from consistency.data.large_table import LargeTable
from consistency.data.splits import Whole
from consistency.data.spool import Spool
from consistency.data.tables import TableFile
from consistency.evaluation.intervals import BOOTSTRAP_SEED, bootstrap_intervals, counted_intervals
from consistency.evaluation.metrics import METRICS, cell_metrics, spearman_of_groups
from consistency.evaluation.results import NO_BACKBONE, CountedResult
from consistency.options import SimilarityOptions, as_config
from consistency.progress import Reporter
from consistency.report.plots import counted_figures
from consistency.runs.folder import SPLIT_COLUMNS, RunFolder
from consistency.scale import CLASSES, SCORES, Floats, Ints
from consistency.text import csv_cell, csv_lines
from embedcache.fingerprint import fingerprint
from embedcache.store import EmbeddingCache
from heads.counted import fit_counted
from heads.similarity import SimilarityModel
from koclip_consistency.workflows.clock import Clock
from koclip_consistency.workflows.division import (
    FEW_CLUSTERS,
    Division,
    describe_few,
    describe_shared,
    describe_unknown,
)
from koclip_consistency.workflows.large import fill_for
from koclip_consistency.workflows.trial import Outcome

RANKED = 65_536  # test rows up to which Spearman's correlation has an interval, for which all rows are in memory
LEFT_OUT = "in bounded memory there are no controls that read texts and no record of familiar hashtags"
UNRANKED = "beyond {:,} test rows Spearman's correlation has no interval in bounded memory"
TEST_ROWS = "SELECT row, image, hashtag, score, cluster, value FROM answered WHERE tested ORDER BY row"

Batches = Iterator[dict[str, npt.NDArray[np.int64]]]


@dataclass(frozen=True, eq=False)
class _System:
    """What answers a row.

    Attributes
    ----------
    name, backbone : str
        As results name them.
    predict : callable
        Predicted scores (n,) int64 and what ranks them (n,) float64, from cosines (n,).
    chances : (5,) float64 or None
        The probabilities that a control gives every row.
    """

    name: str
    backbone: str
    predict: Callable[[Floats], tuple[Ints, Floats]]
    chances: Floats | None = None


def needs_memory(options: SimilarityOptions, backbone: ResolvedBackbone) -> str | None:
    """Name what was asked for that holds all rows in memory; None if nothing does."""
    asked = {
        "--split": options.evaluation.split is not None,
        "--protocol paper": options.evaluation.protocol == "paper",
        "--near-duplicates": options.evaluation.near_duplicates is not None,
        "--intervals two-way": options.evaluation.intervals == "two-way",
        "--folds": options.folds is not None,
        "--post-column": options.source.post_column is not None,
        "several score columns": len(options.source.score_columns) > 1,
        "a fine-tuned backbone": bool(backbone.trained_on),
    }
    return next((name for name, given in asked.items() if given), None)


def run_large_similarity(options: SimilarityOptions, file: TableFile, reporter: Reporter) -> Outcome:
    """Do what `similarity.run_similarity` does for a table whose rows wait on disk.

    The split, the thresholds on up to 20,000 distinct cosines, the answers and their metrics are those of the run in
    memory. In memory are 200 bytes for each test image (or hashtag), and what `LargeTable` and `draw_split` hold.
    """
    source, evaluation = options.source, options.evaluation
    clock = Clock(reporter.detail)
    RunFolder.check(options.output, "similarity")
    with Spool() as spool:
        table = LargeTable.read(spool, source, file, require_scores=True)
        clock.lap("read")
        filled = fill_for(table, options.encoding, source, reporter.progress)
        clock.lap("encode")
        whole: Whole = "hashtags" if evaluation.protocol == "hashtag" else "images"
        split = draw_split(
            table,
            whole=whole,
            seed=evaluation.seed,
            test_fraction=evaluation.test_fraction,
            on_conflict=source.on_conflict,
        )
        clock.lap("split")
        _write_cosines(split, filled.cache)
        spool.run("CREATE TABLE train_values AS SELECT value, score FROM answered WHERE NOT tested ORDER BY value")
        spool.run("CREATE TABLE test_values AS SELECT value, score FROM answered WHERE tested ORDER BY value")
        spool.run(f"CREATE TABLE test_rows AS {TEST_ROWS}")
        models, quantiles = fit_counted(
            options.methods, lambda: grouped_values(spool.batches("SELECT * FROM train_values")), options.objective
        )
        clock.lap("fit")
        systems = [*_controls(spool), *_learned(models, filled.resolved.name)]
        config = as_config(options)
        folder = RunFolder.open(options.output, command="similarity", backbone=options.encoding.backbone, config=config)
        folder.write_json("thresholds.json", {system: model.as_dict() for system, model in models.items()})
        results: list[CountedResult] = []
        ranks = _ranks(spool)
        lines = (_answer(spool, system, evaluation.protocol, ranks, results) for system in systems)
        folder.write_counted(results, (part for system in lines for part in system))
        folder.write_files(counted_figures(results))
        folder.write_parts("split.csv", SPLIT_COLUMNS, _split_lines(split))
        folder.write_skipped_parts(table.skipped_parts())
        clock.lap("write")
        n, clusters = spool.one("SELECT count(*), count(DISTINCT cluster) FROM test_rows")
        division = _describe(split, evaluation.protocol, clusters, filled.resolved, table.several)
        left_out = (LEFT_OUT, *([UNRANKED.format(RANKED)] if n > RANKED else []))
        folder.finish(
            as_config(
                {
                    "division": division,
                    "extraction": filled.report,
                    "bounded_memory": "; ".join(left_out),
                    **({"thresholds": quantiles} if quantiles else {}),
                }
            ),
            seeds={"seed": evaluation.seed, "bootstrap": BOOTSTRAP_SEED},
            data_digest=file.digest,
            pictures_digest=table.images_digest(),
            fingerprint=fingerprint(filled.cache.fields),
            fields=filled.cache.fields,
            timings=clock.seconds,
        )
    notes = (*division.notes, filled.note, *([quantiles] if quantiles else []), *left_out, *folder.notes)
    return Outcome(folder.path, (), table.first_skipped, notes, counted=tuple(results), lost=table.skipped)


def _write_cosines(split: LargeSplit, cache: EmbeddingCache) -> None:
    """Write the table `answered`: row, image, hashtag, score, cluster, tested and value, the cosine."""
    spool = split.table.spool
    kinds = dict.fromkeys(("row", "image", "hashtag", "cluster"), "BIGINT")
    spool.create("answered", {**kinds, "score": "TINYINT", "tested": "BOOLEAN", "value": "DOUBLE"})  # type: ignore[dict-item]
    for rows in spool.batches("SELECT * FROM sides"):
        pairs = _pairs_of(split.table, cache, rows["shown"], rows["hashtag"])
        spool.append("answered", {**rows, "value": pairs.cosine()})
    spool.seal("answered")


def _pairs_of(table: LargeTable, cache: EmbeddingCache, images: Ints, hashtags: Ints) -> PairEmbeddings:
    """The embeddings of pairs by the numbers of their images and hashtags, which the cache has."""
    shown, image_index = np.unique(images, return_inverse=True)
    tags, hashtag_index = np.unique(hashtags, return_inverse=True)
    keys = np.frombuffer(bytes.fromhex("".join(table.spool.texts("found", shown, "identity"))), np.uint8)
    vectors, rows = cache.present("image", keys.reshape(len(shown), -1))
    texts, places = cache.hashtags(table.spool.texts("hashtags", tags).tolist())
    return PairEmbeddings(vectors, texts, rows[image_index], places[hashtag_index])


def _controls(spool: Spool) -> list[_System]:
    """The controls that know the scores of the training rows alone."""
    counts = np.zeros(CLASSES, np.int64)
    for _, some in grouped_values(spool.batches("SELECT * FROM train_values")):
        counts += some.sum(axis=0)
    middle = np.searchsorted(np.cumsum(counts), (counts.sum() - 1) // 2, side="right")
    chances = {"majority": counts / counts.sum(), "median": np.eye(CLASSES)[middle]}

    def constant(of: Floats) -> Callable[[Floats], tuple[Ints, Floats]]:
        answer, value = int(of.argmax()) + 1, float(of @ SCORES)
        return lambda values: (np.full(len(values), answer), np.full(len(values), value))

    return [_System(name, NO_BACKBONE, constant(of), of) for name, of in chances.items()]


def _learned(models: dict[str, SimilarityModel], backbone: str) -> list[_System]:
    def cut(model: SimilarityModel) -> Callable[[Floats], tuple[Ints, Floats]]:
        return lambda values: (model.predict(values) + 1, values)

    return [_System(name, backbone, cut(model)) for name, model in models.items()]


def _ranks(spool: Spool) -> tuple[float | None, tuple[float, float] | None]:
    """Spearman's correlation of scores and cosines on the test rows, and its interval."""
    truth = np.zeros(CLASSES, np.int64)
    for batch in spool.batches("SELECT score FROM test_values"):
        truth += np.bincount(batch["score"], minlength=CLASSES + 1)[1:]
    figure = spearman_of_groups(
        (counts for _, counts in grouped_values(spool.batches("SELECT * FROM test_values"))), truth
    )
    if not np.isfinite(figure):
        return None, None
    if truth.sum() > RANKED:
        return float(figure), None
    parts = [*spool.batches("SELECT score, value, cluster FROM test_rows")]
    scores, values, clusters = (
        np.concatenate([part[name] for part in parts]) for name in ("score", "value", "cluster")
    )
    scores = scores.astype(np.int64)
    found = bootstrap_intervals(scores, scores, values, None, clusters, names=("spearman",))
    return float(figure), found["spearman"]


def _answer(
    spool: Spool,
    system: _System,
    protocol: str,
    ranks: tuple[float | None, tuple[float, float] | None],
    results: list[CountedResult],
) -> Iterator[bytes]:
    """The lines of a system in `predictions.csv`; its result is added to `results` after the last."""
    count = spool.one("SELECT count(DISTINCT cluster) FROM test_rows")[0]
    cells = np.zeros((count, CLASSES**2), np.int64)
    numbers: dict[int, int] = {}
    name = csv_cell(system.name)
    chances = ",".join([""] * CLASSES if system.chances is None else map(csv_cell, system.chances.tolist()))
    for rows in spool.batches("SELECT * FROM test_rows"):
        scores, clusters = rows["score"].astype(np.int64), rows["cluster"].tolist()
        predicted, values = system.predict(rows["value"])
        index = np.array([numbers.setdefault(cluster, len(numbers)) for cluster in clusters])
        np.add.at(cells, (index, (scores - 1) * CLASSES + predicted - 1), 1)
        columns = (
            rows["row"].tolist(),
            *(_cells(spool.texts(f"{kind}s", rows[kind])) for kind in ("image", "hashtag")),
            scores.tolist(),
            predicted.tolist(),
            map(csv_cell, values.tolist()),
            clusters,
        )
        yield "".join(
            f"{name},{row},{image},{hashtag},{score},{answer},{value},{chances},test,{cluster}\n"
            for row, image, hashtag, score, answer, value, cluster in zip(*columns, strict=True)
        ).encode()
    gaps = None
    if system.chances is not None:  # the same for every row, so that all are in one bin
        hits = cells.reshape(-1, CLASSES, CLASSES).diagonal(axis1=1, axis2=2).sum(axis=1)
        gaps = (hits - cells.sum(axis=1) * system.chances.max())[:, None]
    once = cell_metrics(
        cells.sum(axis=0, keepdims=True).astype(np.float64), None if gaps is None else gaps.sum(axis=0)[None]
    )
    figures = {key: float(found[0]) if np.isfinite(found[0]) else None for key, found in once(np.ones((1, 1))).items()}
    intervals = counted_intervals(figures, cells, gaps)
    if system.chances is None:
        figures["spearman"], intervals["spearman"] = ranks
    counts = cells.sum(axis=0).reshape(CLASSES, CLASSES)
    results.append(
        CountedResult(
            system.name, system.backbone, protocol, "test", counts, {key: figures[key] for key in METRICS}, intervals
        )
    )


def _cells(texts: npt.NDArray[np.object_]) -> list[str]:
    known = {text: csv_cell(text) for text in set(texts)}
    return [known[text] for text in texts]


def _split_lines(split: LargeSplit) -> Iterator[bytes]:
    for part in split.parts():
        columns = (part["row"].tolist(), part["image"], part["hashtag"], part["tested"])
        yield csv_lines(
            (row, image, hashtag, "test" if tested else "train", "")
            for row, image, hashtag, tested in zip(*columns, strict=True)
        )


def _describe(
    split: LargeSplit, protocol: str, clusters: int, backbone: ResolvedBackbone, several: str | None
) -> Division:
    """What `division.describe_division` says of a split in memory."""
    notes = [several] if several else []
    notes.append(f"protocol {protocol}{describe_shared(split.whole)}: {split.leakage}")
    known = backbone.trained_on.complete
    if not known:
        notes.append(describe_unknown(backbone))
    if clusters < FEW_CLUSTERS:
        notes.append(describe_few(clusters, split.whole))
    return Division({"test": split.leakage}, tuple(notes), trained_on_known=known)
