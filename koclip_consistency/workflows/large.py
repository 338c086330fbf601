"""Extraction for a table of any number of rows: its distinct images and hashtags, one part after another."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from consistency.backbone.text_recipe import TextRecipe
from consistency.data.files import ImageFile, find_images
from consistency.data.inputs import Inputs, no_image_found
from consistency.data.large_table import LargeTable
from consistency.data.memo import DigestMemo
from consistency.options import Encoding, Source
from consistency.progress import Progress
from embedcache.adopt import Verdict, adopt
from embedcache.extract import NOT_FINITE, ExtractReport
from embedcache.keys import image_keys
from embedcache.store import EmbeddingCache
from koclip_consistency.workflows.encode import Extracted, fill_cache, load_encoder, resolve

PART = 16_384  # images, and as many hashtags, that are looked up and encoded at once


def fill_for(table: LargeTable, encoding: Encoding, source: Source, progress: Progress) -> Extracted:
    """Encode what the cache lacks of a large table, and record in the table which rows have vectors.

    Returns
    -------
    Extracted
        Whose `skipped` is the first row without an embedding, if there is one.

    Raises
    ------
    CacheError
        If embeddings are missing and `encoding.extract` is False.
    DataError
        If none of the images is there, or a row cannot be used and --on-error is abort.
    """
    resolved, fields = resolve(encoding)
    load = functools.cache(lambda: load_encoder(resolved, encoding))
    reports: list[ExtractReport] = []
    adopted: Verdict | None = None
    cache: EmbeddingCache | None = None
    found, files = False, dict[str, ImageFile]()
    going_on = replace(source, on_error="allow")  # `code` says which row of the table is the first that is lost
    with DigestMemo(encoding.cache) as memo:
        for part in table.parts(PART):
            files = find_images(part.table.images, source.images, memo)
            found = found or any(file.path for file in files.values())
            inputs = Inputs(part.table, files, ())
            if cache is not None and encoding.extract:
                texts = cache.recipe.all_texts(inputs.hashtags)
                adopted = adopt(texts, files, cache, load, source.limits) or adopted
            filled = fill_cache(inputs, encoding, going_on, resolved, fields, progress, load, cache)
            adopted = adopted or filled.adopted
            reports.append(replace(filled.report, skipped=()))
            cache = None if filled.members else filled.cache
            table.record(part, files, *_problems(filled, files))
    if not found:
        raise no_image_found(source, files)
    table.code(source.on_error)
    report = _joined(reports, table, filled.cache.recipe)
    return replace(filled, report=report, skipped=table.first_skipped, several=table.several, adopted=adopted)


def _problems(filled: Extracted, files: Mapping[str, ImageFile]) -> tuple[dict[str, str], dict[str, str]]:
    """Why images and hashtags of a part have no vector."""
    lost = {each.image: each.reason for each in filled.skipped}
    read = [files[image] for image in lost if files[image].digest is not None]
    missing = filled.cache.missing("image", image_keys(read))
    there = {file.name for file, lacks in zip(read, missing, strict=True) if not lacks}
    tags = [*dict.fromkeys(each.hashtag for each in filled.skipped)]
    without = zip(tags, filled.cache.hashtags(tags)[1] < 0, strict=True)
    images = {image: reason for image, reason in lost.items() if image not in there}
    return images, {tag: NOT_FINITE for tag, lacks in without if lacks}


def _joined(reports: Sequence[ExtractReport], table: LargeTable, recipe: TextRecipe) -> ExtractReport:
    """What the extractions of all parts did together."""
    last = reports[-1]
    images, hashtags = table.contents(), sum(each.hashtags for each in reports) if recipe.changes else table.hashtags
    seconds = sum(each.seconds for each in reports)
    encoding = [each for each in reports if each.encoder_busy is not None]
    timed = [(each.images_encoded, each.images_per_second) for each in reports if each.images_per_second]
    truncated = [each for each in reports if each.truncation]
    total = sum(each.truncated for each in reports)
    truncation = None
    if truncated and truncated[0].truncation:
        truncation = f"{total}{truncated[0].truncation.removeprefix(str(truncated[0].truncated))}"
    cosines = [each.cosine_to_fp32 for each in reports if each.cosine_to_fp32 is not None]
    return replace(
        last,
        images=images,
        images_cached=max(0, images - sum(each.images - each.images_cached for each in reports)),
        images_encoded=sum(each.images_encoded for each in reports),
        hashtags=hashtags,
        hashtags_cached=max(0, hashtags - sum(each.hashtags - each.hashtags_cached for each in reports)),
        hashtags_encoded=sum(each.hashtags_encoded for each in reports),
        truncated=total,
        truncation=truncation,
        seconds=seconds,
        images_per_second=sum(n for n, _ in timed) / sum(n / speed for n, speed in timed) if timed else None,
        encoder_busy=float(np.mean([each.encoder_busy for each in encoding])) if encoding else None,
        peak_megabytes=max((each.peak_megabytes for each in encoding if each.peak_megabytes), default=None),
        batch_size=encoding[-1].batch_size if encoding else None,
        cosine_to_fp32=_least(cosines) if cosines else None,
        quarantined=tuple(dict.fromkeys(line for each in reports for line in each.quarantined)),
    )


def _least(cosines: Sequence[Mapping[str, float]]) -> dict[str, float]:
    kinds = dict.fromkeys(kind for each in cosines for kind in each)
    return {kind: min(each[kind] for each in cosines if kind in each) for kind in kinds}
