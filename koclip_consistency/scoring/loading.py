"""Loads a scorer: from a run of `similarity`, `heads` or `finetune`, an exported folder, or a published weight file."""

import functools
import json
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from consistency.backbone.embeddings import PairEmbeddings
from consistency.backbone.resolve import described, resolve_backbone
from consistency.backbone.state_dict import read_state_dict
from consistency.data.inputs import Inputs
from consistency.errors import CacheError, InputError
from consistency.evaluation.conformal import load_sets
from consistency.evaluation.systems import competes
from consistency.options import Device, Encoding, Source
from consistency.progress import Progress, silent
from consistency.runs.read import UNANSWERED, Run, read_info, read_options, read_run
from consistency.scale import SCORES, Floats, Ints
from embedcache.adopt import Verdict, read_verdict
from embedcache.fallback import FallbackCache
from embedcache.fingerprint import difference, fingerprint
from heads.by_post import ByPost
from heads.familiarity import Familiarity, load_familiarity
from heads.load import AnyHead, load_head
from heads.model import TrainedHead
from heads.post_head import TrainedPostHead
from heads.published import import_published
from heads.similarity import SimilarityModel
from koclip_consistency.scoring.encoder import WarmEncoder
from koclip_consistency.scoring.exported import compare_reference, is_exported, read_exported
from koclip_consistency.scoring.scorer import EncodedTable, Judgement, Scorer
from koclip_consistency.workflows.encode import fill_cache, load_encoder, recipe_of, resolve, set_threads

if TYPE_CHECKING:
    from consistency.backbone.model import Embedder
    from finetune.model import Finetuned

Judge = Callable[[PairEmbeddings], Judgement]
MakeSets = Callable[[Floats], Ints]  # probabilities (n, 5) to the lowest and highest score of each set (n, 2)


@dataclass(frozen=True)
class Origin:
    """The embeddings that a system was trained on.

    Attributes
    ----------
    path : Path
        Folder of the system.
    fingerprint : str
        Of the embeddings.
    fields : mapping of str to str
        What the fingerprint is made of; empty if that was not recorded.
    compare : callable
        Given the cache of the embeddings of now and what loads their backbone: how far they are from those of then,
        None if that is unknown. Called if the two differ in library versions only.
    """

    path: Path
    fingerprint: str
    fields: Mapping[str, str]
    compare: "Callable[[Path, Callable[[], Embedder]], Verdict | None]"


def load_scorer(
    model: Path | None,
    *,
    system: str | None = None,
    backbone: str | None = None,
    sets: float | None = None,
    cache: Path = Path("cache"),
    device: Device = "auto",
    threads: int | None = None,
    progress: Progress = silent,
    encoders: MutableMapping[str, WarmEncoder] | None = None,
    gradients: bool = False,
) -> Scorer:
    """Load the trained system of a run folder, a published weight file, or a backbone alone.

    A backbone is loaded when an image or hashtag first needs it; a fine-tuned one at once, since every answer does.

    Parameters
    ----------
    model : Path or None
        A run folder, a folder of several runs (as `demo` and `paper` write it), a folder that `export` wrote, or a
        published weight file (.pth): a `classifier`, or a fine_tuned_*.pth. Without one, the scorer gives the cosine
        and its standing, no scores.
    system : str, optional
        Which system, where there are several.
    backbone : str, optional
        The backbone that a weight file belongs to, or whose cosine is asked for; a run knows its own.
    sets : float, optional
        Level of the prediction sets, 0.50 to 0.99 in steps of 0.01.
    cache : Path
        Folder of the embeddings.
    device : str
        "auto", "cpu", "cuda" or "mps".
    threads : int, optional
        CPU threads of torch.
    progress : Progress
        Where the progress of encoding a table goes.
    encoders : mutable mapping, optional
        The encoders of earlier scorers by fingerprint and text recipe, for scorers that share one loaded backbone; a
        new one is added.
    gradients : bool
        Whether the model is to give gradients, for explanations: it is then not rewritten to be faster.

    Raises
    ------
    InputError
        If there is nothing that can score, or several systems and none is named, or no sets of this level.
    CacheError
        If the run was trained on other embeddings than this program makes now.
    """
    if sets is not None and (model is None or model.suffix == ".pth"):
        raise InputError("prediction sets need a run of heads or finetune: name it with --model")
    if model is None:
        if backbone is None:
            raise InputError("there is nothing to score with: name a run with --model, or a model with --backbone")
        encoding = Encoding(backbone=backbone, cache=cache, device=device, threads=threads)
        return _on_embeddings("cosine", None, encoding, progress, encoders=encoders, gradients=gradients)
    if model.suffix == ".pth":
        if backbone is None:
            raise InputError(f"{model} does not say whose weights it holds: name the backbone with --backbone")
        encoding = Encoding(backbone=backbone, cache=cache, decode="published", device=device, threads=threads)
        return _published(model, encoding, progress)
    if backbone is not None:
        raise InputError(f"{model} is no .pth file: a run folder knows its backbone, leave --backbone out")
    if is_exported(model):
        exported = read_exported(model)
        if system not in (None, exported.system):
            raise InputError(f"{model} has no system {system}: it holds {exported.system}")
        system, path, encoding = exported.system, None, exported.on(cache, device, threads)
        origin = Origin(
            model, exported.fingerprint, exported.fields, lambda _, load: compare_reference(exported, load())
        )
    else:
        run, system = choose_system(model, system)
        model = path = run.path
        if not is_finetuned(model):
            encoding, origin = _encoding(run, cache=cache, device=device, threads=threads), _origin(run)
    make_sets = None if sets is None else load_sets(model, sets)
    familiarity = load_familiarity(model)
    if is_finetuned(model):
        from finetune.model import load_finetuned

        set_threads(threads)
        tuned = load_finetuned(model, device=device)
        if path is None:
            _check_origin(origin, tuned.backbone.fields, Path(), lambda: tuned.backbone)
        return _finetuned(system, tuned, progress, familiarity, sets=make_sets, run=path)
    if (model / "thresholds.json").is_file():
        judge, post_read = _by_thresholds(read_thresholds(model)[system]), None
    else:
        head = load_head(model)
        judge, post_read = _by_head(head), head.reads_post if isinstance(head, TrainedPostHead | ByPost) else None
    return _on_embeddings(
        system,
        judge,
        encoding,
        progress,
        origin,
        familiarity=familiarity,
        post_read=post_read,
        sets=make_sets,
        run=path,
        encoders=encoders,
        gradients=gradients,
    )


def is_finetuned(model: Path) -> bool:
    """Whether a folder, of a run or exported, holds a fine-tuned model."""
    return (model / "model").is_dir() or (model / "finetune.json").is_file()


def choose_system(model: Path, system: str | None) -> tuple[Run, str]:
    """The run and the system in `model`, a run folder or a folder of several runs as `demo` and `paper` write it.

    Raises
    ------
    InputError
        If there is none, or several; the message lists them.
    """
    inside = sorted(path.parent for path in model.glob("**/run.json") if path.parent != model)
    runs = [read_run(path) for path in inside if read_info(path)["command"] not in UNANSWERED] or [read_run(model)]
    trained = {run.path: trained_systems(run) for run in runs}
    if not any(trained.values()):
        raise InputError(f"{model} holds nothing that can score: name a run of similarity, heads or finetune")
    chosen = [(run, each) for run in runs for each in trained[run.path] if system in (None, each)]
    if len(chosen) == 1:
        return chosen[0]
    held = "; ".join(f"{path} ({', '.join(systems)})" for path, systems in trained.items() if systems)
    several = [path for path, systems in trained.items() if systems] != [model]
    if not chosen:
        found = held if several else ", ".join(trained[model])
        raise InputError(f"{model} has no system {system}: it holds {found}")
    if not several:
        raise InputError(f"{model} holds {', '.join(trained[model])}: choose one with --system")
    raise InputError(f"{model} holds several runs that can score, name one with --model: {held}")


def trained_systems(run: Run) -> list[str]:
    """The systems whose thresholds or weights are in the folder."""
    if (run.path / "thresholds.json").is_file():
        return list(read_thresholds(run.path))
    if (run.path / "head.json").is_file():
        systems = dict.fromkeys(result.predictions.system for result in run.results)
        return list(filter(competes, systems))
    return []


def read_thresholds(folder: Path) -> dict[str, SimilarityModel]:
    """What `similarity` fitted, by system. Raises InputError where the file is damaged."""
    path = folder / "thresholds.json"
    try:
        saved = json.loads(path.read_bytes())
        return {system: SimilarityModel.from_dict(values) for system, values in saved.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path} is damaged ({type(error).__name__}: {error}): run similarity again") from error


def _encoding(run: Run, *, cache: Path, device: Device, threads: int | None) -> Encoding:
    """The run's encoding, with this machine's cache and device. Raises InputError where run.json lacks it."""
    try:
        recorded, _ = run.config["encoding"], run.info["fingerprint"]
        encoding: Encoding = read_options(run.path / "run.json", recorded, Encoding, complete=False)
        return replace(encoding, cache=cache, device=device, threads=threads, extract=True)
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{run.path / 'run.json'} does not say how images were encoded, in words this version knows ({error}): "
            "run its command again"
        ) from error


def _origin(run: Run) -> Origin:
    """The embeddings of a run. The cache keeps what was measured when those of earlier libraries were taken over."""
    then = run.info["fingerprint"]
    return Origin(run.path, then, run.info.get("fingerprint_fields") or {}, lambda cache, _: read_verdict(cache, then))


def _on_embeddings(
    system: str,
    judge: Judge | None,
    encoding: Encoding,
    progress: Progress,
    origin: Origin | None = None,
    *,
    familiarity: Familiarity | None = None,
    post_read: Callable[[PairEmbeddings], npt.NDArray[np.bool_]] | None = None,
    sets: MakeSets | None = None,
    run: Path | None = None,
    encoders: MutableMapping[str, WarmEncoder] | None = None,
    gradients: bool = False,
) -> Scorer:
    """A scorer on embeddings of a frozen backbone. origin: what these must be; None asks for nothing."""
    resolved, fields = resolve(encoding)
    load = functools.cache(lambda: load_encoder(resolved, encoding, gradients=gradients))
    if origin is not None:
        _check_origin(origin, fields, encoding.cache, load)
    recipe = recipe_of(encoding)
    encoder = WarmEncoder(load, FallbackCache(encoding.cache, fields, recipe))
    if encoders is not None:
        encoder = encoders.setdefault(f"{fingerprint(fields)} {recipe}", encoder)
    cache = encoder.cache
    assert cache is not None

    def encode_table(inputs: Inputs, source: Source) -> EncodedTable:
        cache.create()
        filled = fill_cache(inputs, encoding, source, resolved, fields, progress, lambda: encoder.backbone, cache)
        pairs, usable = cache.features(inputs.table, inputs.files)
        return np.flatnonzero(usable), pairs, filled.skipped

    return Scorer(system, judge, encoder, encode_table, familiarity, post_read=post_read, sets=sets, run=run)


def _check_origin(origin: Origin, fields: Mapping[str, str], cache: Path, load: "Callable[[], Embedder]") -> None:
    """Raise CacheError if a system was trained on other embeddings than are made now, and nothing shows them equal."""
    if fingerprint(fields) == origin.fingerprint:
        return
    different = difference(origin.fields, fields)
    verdict = origin.compare(cache / fingerprint(fields), load) if different == ("libraries",) else None
    if verdict is None or not verdict.equal:
        raise CacheError(_other_embeddings(origin, fields, different, verdict))


def _other_embeddings(
    origin: Origin, fields: Mapping[str, str], different: Sequence[str], verdict: Verdict | None
) -> str:
    """Why a system cannot score with the embeddings that are made now, and what to do."""
    said = (
        f"{origin.path} was trained on other embeddings (fingerprint {origin.fingerprint[:12]}) than are at hand now "
        f"({fingerprint(fields)[:12]}); they differ in {', '.join(different)}{_revisions(origin, fields)}"
    )
    if verdict is not None:
        return f"{said}: {verdict.note}"
    if tuple(different) == ("libraries",):
        return (
            f"{said}: run extract on its data with its cache, which encodes a sample again and accepts the earlier "
            "embeddings if they are equal; or install those versions, or train again"
        )
    return f"{said}: use the same, or train again"


def _revisions(origin: Origin, fields: Mapping[str, str]) -> str:
    """In brackets, both revisions of one model; empty if they do not differ."""
    then = origin.fields
    if then.get("model") != fields["model"] or then.get("revision") in (None, fields["revision"]):
        return ""
    both = [described(fields["model"], revision) for revision in (then["revision"], fields["revision"])]
    return f" ({both[0]} then, {both[1]} now)"


def _finetuned(
    system: str,
    tuned: "Finetuned",
    progress: Progress,
    familiarity: Familiarity | None = None,
    *,
    sets: MakeSets | None = None,
    run: Path | None = None,
) -> Scorer:
    """A scorer straight from images: a tuned backbone has no cache."""

    from finetune.classifier import embed
    from finetune.dataset import read_pair_data

    def encode_table(inputs: Inputs, source: Source) -> EncodedTable:
        table, files, limits = inputs.table, inputs.files, source.limits
        data = read_pair_data(tuned.backbone, table, files, tuned.config, limits=limits, progress=progress)
        rows = data.usable(np.arange(len(table)))
        return rows, embed(tuned.backbone, data, rows), inputs.skipped + data.skipped

    judge, encoder = _by_probability(tuned.head), WarmEncoder(lambda: tuned.backbone)
    return Scorer(system, judge, encoder, encode_table, familiarity, sets=sets, run=run)


def _published(path: Path, encoding: Encoding, progress: Progress) -> Scorer:
    """A published weight file, with images prepared as its script did."""
    if any(name.startswith("classifier.") for name in read_state_dict(path)):
        from consistency.backbone.model import load_backbone
        from finetune.model import load_published

        set_threads(encoding.threads)
        resolved = resolve_backbone(encoding.backbone)
        backbone = load_backbone(resolved, device=encoding.device, precision="fp32", decode=encoding.decode)
        return _finetuned("finetune-paper", load_published(path, backbone), progress)
    return _on_embeddings("heads-paper", _by_head(import_published(path)), encoding, progress)


def _by_thresholds(model: SimilarityModel) -> Judge:
    def judge(pairs: PairEmbeddings) -> Judgement:
        similarity = pairs.cosine()
        return model.predict(similarity) + 1, similarity, None

    return judge


def _by_head(head: AnyHead) -> Judge:
    def judge(pairs: PairEmbeddings) -> Judgement:
        said = head.predict(pairs)
        return said.predicted + 1, said.values, said.probabilities

    return judge


def _by_probability(head: TrainedHead) -> Judge:
    """The most probable score, as `finetune` is evaluated."""

    def judge(pairs: PairEmbeddings) -> Judgement:
        probabilities = head.predict_proba(pairs)
        return probabilities.argmax(axis=1) + 1, probabilities @ SCORES, probabilities

    return judge
