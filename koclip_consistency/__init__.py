"""Do an image and its Korean hashtag belong together? The names for notebooks and programs: see `docs/python.md`.

Importing this package loads nothing: each name loads what it needs when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from consistency.errors import ConsistencyError as ConsistencyError
    from heads.estimator import Head as Head
    from heads.estimator import PostHead as PostHead
    from koclip_consistency.python.embeddings import Embeddings as Embeddings
    from koclip_consistency.python.embeddings import embed as embed
    from koclip_consistency.python.evaluation import Evaluated as Evaluated
    from koclip_consistency.python.evaluation import controls as controls
    from koclip_consistency.python.evaluation import evaluate as evaluate
    from koclip_consistency.python.pairs import Pairs as Pairs
    from koclip_consistency.python.pairs import make_split as make_split
    from koclip_consistency.python.pairs import read_pairs as read_pairs
    from koclip_consistency.python.scoring import load as load
    from koclip_consistency.scoring.explanation import explain as explain
    from koclip_consistency.scoring.scorer import Scorer as Scorer

_HOMES = {
    "ConsistencyError": "consistency.errors",
    "Embeddings": "koclip_consistency.python.embeddings",
    "Evaluated": "koclip_consistency.python.evaluation",
    "Head": "heads.estimator",
    "PostHead": "heads.estimator",
    "Pairs": "koclip_consistency.python.pairs",
    "Scorer": "koclip_consistency.scoring.scorer",
    "controls": "koclip_consistency.python.evaluation",
    "embed": "koclip_consistency.python.embeddings",
    "evaluate": "koclip_consistency.python.evaluation",
    "explain": "koclip_consistency.scoring.explanation",
    "load": "koclip_consistency.python.scoring",
    "make_split": "koclip_consistency.python.pairs",
    "read_pairs": "koclip_consistency.python.pairs",
}
__all__ = list(_HOMES)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
