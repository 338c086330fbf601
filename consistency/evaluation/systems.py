"""Names of controls, and of other systems that are not ranked; what computes controls is slow to load."""

TEXT_EMBEDDING, TEXT_HEAD = "text-embedding", "text-head"
TEXT_AND_POST_HEAD = "text-and-post-head"
ON_EMBEDDINGS = (TEXT_EMBEDDING, TEXT_HEAD, TEXT_AND_POST_HEAD)  # they read the backbone's embeddings of hashtags
TEXT_ONLY, NAME_AND_TEXT = "text-only", "name-and-text"
TEXT_AND_POST, IN_ORDER = "text-and-post", "text-and-post-ordered"
BALANCED = "-balanced"  # suffix of the controls of the published table, in which all scores have equal weight
CONTROLS = (
    "majority",
    "median",
    TEXT_ONLY,
    NAME_AND_TEXT,
    TEXT_ONLY + BALANCED,
    NAME_AND_TEXT + BALANCED,
    TEXT_AND_POST,
    IN_ORDER,
    *ON_EMBEDDINGS,
)
PEEKED = "-best"  # suffix of systems whose epoch was picked on the test rows, as published; their weights are not kept


def competes(system: str) -> bool:
    """Return whether a system is ranked: controls, and systems that were picked on their test rows, are not."""
    return system not in CONTROLS and not system.endswith(PEEKED)
