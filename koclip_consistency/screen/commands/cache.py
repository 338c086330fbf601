"""`cache info | verify | compact | gc | export`."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from koclip_consistency.screen.app import FAILED, app, close
from koclip_consistency.screen.command import command

if TYPE_CHECKING:
    from consistency.options import CacheExportOptions, CacheGcOptions, CacheOptions
    from koclip_consistency.screen.console import Screen


@app.group("cache")
def cache() -> None:
    """Look after the stored embeddings."""


@command(cache, "info", "CacheOptions", "", "--fingerprint 4f2a --json")
def info(options: "CacheOptions", screen: "Screen") -> None:
    """List models, rows, bytes and age.

    With --fingerprint, also list everything that decides the vectors.
    """
    from koclip_consistency.screen.tables import info_table
    from koclip_consistency.workflows.cache import cache_info, in_words

    entries = cache_info(options.choice)
    _show(options, screen, entries, info_table)
    for line in in_words(entries) if options.choice.fingerprint else ():
        screen.note(line)


@command(cache, "verify", "CacheOptions", "--backbone koclip")
def verify(options: "CacheOptions", screen: "Screen") -> None:
    """Check every byte against its digest.

    Damaged segments move to quarantine, and the command exits with 1. `extract` encodes their rows again.
    """
    from koclip_consistency.screen.tables import verify_table
    from koclip_consistency.workflows.cache import cache_verify

    entries = cache_verify(options.choice)
    _show(options, screen, entries, verify_table)
    damaged = [line for entry in entries for line in entry["damaged"]]
    for line in damaged:
        screen.note(line)
    if damaged:
        sys.exit(FAILED)


@command(cache, "compact", "CacheOptions", "--backbone koclip")
def compact(options: "CacheOptions", screen: "Screen") -> None:
    """Merge small segments into larger ones.

    Other commands can read and write the cache at the same time.
    """
    from koclip_consistency.screen.tables import compact_table
    from koclip_consistency.workflows.cache import cache_compact

    _show(options, screen, cache_compact(options.choice), compact_table)


@command(cache, "gc", "CacheGcOptions", "--backbone koclip")
def gc(options: "CacheGcOptions", screen: "Screen") -> None:
    """Remove the embeddings of all models except the one named."""
    from koclip_consistency.screen.tables import info_table
    from koclip_consistency.workflows.cache import cache_gc, others

    choice = options.choice
    if not choice.backbone and not choice.fingerprint:
        raise click.UsageError("name the model to keep with --backbone or --fingerprint")
    doomed = others(choice)
    if doomed:
        screen.table(info_table(choice.cache, doomed))
    names = ", ".join(entry["fingerprint"][:12] for entry in doomed)
    if doomed and not options.yes:
        try:
            doomed = doomed if click.confirm(f"Remove {names}?", err=True) else []
        except click.Abort:
            if sys.stdin.isatty():
                raise
            raise click.UsageError("there is nobody to ask whether to remove them: give --yes") from None
    removed = cache_gc(choice.cache, [entry["fingerprint"] for entry in doomed])
    screen.json(removed)
    screen.note(f"Removed {len(removed)} sets of embeddings")


@command(
    cache,
    "export",
    "CacheExportOptions",
    "embeddings.npz --backbone koclip",
    "pairs.parquet --backbone koclip --run runs/heads --run runs/audit",
)
def export(options: "CacheExportOptions", screen: "Screen") -> None:
    """Write the stored vectors of a data set to one plain file.

    .npz and .h5 hold the distinct images and hashtags. .parquet holds a row for each pair: its vectors, its label and,
    with --run, its prediction, its doubt and its side of the split. It needs the extra `parquet`.
    """
    from consistency.data.inputs import skipped_beside
    from koclip_consistency.workflows.cache import cache_export
    from koclip_consistency.workflows.cache_table import export_table
    from koclip_consistency.workflows.encode import recipe_of

    if options.file.suffix == ".parquet":
        written, skipped = export_table(options)
    elif options.runs:
        raise click.UsageError("--run adds columns to a .parquet file alone")
    else:
        written, skipped = cache_export(options.source, options.file, options.choice, recipe_of(options.encoding))
    screen.json(written)
    for damage in written["damaged"]:
        screen.note(damage)
    screen.note(f"Exported {written['images']} images and {written['hashtags']} hashtags: {options.file}")
    close(skipped, options.source.on_error, screen, skipped_beside(options.file))


def _show(options: "CacheOptions", screen: "Screen", entries: list[dict[str, Any]], table: Callable[..., Any]) -> None:
    """Show what was found in the cache; an empty cache is no error."""
    from koclip_consistency.workflows.cache import nothing_there

    screen.json(entries)
    if entries:
        screen.table(table(options.choice.cache, entries))
    else:
        screen.note(nothing_there(options.choice.cache))
