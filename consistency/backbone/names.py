"""How backbones are named: short names, folders, ids of the hub with a revision, and two models with a plus sign."""

import difflib
import os
from pathlib import Path

from consistency.errors import BackboneError

SHORT_NAMES = {  # by the ids of the hub; docs/backbones.md describes them
    "clip": "openai/clip-vit-base-patch32",
    "koclip": "Bingsu/clip-vit-large-patch14-ko",
    "siglip2": "google/siglip2-base-patch16-224",
    "siglip2-naflex": "google/siglip2-base-patch16-naflex",
    "siglip2-so400m": "google/siglip2-so400m-patch14-384",
    "metaclip2": "facebook/metaclip-2-worldwide-b32",
    "metaclip2-huge": "facebook/metaclip-2-worldwide-huge-quickgelu",
    "nllb-clip": "visheratin/nllb-clip-base-siglip",
    "nllb-clip-large": "visheratin/nllb-clip-large-siglip",
    "xlmr": "laion/CLIP-ViT-B-32-xlm-roberta-base-laion5B-s13B-b90k",
    "xlmr-huge": "laion/CLIP-ViT-H-14-frozen-xlm-roberta-large-laion5B-s13B-b90k",
    "clip-multilingual": "sentence-transformers/clip-ViT-B-32-multilingual-v1+openai/clip-vit-base-patch32",
}
ALIASES = (*SHORT_NAMES, "tiny")
# TEXT_MODEL+IMAGE_MODEL, HF_ID@REVISION, and several backbones as one.
BESIDE, PINNED, JOINED = "+", "@", ","


def members_of(name: str) -> list[str]:
    """The backbones that are used as one: usually a single one. A folder comes before a comma in its name.

    Raises
    ------
    BackboneError
        If one is named twice or has no name.
    """
    members = [name] if os.path.exists(os.path.expanduser(name)) else name.split(JOINED)
    if len(set(members)) < len(members) or (len(members) > 1 and "" in members):
        raise BackboneError(f"{name!r} does not name several different backbones; expected for example siglip2,koclip")
    return members


def parts_of(name: str) -> list[str]:
    """The models of a backbone: usually one. A folder comes before a plus sign in its name."""
    if os.path.exists(os.path.expanduser(name)):
        return [name]
    model = SHORT_NAMES.get(name, name)
    return model.split(BESIDE) if BESIDE in model else [name]


def pinned(name: str, revision: str | None) -> tuple[str, str | None]:
    """Divide HF_ID@REVISION. Raises BackboneError if another revision is asked for too."""
    model, sign, commit = name.rpartition(PINNED)
    if not sign or os.path.exists(os.path.expanduser(name)):
        return name, revision
    if not model or not commit or revision not in (None, commit):
        also = f" and revision {revision!r}" if revision else ""
        raise BackboneError(f"{name!r}{also} names no single revision; expected HF_ID{PINNED}REVISION")
    return model, commit


def refuse_impossible(name: str) -> None:
    """Raise BackboneError if the name is a missing path or a misspelt alias rather than a Hugging Face id."""
    path = Path(os.path.expanduser(name))
    if path.is_absolute() or name.startswith((".", "~")) or name.endswith("/") or name.count("/") > 1:
        siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        close = difflib.get_close_matches(path.name, siblings, n=1)
        hint = f"; did you mean {path.parent / close[0]}?" if close else ""
        raise BackboneError(f"there is no folder {name} (looked for {path.absolute()}){hint}")
    if "/" not in name and (close := difflib.get_close_matches(name, ALIASES, n=1, cutoff=0.5)):
        raise BackboneError(
            f"there is no backbone {name!r}; did you mean {close[0]}? "
            f"Expected {', '.join(ALIASES)}, a folder or a Hugging Face id"
        )
