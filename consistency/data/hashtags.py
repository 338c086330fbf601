"""What a hashtag is: when two spellings are one hashtag, what is none, and what holds several."""

import re
import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

# Unicode's Default_Ignorable_Code_Point, of which a reader sees nothing: zero-width spaces and joiners, marks of
# direction, soft hyphens, variation selectors, Hangul fillers. Its tag characters are left out: they tell flags apart.
_UNSEEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U000e0100-\U000e01ef]"
)
_LEADING = re.compile(r"[\s#\u20e3]+")  # U+20E3 makes a keycap of the number sign before it
_BEGINNING = re.compile(r"#+\s*[^#\s]")

# CLIP's tokenizers read at most 77 tokens, of which two are special, and each of the others takes a byte or more.
SURELY_WHOLE = 75  # bytes of UTF-8, which is 25 Hangul syllables


def hashtag_identity(hashtag: str) -> str:
    """What makes two spellings the same hashtag: `#카페`, `카페` and `＃카페` are one, and so are `#Cafe` and `#cafe`.

    NFKC, no number signs at the beginning, case folded, without characters that nobody sees (zero-width characters,
    variation selectors, Hangul fillers), without surrounding space. Models are given the hashtag as it is written.

    Parameters
    ----------
    hashtag : str
        As in the table.

    Returns
    -------
    str
        The identity, which is its own identity; empty where `hashtag` is no hashtag.

    References
    ----------
    The Unicode Standard, section 3.13, toNFKC_Casefold; Unicode Standard Annex #15.
    """
    while True:  # one pass may bring forth what the next one removes: a compatibility form may begin with a space
        folded = _UNSEEN.sub("", unicodedata.normalize("NFKC", _UNSEEN.sub("", hashtag)).casefold())
        found = unicodedata.normalize("NFKC", folded)
        found = found[match.end() :] if (match := _LEADING.match(found)) else found
        if (found := found.rstrip()) == hashtag:
            return found
        hashtag = found


def identities(hashtags: Iterable[str]) -> npt.NDArray[np.object_]:
    """(n,) object str: the identity of each hashtag."""
    known: dict[str, str] = {}
    found = [known.get(tag) or known.setdefault(tag, hashtag_identity(tag)) for tag in hashtags]
    identity = np.empty(len(found), dtype=object)
    identity[:] = found
    return identity


def hashtag_fault(hashtag: str) -> str | None:
    """Why `hashtag` is none, or None where it is one."""
    if "\0" in hashtag:
        return "the hashtag has a NUL character"
    if any("\ud800" <= letter <= "\udfff" for letter in hashtag):  # of bytes on a command line
        return "the hashtag is not UTF-8"
    return None if hashtag_identity(hashtag) else "the hashtag is empty"


def holds_several(hashtag: str) -> bool:
    """Whether a cell holds two or more hashtags, as in `#바다 #여행` and `#바다#여행`."""
    return len(_BEGINNING.findall(unicodedata.normalize("NFKC", hashtag))) > 1


def may_be_truncated(hashtag: str) -> bool:
    """Whether a CLIP model might not read all of a hashtag; False is certain, True depends on its tokenizer."""
    return len(hashtag.encode("utf-8", "surrogatepass")) > SURELY_WHOLE


def describe_several(rows: Sequence[int], hashtags: Sequence[str]) -> str | None:
    """The rows whose cell holds several hashtags, in one line; None where there are none."""
    found = [(row, tag) for row, tag in zip(rows, hashtags, strict=True) if holds_several(tag)]
    return found and _named(found, "hold several hashtags in one cell, and are taken for one: split them") or None


def describe_truncated(hashtags: Sequence[str], length: int) -> str | None:
    """The hashtags of which a model reads the first `length` tokens only, in one line; None where there are none."""
    if not hashtags:
        return None
    return f"{len(hashtags)} hashtags are cut to the model's {length} tokens: {_shown(hashtags)}"


def describe_long(rows: Sequence[int], hashtags: Sequence[str]) -> str | None:
    """The rows whose hashtag a model may cut, in one line; None where there are none."""
    found = [(row, tag) for row, tag in zip(rows, hashtags, strict=True) if may_be_truncated(tag)]
    what = f"have a hashtag of more than {SURELY_WHOLE} bytes, of which a model may read the beginning only"
    return found and _named(found, what) or None


def _named(found: Sequence[tuple[int, str]], what: str) -> str:
    rows = ", ".join(str(row) for row, _ in found[:5]) + (", ..." if len(found) > 5 else "")
    return f"{len(found)} rows {what} (row {rows}: {_shown([tag for _, tag in found])})"


def _shown(hashtags: Sequence[str], most: int = 3, width: int = 30) -> str:
    some = [tag if len(tag) <= width else f"{tag[:width]}..." for tag in dict.fromkeys(hashtags)]
    return ", ".join(some[:most]) + (", ..." if len(some) > most else "")
