"""`score`: new images and hashtags through a trained run, or through weights of the published scripts."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from consistency.backbone.resolve import resolve_backbone
from consistency.backbone.state_dict import read_state_dict
from consistency.data.files import find_images
from consistency.data.hashtags import hashtag_fault
from consistency.data.inputs import Inputs, list_skipped, read_inputs
from consistency.data.pairs import PairTable, Skipped
from consistency.durable import check_output, write_file
from consistency.errors import CacheError, InputError
from consistency.evaluation.controls import competes
from consistency.options import Encoding, Source
from consistency.progress import Progress, silent
from consistency.runs.read import Run, read_run
from consistency.scale import SCORES
from consistency.text import to_csv
from embedcache.fingerprint import difference
from heads.model import HeadEnsemble, TrainedHead, load_head
from heads.published import import_published
from heads.similarity import SimilarityModel
from koclip_consistency.workflows.encode import Encoded, encode_pairs, set_threads

if TYPE_CHECKING:
    from finetune.model import Finetuned

COLUMNS = ("row", "image", "hashtag", "score", "predicted", "value", "p1", "p2", "p3", "p4", "p5")


@dataclass(frozen=True, eq=False)
class Answers:
    """rows: (m,) int64 indices of the table that have an answer. predicted: (m,) 1..5. values: (m,) float64.
    probabilities: (m, 5) float64, or None."""

    rows: npt.NDArray[np.int64]
    predicted: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]
    probabilities: npt.NDArray[np.float64] | None
    skipped: tuple[Skipped, ...]


@dataclass(frozen=True, eq=False)
class Scorer:
    system: str
    answer: Callable[[Inputs, Source], Answers]


def load_scorer(
    model: Path,
    *,
    system: str | None = None,
    backbone: str | None = None,
    cache: Path = Path("cache"),
    device: str = "auto",
    threads: int | None = None,
    progress: Progress = silent,
) -> Scorer:
    """The trained system of a run folder; `system` where it holds several. Raises InputError where there is none.

    model: the folder, or a published weight file (.pth) of `backbone`: a `classifier`, or a fine_tuned_*.pth.
    """
    if model.suffix == ".pth":
        if backbone is None:
            raise InputError(f"{model} does not say whose weights it holds: name the backbone with --backbone")
        encoding = Encoding(backbone=backbone, cache=cache, decode="published", device=device, threads=threads)
        return _published(model, encoding, progress)
    if backbone is not None:
        raise InputError(f"{model} is no .pth file: a run folder knows its backbone, leave --backbone out")
    run = read_run(model)
    trained = _trained_systems(run)
    if not trained:
        raise InputError(f"{model} holds nothing that can score: name a run of similarity, heads or finetune")
    if system is None and len(trained) > 1:
        raise InputError(f"{model} holds {', '.join(trained)}: choose one with --system")
    system = system or trained[0]
    if system not in trained:
        raise InputError(f"{model} has no system {system}: it holds {', '.join(trained)}")
    if (model / "model").is_dir():
        from finetune.model import load_finetuned

        set_threads(threads)
        return Scorer(system, _by_pictures(load_finetuned(model, device=device), progress))
    encoding = _encoding(run, cache=cache, device=device, threads=threads)
    return Scorer(system, _on_embeddings(run, system, encoding, progress))


def _trained_systems(run: Run) -> list[str]:
    """The systems whose thresholds or weights lie in the folder."""
    if (run.path / "thresholds.json").is_file():
        return list(_thresholds(run))
    if (run.path / "head.json").is_file():
        systems = dict.fromkeys(result.predictions.system for result in run.results)
        return list(filter(competes, systems))
    return []


def _thresholds(run: Run) -> dict[str, SimilarityModel]:
    """What `similarity` fitted, by system. Raises InputError where the file is damaged."""
    path = run.path / "thresholds.json"
    try:
        saved = json.loads(path.read_bytes())
        return {system: SimilarityModel.from_dict(values) for system, values in saved.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is damaged ({type(error).__name__}: {error}): run similarity again") from error


def _encoding(run: Run, *, cache: Path, device: str, threads: int | None) -> Encoding:
    """That of the run, here and now. Raises InputError where run.json does not tell it."""
    try:
        recorded, _ = run.config["encoding"], run.info["fingerprint"]
        return Encoding(**{**recorded, "cache": cache, "device": device, "threads": threads, "extract": True})
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{run.path / 'run.json'} does not say how images were encoded, in words this version knows ({error}): "
            "run its command again"
        ) from error


def _on_embeddings(
    run: Run, system: str, encoding: Encoding, progress: Progress
) -> Callable[[Inputs, Source], Answers]:
    if (run.path / "thresholds.json").is_file():
        model, head = _thresholds(run)[system], None
    else:
        model, head = None, load_head(run.path)

    def answer(inputs: Inputs, source: Source) -> Answers:
        encoded = encode_pairs(inputs, encoding, source, progress=progress)
        if encoded.fingerprint != run.info["fingerprint"]:
            differing = ", ".join(difference(run.info.get("fingerprint_fields") or {}, encoded.cache.fields))
            raise CacheError(
                f"{run.path} was trained on other embeddings of {encoding.backbone} (fingerprint "
                f"{run.info['fingerprint'][:12]}) than are at hand now ({encoded.fingerprint[:12]}); they differ in "
                f"{differing}: use the same, or train again"
            )
        if head is not None:
            return _by_head(head, encoded)
        assert model is not None
        rows = encoded.usable(np.arange(len(inputs.table)))
        values = encoded.at(rows).cosine()
        return Answers(rows, model.predict(values) + 1, values, None, encoded.skipped)

    return answer


def _by_head(head: TrainedHead | HeadEnsemble, encoded: Encoded) -> Answers:
    rows = encoded.usable(np.arange(len(encoded.position)))
    said = head.predict(encoded.at(rows))
    return Answers(rows, said.predicted + 1, said.values, said.probabilities, encoded.skipped)


def _published(path: Path, encoding: Encoding, progress: Progress) -> Scorer:
    """A published weight file, with images prepared as its script did."""
    if any(name.startswith("classifier.") for name in read_state_dict(path)):
        from consistency.backbone.model import load_backbone
        from finetune.model import load_published

        set_threads(encoding.threads)
        resolved = resolve_backbone(encoding.backbone)
        backbone = load_backbone(resolved, device=encoding.device, precision="fp32", decode=encoding.decode)
        return Scorer("finetune-paper", _by_pictures(load_published(path, backbone), progress))
    head = import_published(path)

    def answer(inputs: Inputs, source: Source) -> Answers:
        return _by_head(head, encode_pairs(inputs, encoding, source, progress=progress))

    return Scorer("heads-paper", answer)


def _by_pictures(model: "Finetuned", progress: Progress) -> Callable[[Inputs, Source], Answers]:
    def answer(inputs: Inputs, source: Source) -> Answers:
        rows, probabilities, skipped = model.predict_proba(inputs.table, inputs.files, progress=progress)
        return _from_probabilities(rows, probabilities, inputs.skipped + tuple(skipped))

    return answer


def _from_probabilities(
    rows: npt.NDArray[np.int64], probabilities: npt.NDArray[np.float64], skipped: tuple[Skipped, ...]
) -> Answers:
    return Answers(rows, probabilities.argmax(axis=1) + 1, probabilities @ SCORES, probabilities, skipped)


def score_image(
    scorer: Scorer, image: Path, hashtags: Sequence[str], source: Source
) -> tuple[list[dict[str, Any]], tuple[Skipped, ...]]:
    """Scores of one image's hashtags, best first."""
    n = len(hashtags)
    for hashtag in hashtags:
        if fault := hashtag_fault(hashtag):
            raise InputError(f"the hashtag {hashtag!r} cannot be scored: {fault}")
    table = PairTable(
        rows=np.arange(1, n + 1),
        images=np.full(n, image.name, dtype=object),
        hashtags=np.array(hashtags, dtype=object),
        scores=np.zeros(n, dtype=np.int64),
        path=image,
        digest="",
        skipped=(),
    )
    files = find_images(table.images, image.parent)
    if problem := files[image.name].problem:
        raise InputError(f"{image} cannot be scored: {problem}")
    inputs = Inputs(table, files, ())
    answers = scorer.answer(inputs, source)
    if not len(answers.rows):
        raise InputError(f"{image} cannot be scored: {answers.skipped[0].reason}")
    records = _records(inputs, answers)
    return sorted(records, key=lambda record: -record["value"]), answers.skipped


def score_table(scorer: Scorer, source: Source, out: Path) -> tuple[list[dict[str, Any]], tuple[Skipped, ...]]:
    """Scores of every row of a CSV, written to `out`; its score column may be missing.

    Rows that cannot be scored are listed in a file beside it.
    """
    check_output(out)
    inputs = read_inputs(source, require_scores=False)
    answers = scorer.answer(inputs, source)
    records = _records(inputs, answers)
    rows = (["" if record.get(name) is None else record[name] for name in COLUMNS] for record in records)
    write_file(out, to_csv(COLUMNS, rows))
    list_skipped(out, answers.skipped)
    return records, answers.skipped


def _records(inputs: Inputs, answers: Answers) -> list[dict[str, Any]]:
    table, records = inputs.table, []
    for i, row in enumerate(answers.rows):
        record: dict[str, Any] = {
            "row": int(table.rows[row]),
            "image": table.images[row],
            "hashtag": table.hashtags[row],
            "score": int(table.scores[row]) or None,
            "predicted": int(answers.predicted[i]),
            "value": float(answers.values[i]),
        }
        if answers.probabilities is not None:
            record |= {f"p{k + 1}": float(p) for k, p in enumerate(answers.probabilities[i])}
        records.append(record)
    return records
