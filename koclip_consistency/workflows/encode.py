"""From a pair table to embeddings: resolves the backbone, extracts what the cache lacks, returns the pairs."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from consistency.backbone.device import choose_device, choose_precision, multiplies_bf16
from consistency.backbone.embeddings import PairEmbeddings
from consistency.backbone.resolve import (
    ResolvedBackbone,
    described,
    fingerprint_fields,
    resolve_backbone,
)
from consistency.backbone.text_recipe import TextRecipe
from consistency.data.hashtags import identities
from consistency.data.inputs import Inputs, refuse_skipped
from consistency.data.pairs import Skipped
from consistency.data.splits import Side, Split
from consistency.errors import CacheError, DataError
from consistency.options import Encoding, Source
from consistency.progress import Progress, silent
from embedcache.adopt import Verdict, adopt
from embedcache.catalog import list_fields
from embedcache.engines.local import decoding_context
from embedcache.extract import ExtractReport, Work, extract
from embedcache.joined import join
from embedcache.store import EmbeddingCache
from heads.post import with_context

if TYPE_CHECKING:
    from consistency.backbone.model import Embedder
    from embedcache.engines.cluster import Cluster


@dataclass(frozen=True, eq=False)
class Extracted:
    """A cache that has every embedding of a data set that can be computed.

    Attributes
    ----------
    resolved
        The backbone.
    cache
        Its cache.
    report
        What the extraction did.
    skipped
        Rows without an embedding.
    several
        One line about rows whose cell has several hashtags, None if there are none.
    adopted
        How far embeddings of earlier library versions were from those of now; None if there were none to compare.
    others
        The same hub model in other revisions whose embeddings are in the cache folder too, as messages name them.
    members
        The same of each backbone if several are used as one.
    quicker_in_bf16
        Whether fp32 was chosen for encoding on a processor that is quicker in bf16.
    """

    resolved: ResolvedBackbone
    cache: EmbeddingCache
    report: ExtractReport
    skipped: tuple[Skipped, ...]
    several: str | None
    adopted: Verdict | None
    others: tuple[str, ...]
    members: "tuple[Extracted, ...]"
    quicker_in_bf16: bool

    @property
    def fingerprint(self) -> str:
        return self.cache.fingerprint

    @property
    def note(self) -> str:
        """One line: how many embeddings are new, and how many were in the cache."""
        if self.members:
            return "; ".join(f"{member.resolved.name}: {member.note}" for member in self.members)
        r = self.report
        what = "texts of hashtags" if self.cache.recipe.changes else "hashtags"
        adopted = None if self.adopted is None else self.adopted.note
        return (
            f"embeddings: {r.images_encoded} of {r.images} images and {r.hashtags_encoded} of {r.hashtags} {what} "
            f"encoded now, {r.images_cached} and {r.hashtags_cached} were in the cache"
        ) + "".join(
            f"; {note}"
            for note in (adopted, self.revision_note, self.precision_note, self.bf16_note, r.truncation)
            if note
        )

    @property
    def speed_note(self) -> str | None:
        """One line: how fast images were encoded; None if none was."""
        r = self.report
        if r.images_per_second is None:
            return None
        busy = "" if r.encoder_busy is None else f", encoder busy {r.encoder_busy:.0%}"
        return f"{r.images_per_second:.1f} images/s{busy}, batches of {r.batch_size}"

    @property
    def revision_note(self) -> str | None:
        """One line: which revision is encoded, if the cache has others of the same model too."""
        if not (self.others and self.report.images_encoded + self.report.hashtags_encoded):
            return None
        return f"these are of {self.resolved.described}; those of {', '.join(self.others)} are kept apart"

    @property
    def precision_note(self) -> str | None:
        """One line: how far vectors of a lower precision are from fp32; None for fp32."""
        if self.report.cosine_to_fp32 is None:
            return None
        least = " and ".join(f"{cosine:.5f} for {kind}" for kind, cosine in self.report.cosine_to_fp32.items())
        return f"{self.cache.fields['precision']}: least cosine to fp32 in a sample {least}"

    @property
    def bf16_note(self) -> str | None:
        """One line: how to encode faster on this processor, if anything was encoded."""
        if not self.quicker_in_bf16:
            return None
        return "this processor has instructions for bf16, so --precision bf16 encodes faster"


@dataclass(frozen=True, eq=False)
class Encoded(Extracted):
    """The embeddings of the rows whose image and hashtag both have one.

    Attributes
    ----------
    pairs
        Embeddings of these rows.
    position : (n,) int64
        The place of row i of the table in `pairs`, -1 if it has no embeddings.
    """

    pairs: PairEmbeddings
    position: npt.NDArray[np.int64]

    def at(self, rows: npt.NDArray[np.int64]) -> PairEmbeddings:
        """The embeddings of these rows of the table, all of which must have some."""
        return self.pairs.take(self.position[rows])

    def usable(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Those of `rows` that have embeddings."""
        return rows[self.position[rows] >= 0]

    def side(self, split: Split, side: Side) -> npt.NDArray[np.int64]:
        """The rows of a side that have embeddings. Raises DataError if there are none."""
        rows = split.rows(side)
        usable = self.usable(rows)
        if not len(usable):
            raise DataError(f"none of the {len(rows)} {side} rows has an image that can be used")
        return usable


def with_posts(encoded: Encoded, inputs: Inputs) -> Encoded:
    """Add to every pair the context of its post, which is all rows that have embeddings, with or without a label."""
    rows = np.flatnonzero(encoded.position >= 0)
    pairs = with_context(encoded.pairs, inputs.posts[rows], identities(inputs.table.hashtags[rows]))
    return replace(encoded, pairs=pairs)


def set_threads(threads: int | None) -> None:
    """Set the number of torch's threads (`--threads`)."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def cache_fields(resolved: ResolvedBackbone, encoding: Encoding) -> dict[str, str]:
    """Everything that decides the stored vectors; vectors of `--store fp16` have a cache of their own.

    Raises BackboneError if the machine lacks the device, even if no embedding is missing.
    """
    precision = choose_precision(encoding.precision, choose_device(encoding.device))
    fields = fingerprint_fields(resolved, decode=encoding.decode, precision=precision)
    return fields if encoding.store == "fp32" else {**fields, "store": encoding.store}


def recipe_of(encoding: Encoding) -> TextRecipe:
    """As which texts hashtags are put to the model. Raises InputError if a template has no place for them."""
    return TextRecipe(encoding.text, encoding.templates)


def resolve(encoding: Encoding) -> tuple[ResolvedBackbone, dict[str, str]]:
    """The backbone, and the fields of its cache. Raises InputError if the text recipe cannot be used."""
    recipe_of(encoding)
    resolved = resolve_backbone(encoding.backbone, revision=encoding.revision)
    return resolved, cache_fields(resolved, encoding)


def encode_pairs(inputs: Inputs, encoding: Encoding, source: Source, *, progress: Progress = silent) -> Encoded:
    """Return the embeddings of every pair of `inputs`; `skipped` lists the rows whose image cannot be decoded.

    Raises
    ------
    CacheError
        If embeddings are missing and `encoding.extract` is False.
    DataError
        If a row cannot be used and --on-error is abort.
    """
    extracted = fill_cache(inputs, encoding, source, *resolve(encoding), progress)
    pairs, usable = extracted.cache.features(inputs.table, inputs.files)
    return Encoded(**vars(extracted), pairs=pairs, position=np.where(usable, np.cumsum(usable) - 1, -1))


def fill_cache(
    inputs: Inputs,
    encoding: Encoding,
    source: Source,
    resolved: ResolvedBackbone,
    fields: dict[str, str],
    progress: Progress,
    load: "Callable[[], Embedder] | None" = None,
    cache: EmbeddingCache | None = None,
    cluster: "Cluster | None" = None,
) -> Extracted:
    """Encode what the cache lacks. `load` returns the model if one is already loaded, `cache` is open already.

    With a `cluster`, Ray encodes.

    For several backbones as one, each member's own cache is filled, and theirs are joined.
    """
    members = tuple(
        fill_cache(inputs, encoding, source, member, cache_fields(member, encoding), progress, cluster=cluster)
        for member in (resolved.members if cache is None else ())
    )
    load = functools.cache(load or (lambda: load_encoder(resolved, encoding)))
    set_threads(encoding.threads)
    adopted = None
    if cache is None:
        cache = EmbeddingCache.open(encoding.cache, fields, create=encoding.extract, recipe=recipe_of(encoding))
        texts = cache.recipe.all_texts(inputs.hashtags)
        texts = texts if inputs.shard is None else inputs.shard.texts(texts)
        if members:
            join(cache, [member.cache for member in members], texts, inputs.files)
        if encoding.extract:
            adopted = adopt(texts, inputs.files, cache, load, source.limits)
    report = extract(
        inputs.table,
        inputs.files,
        cache,
        load,
        batch_size=encoding.batch_size,
        workers=encoding.workers,
        store=encoding.store,
        limits=source.limits,
        hashtags=inputs.hashtags,
        shard=inputs.shard,
        progress=progress,
        engine=None if cluster is None else _on_ray(cluster, resolved, fields, encoding),
    )
    refuse_skipped(report.skipped, source.on_error)
    encoded = report.images_encoded + report.hashtags_encoded > 0
    in_bf16 = encoded and encoding.precision == "auto" and choose_device(encoding.device) == "cpu" and multiplies_bf16()
    return Extracted(
        resolved,
        cache,
        report,
        inputs.skipped + report.skipped,
        inputs.several,
        adopted,
        _others(cache),
        members,
        in_bf16,
    )


def _on_ray(
    cluster: "Cluster", resolved: ResolvedBackbone, fields: dict[str, str], encoding: Encoding
) -> Callable[..., Work]:
    """What encodes on Ray; its processes use the precision of the cache, whatever devices they have."""
    from embedcache.engines.ray import RayWork

    precision = cast(Any, fields["precision"])
    load = functools.partial(load_encoder, resolved, replace(encoding, precision=precision))
    return functools.partial(RayWork, cluster=cluster, load=load)


def _others(cache: EmbeddingCache) -> tuple[str, ...]:
    """Other revisions of the cache's model that have a cache beside it; folders are not known by a name."""
    model, revision = cache.fields["model"], cache.fields["revision"]
    there = {found["revision"] for _, found in list_fields(cache.path.parent) if found.get("model") == model}
    return (
        () if "local" in model or "," in model else tuple(described(model, each) for each in sorted(there - {revision}))
    )


def load_encoder(resolved: ResolvedBackbone, encoding: Encoding, *, gradients: bool = False) -> "Embedder":
    """Load the model that computes the vectors of a cache; with `gradients` it is not rewritten to be faster."""
    if not encoding.extract:
        raise CacheError(
            f"{encoding.cache} lacks embeddings of {encoding.backbone} for this data, and --no-extract was given: "
            f"run `extract --backbone {encoding.backbone}` first, or leave out --no-extract"
        )
    if choose_device(encoding.device).startswith("cuda"):
        decoding_context(encoding.decode == "fast")  # prepares while the model loads
    # Slow to import, and not needed if nothing is missing.
    from consistency.backbone.model import load_backbone, load_embedder

    set_threads(encoding.threads)
    load = load_backbone if gradients and not resolved.fixed else load_embedder
    return load(resolved, device=encoding.device, precision=encoding.precision, decode=encoding.decode)
