"""`cache export OUT.parquet`: pairs with their vectors, labels and what runs said of them, for viewers and programs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

import numpy as np

from consistency.backbone.text_recipe import TextRecipe
from consistency.data.files import find_images
from consistency.data.inputs import list_skipped, read_table, refuse_skipped
from consistency.data.memo import DigestMemo
from consistency.data.pairs import PairTable, Skipped
from consistency.data.table_writer import Type, check_table_output, table_writer
from consistency.errors import DataError, InputError
from consistency.evaluation.results import Audited, Predictions
from consistency.options import CacheChoice, CacheExportOptions, Encoding
from consistency.report.standing import main_result
from consistency.runs.folder import CHANCES
from consistency.runs.read import Run, read_audit, read_options, read_run, read_sides
from embedcache.store import EmbeddingCache
from koclip_consistency.workflows.cache import NOT_STORED, chosen, only_one
from koclip_consistency.workflows.encode import recipe_of

BATCH = 4096  # rows of a row group: 16 MB of two vectors of 512 numbers
PROVENANCE = "koclip_consistency"  # key of the file's metadata
PROGRAM = "koclip-consistency"
# Rows are answered in several splits if a run has folds, too: the first of these counts.
ORDER = ("test", "cv", "val", "train")


@dataclass(frozen=True)
class Said:
    """What runs said of a table, by row number.

    Attributes
    ----------
    answers : mapping of int to (Predictions, int)
        The predictions that a row is in, and its place there.
    sides : mapping of int to str
        Side of the split.
    doubts : mapping of int to Audited
        Lines of the audit.
    runs : list of dict
        Which runs these are, for the file's metadata.
    """

    answers: Mapping[int, tuple[Predictions, int]] = field(default_factory=dict)
    sides: Mapping[int, str] = field(default_factory=dict)
    doubts: Mapping[int, Audited] = field(default_factory=dict)
    runs: Sequence[Mapping[str, Any]] = ()


def export_table(options: CacheExportOptions) -> tuple[dict[str, Any], tuple[Skipped, ...]]:
    """Write one row for each pair whose image and hashtag are in the cache.

    Returns
    -------
    written : dict
        What `--json` prints.
    skipped : tuple of Skipped
        Rows without vectors.

    Raises
    ------
    InputError
        If the file cannot be written, or a run cannot be read.
    DataError
        If a run is about another table.
    """
    out, source = options.file, options.source
    check_table_output(out)
    table = read_table(source, require_scores=False)
    runs = [read_run(path) for path in options.runs]
    said = _gather(runs, options.system, table)
    cache = _cache(options.choice, runs, recipe_of(options.encoding))
    files = find_images(table.images, source.images, DigestMemo(options.choice.cache))
    pairs, usable = cache.features(table, files)
    lost = np.flatnonzero(~usable)
    asked = zip(table.rows[lost].tolist(), table.images[lost], table.hashtags[lost], strict=True)
    skipped = table.skipped + tuple(Skipped(*pair, files[pair[1]].problem or NOT_STORED) for pair in asked)
    refuse_skipped(skipped, source.on_error)
    if not len(pairs):
        raise InputError(f"the cache has no vector of any pair of {source.data}: run extract, or name another --cache")
    provenance = {
        "program": PROGRAM,
        "version": metadata.version(PROGRAM),
        "data_digest": table.digest,
        "fingerprint": cache.fingerprint,
        "fingerprint_fields": dict(cache.fields),
        "texts": {"text": cache.recipe.text, "templates": list(cache.recipe.templates)},
        "runs": list(said.runs),
    }
    columns = _columns(pairs.dim, said)
    content = {PROVENANCE: json.dumps(provenance, ensure_ascii=False, sort_keys=True)}
    places = np.flatnonzero(usable)
    with table_writer(out, [(name, kind) for name, kind in columns.items()], content) as append:
        for start in range(0, len(places), BATCH):
            part = pairs.take(np.arange(start, min(start + BATCH, len(places))))
            cells = _cells(table, places[start : start + BATCH], said)
            cells["image_vector"], cells["hashtag_vector"] = part.images[part.image_index], part.hashtag_vectors()
            cells["similarity"] = part.cosine().tolist()
            append([cells[name] for name in columns])
    list_skipped(out, skipped)
    written = {
        "out": str(out),
        "fingerprint": cache.fingerprint,
        "rows": len(places),
        "images": len(set(table.images[places])),
        "hashtags": len(set(table.hashtags[places])),
        "columns": list(columns),
        "damaged": cache.quarantined,
    }
    return written, skipped


def _columns(dim: int, said: Said) -> dict[str, Type]:
    found: dict[str, Type] = {"row": "integer", "image": "text", "hashtag": "text", "post": "text", "score": "integer"}
    found |= {"similarity": "number", "image_vector": dim, "hashtag_vector": dim}
    if said.sides:
        found["split"] = "text"
    if said.answers:
        found |= {"system": "text", "answered": "text", "predicted": "integer", "value": "number"}
        found |= dict.fromkeys(CHANCES, "number")
    if said.doubts:
        found |= {"doubt": "number", "suggested": "integer"}
    return found


def _cells(table: PairTable, places: Any, said: Said) -> dict[str, Any]:
    """The columns of some rows but their vectors."""
    rows = table.rows[places].tolist()
    images = table.images[places].tolist()
    posts = images if table.posts is None else [p or i for p, i in zip(table.posts[places], images, strict=True)]
    cells: dict[str, Any] = {
        "row": rows,
        "image": images,
        "hashtag": table.hashtags[places].tolist(),
        "post": posts,
        "score": [score or None for score in table.scores[places].tolist()],
        "split": [said.sides.get(row) for row in rows],
    }
    answers = [said.answers.get(row) for row in rows]
    cells["system"] = [answer and answer[0].system for answer in answers]
    cells["answered"] = [answer and answer[0].split for answer in answers]
    cells["predicted"] = [answer and int(answer[0].predicted[answer[1]]) for answer in answers]
    cells["value"] = [answer and float(answer[0].values[answer[1]]) for answer in answers]
    for score, name in enumerate(CHANCES):
        cells[name] = [
            float(answer[0].probabilities[answer[1], score]) if answer and answer[0].probabilities is not None else None
            for answer in answers
        ]
    doubts = [said.doubts.get(row) for row in rows]
    cells["doubt"] = [each and each.doubt for each in doubts]
    cells["suggested"] = [each and each.suggested for each in doubts]
    return cells


def _gather(runs: Sequence[Run], system: str | None, table: PairTable) -> Said:
    """What runs said of the rows of a table: predictions of the first one that is no audit, doubts of the first audit.

    Raises
    ------
    InputError
        If no run has the system.
    DataError
        If a run is about another table.
    """
    for run in runs:
        if run.info.get("data_digest") != table.digest:
            raise DataError(f"{run.path} is a run on another table than {table.path}: name its own table with --data")
    doubts: dict[int, Audited] = {}
    for run in runs:
        for line in () if doubts else read_audit(run.path) or ():
            doubts |= dict.fromkeys((line.row, *line.repeats), line)
    trained = [run for run in runs if run.command != "audit"]
    sides = next((found for run in (*trained, *runs) if (found := read_sides(run.path))), {})
    answers: dict[int, tuple[Predictions, int]] = {}
    answering = next((run for run in trained if system is None or _holds(run, system)), None)
    if system is not None and answering is None:
        raise InputError(f"no --run has predictions of {system}: name the run of that system")
    if answering is not None:
        chosen = system or main_result(answering.results).predictions.system
        by_split = {r.predictions.split: r.predictions for r in answering.results if r.predictions.system == chosen}
        for predictions in sorted(by_split.values(), key=lambda p: -ORDER.index(p.split)):
            answers |= {row: (predictions, place) for place, row in enumerate(predictions.rows.tolist())}
    about = [
        {key: run.info.get(key) for key in ("command", "backbone", "fingerprint", "seeds", "finished", "code_digest")}
        for run in runs
    ]
    return Said(answers, sides, doubts, about)


def _holds(run: Run, system: str) -> bool:
    return any(result.predictions.system == system for result in run.results)


def _cache(choice: CacheChoice, runs: Sequence[Run], recipe: TextRecipe) -> EmbeddingCache:
    """The chosen set of embeddings; that of the first run on frozen embeddings if the choice leaves several.

    Hashtags are read as that run put them to the model, otherwise by `recipe`.
    """
    for run in runs:
        for cache in chosen(choice):
            if cache.fingerprint == run.info.get("fingerprint") and "encoding" in run.config:
                encoding: Encoding = read_options(
                    run.path / "run.json", run.config["encoding"], Encoding, complete=False
                )
                return EmbeddingCache(cache.path, cache.fields, TextRecipe(encoding.text, encoding.templates))
    held = only_one(choice)
    return EmbeddingCache(held.path, held.fields, recipe)
