"""`cache info | verify | compact | gc | export`: maintenance of the stored embeddings."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from consistency.backbone.names import SHORT_NAMES, parts_of, pinned
from consistency.backbone.resolve import described, resolve_backbone
from consistency.backbone.text_recipe import TextRecipe
from consistency.data.files import ImageFile, find_images
from consistency.data.inputs import list_skipped, read_table, refuse_skipped
from consistency.data.memo import DigestMemo
from consistency.data.pairs import PairTable, Skipped
from consistency.durable import check_output
from consistency.errors import InputError
from consistency.options import CacheChoice, Source
from embedcache.catalog import about_newer, list_fields
from embedcache.export import export
from embedcache.fingerprint import explain
from embedcache.keys import image_keys
from embedcache.maintenance import compact, gc, info, verify
from embedcache.store import EmbeddingCache, list_caches

NOT_STORED = "the cache lacks its image or its hashtag: run extract"


def chosen(choice: CacheChoice) -> list[EmbeddingCache]:
    caches = [cache for cache in list_caches(choice.cache) if cache.fingerprint.startswith(choice.fingerprint or "")]
    backbone = choice.backbone
    if backbone is None:
        return caches
    local = backbone not in SHORT_NAMES and (backbone == "tiny" or Path(backbone).exists())
    if not local and len(parts_of(backbone)) == 1 and pinned(backbone, None)[1] is None:
        model_id = SHORT_NAMES.get(backbone, backbone)  # named in the fields: the hub need not be asked
        return [cache for cache in caches if cache.fields.get("model") == model_id]
    revision = resolve_backbone(backbone).revision
    return [cache for cache in caches if cache.fields.get("revision") == revision]


def only_one(choice: CacheChoice) -> EmbeddingCache:
    caches, root = chosen(choice), choice.cache
    if len(caches) == 1:
        return caches[0]
    if not caches:
        raise InputError(
            f"{root} has no such embeddings: `cache info` lists those it has, and `extract` adds others"
            f"{about_newer(root)}"
        )
    there = ", ".join(
        f"{cache.fingerprint[:12]} of {described(cache.fields['model'], cache.fields['revision'])}"
        if {"model", "revision"} <= cache.fields.keys()
        else cache.fingerprint[:12]
        for cache in caches
    )
    raise InputError(f"{root} holds {len(caches)} sets of embeddings ({there}): choose one with --fingerprint")


def cache_info(choice: CacheChoice) -> list[dict[str, Any]]:
    return [info(cache).as_dict() for cache in chosen(choice)]


def in_words(entries: list[dict[str, Any]]) -> list[str]:
    """One line for each set of embeddings: everything that decides its vectors."""
    return [f"{entry['fingerprint'][:12]}: {explain(entry['fields'])}" for entry in entries]


def nothing_there(root: Path) -> str:
    if newer := about_newer(root):
        return f"{root} has no such embeddings that this version reads{newer}"
    state = "is empty" if root.is_dir() else "does not exist yet"
    return f"{root} {state}: it has no such embeddings; `extract` adds some"


def cache_verify(choice: CacheChoice) -> list[dict[str, Any]]:
    """Check every byte of every segment; damaged segments are in quarantine afterwards."""
    entries = []
    for cache in chosen(choice):
        report = verify(cache)
        entries.append(
            {
                "fingerprint": cache.fingerprint,
                "fields": cache.fields,
                "segments": report.segments,
                "rows": report.rows,
                "damaged": list(report.damaged),
            }
        )
    return entries


def cache_compact(choice: CacheChoice) -> list[dict[str, Any]]:
    entries = []
    for cache in chosen(choice):
        report = compact(cache)
        entries.append({"fingerprint": cache.fingerprint, "before": report.before, "after": report.after})
    return entries


def others(choice: CacheChoice) -> list[dict[str, Any]]:
    """What `gc` would remove: every set but the chosen ones. Raises InputError if nothing would be kept."""
    kept, root = {cache.fingerprint for cache in chosen(choice)}, choice.cache
    if not kept:
        raise InputError(f"{root} has no such embeddings, so nothing would be kept: `cache info` lists those it has")
    return [entry for entry in cache_info(CacheChoice(root)) if entry["fingerprint"] not in kept]


def cache_gc(root: Path, remove: list[str]) -> list[str]:
    keep = {path.name for path, _ in list_fields(root)} - set(remove)
    return gc(root, keep)


def cache_export(
    source: Source, out: Path, choice: CacheChoice, recipe: TextRecipe
) -> tuple[dict[str, Any], tuple[Skipped, ...]]:
    """Write the stored vectors of a data set to one plain file, with those that a recipe makes of each hashtag.

    The second result is the rows without vectors.
    """
    if out.suffix not in (".npz", ".h5"):
        raise InputError(f"{out} ends in {out.suffix or 'nothing'}, expected .npz, .h5 or .parquet: rename it")
    check_output(out)
    table = read_table(source, require_scores=False)
    held = only_one(choice)
    cache = EmbeddingCache(held.path, held.fields, recipe)
    files = find_images(table.images, source.images, DigestMemo(choice.cache))
    skipped = table.skipped + _not_stored(cache, table, files)
    refuse_skipped(skipped, source.on_error)
    images, hashtags = export(cache, table, files, out)
    list_skipped(out, skipped)
    written = {
        "out": str(out),
        "fingerprint": cache.fingerprint,
        "images": images,
        "hashtags": hashtags,
        "damaged": cache.quarantined,
    }
    return written, skipped


def _not_stored(cache: EmbeddingCache, table: PairTable, files: Mapping[str, ImageFile]) -> tuple[Skipped, ...]:
    """The rows whose image or hashtag has no stored vector."""
    readable = [file for file in files.values() if file.digest is not None]
    lacking = cache.missing("image", image_keys(readable))
    bad = {file.name: file.problem or NOT_STORED for file in files.values() if file.digest is None}
    bad |= {file.name: NOT_STORED for file, lacks in zip(readable, lacking, strict=True) if lacks}
    texts = list(dict.fromkeys(table.hashtags))
    unknown = {text for text, row in zip(texts, cache.hashtags(texts)[1].tolist(), strict=True) if row < 0}
    return tuple(
        Skipped(int(row), image, hashtag, bad.get(image, NOT_STORED))
        for row, image, hashtag in zip(table.rows, table.images, table.hashtags, strict=True)
        if image in bad or hashtag in unknown
    )
