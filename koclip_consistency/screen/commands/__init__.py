"""The commands, one file per command or family: what each prints. Importing this registers them all."""

from koclip_consistency.screen.commands import (
    app,
    audit,
    cache,
    compare,
    data,
    demo,
    explain,
    extract,
    finetune,
    heads,
    paper,
    report,
    rerun,
    score,
    serve,
    similarity,
)

__all__ = [
    "app",
    "audit",
    "cache",
    "compare",
    "data",
    "demo",
    "explain",
    "extract",
    "finetune",
    "heads",
    "paper",
    "report",
    "rerun",
    "score",
    "serve",
    "similarity",
]
