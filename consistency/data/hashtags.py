"""Defines when two spellings are the same hashtag, and finds cells that hold no hashtag, several, or a long one."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from consistency.text import listed

# The invisible characters of Unicode's Default_Ignorable_Code_Point: zero-width spaces and joiners, direction marks,
# soft hyphens, variation selectors, Hangul fillers. Its tag characters are left out: they distinguish flags.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U000e0100-\U000e01ef]"
)
_LEADING = re.compile(r"[\s#\u20e3]+")  # U+20E3 makes a keycap of the number sign before it
_BEGINNING = re.compile(r"#+\s*[^#\s]")
# Between hashtags of one cell: space, commas, and before a number sign that begins a hashtag. A keycap of the number
# sign (U+20E3) is an emoji, and the sign of `C#` begins nothing.
_BETWEEN = re.compile(r"[\s,\uff0c\u3001]+|(?<=[^#\uff03])(?=[#\uff03](?!\ufe0f?\u20e3)[^\s#\uff03,\uff0c\u3001])")

SHOWN_ROWS, SHOWN_HASHTAGS = 5, 3
REMEMBERED = 1 << 16  # hashtags for which a note remembers whether it counts them

# CLIP's tokenizers read at most 77 tokens, of which two are special, and each of the others takes a byte or more.
SURELY_WHOLE = 75  # bytes of UTF-8, which is 25 Hangul syllables


def hashtag_identity(hashtag: str) -> str:
    """Reduce a hashtag to what its spellings share: `#카페` and `카페` are one hashtag, and so are `#Cafe` and `#cafe`.

    The text is NFKC-normalised and case-folded; leading number signs, invisible characters (zero-width characters,
    variation selectors, Hangul fillers) and surrounding space are removed. Models get the hashtag as it is written.

    Parameters
    ----------
    hashtag : str
        As in the table.

    Returns
    -------
    str
        The identity, which is its own identity; empty if `hashtag` is no hashtag.

    References
    ----------
    The Unicode Standard, section 3.13, toNFKC_Casefold; Unicode Standard Annex #15.
    """
    return _bare(hashtag, str.casefold)


def plain_hashtag(hashtag: str) -> str:
    """The words of a hashtag: its identity with the case kept, `Cafe` for `#Cafe`; empty if it is no hashtag."""
    return _bare(hashtag, str)


def _bare(hashtag: str, fold: Callable[[str], str]) -> str:
    while True:  # one pass can uncover what the next removes: a compatibility form may start with a space
        folded = _INVISIBLE.sub("", fold(unicodedata.normalize("NFKC", _INVISIBLE.sub("", hashtag))))
        found = unicodedata.normalize("NFKC", folded)
        found = found[match.end() :] if (match := _LEADING.match(found)) else found
        if (found := found.rstrip()) == hashtag:
            return found
        hashtag = found


def identities(hashtags: Iterable[str]) -> npt.NDArray[np.object_]:
    """The identity of each of n hashtags, (n,) object."""
    known: dict[str, str] = {}
    found = [known.get(tag) or known.setdefault(tag, hashtag_identity(tag)) for tag in hashtags]
    identity = np.empty(len(found), dtype=object)
    identity[:] = found
    return identity


def hashtag_fault(hashtag: str) -> str | None:
    """Why a text cannot be used as a hashtag; None if it can."""
    if "\0" in hashtag:
        return "the hashtag has a NUL character"
    if any("\ud800" <= letter <= "\udfff" for letter in hashtag):  # from undecodable bytes on a command line
        return "the hashtag is not UTF-8"
    return None if hashtag_identity(hashtag) else "the hashtag is empty"


def holds_several(hashtag: str) -> bool:
    """Whether a cell holds two or more hashtags, as in `#바다 #여행` and `#바다#여행`."""
    return len(_BEGINNING.findall(unicodedata.normalize("NFKC", hashtag))) > 1


def split_hashtags(cell: str) -> list[str]:
    """The hashtags of a cell such as `#바다 #여행`, `바다,여행` or `#바다#여행`, each as it is written.

    A cell is divided at spaces, at commas, and before number signs that begin a hashtag; emoji stay whole.
    """
    return [tag for tag in _BETWEEN.split(cell) if hashtag_identity(tag)]


def may_be_truncated(hashtag: str) -> bool:
    """Whether a CLIP model might not read all of a hashtag; False is certain, True depends on its tokenizer."""
    return len(hashtag.encode("utf-8", "surrogatepass")) > SURELY_WHOLE


class RowNote:
    """One line about the rows of a table whose hashtag is of some kind, added batch by batch.

    Parameters
    ----------
    chosen : callable
        Whether a hashtag is of that kind.
    what : str
        What these rows do.
    """

    def __init__(self, chosen: Callable[[str], bool], what: str) -> None:
        self._chosen, self._what = lru_cache(REMEMBERED)(chosen), what
        self._count = 0
        self._rows: list[int] = []
        self._hashtags: dict[str, None] = {}

    def add(self, rows: Iterable[int], hashtags: Iterable[str]) -> "RowNote":
        """Add rows, by their numbers, and their hashtags; return the note."""
        for row, hashtag in zip(rows, hashtags, strict=True):
            if self._chosen(hashtag):
                self._count += 1
                if len(self._rows) <= SHOWN_ROWS:
                    self._rows.append(row)
                if len(self._hashtags) <= SHOWN_HASHTAGS:
                    self._hashtags[hashtag] = None
        return self

    @property
    def line(self) -> str | None:
        """The line; None if there are no such rows."""
        if not self._count:
            return None
        return f"{self._count} rows {self._what} (row {listed(self._rows, SHOWN_ROWS)}: {_some(self._hashtags)})"


def several_note() -> RowNote:
    """The note about rows whose cell holds several hashtags."""
    return RowNote(
        holds_several, "hold several hashtags in one cell, and are taken for one: split them with --split-hashtags"
    )


def long_note() -> RowNote:
    """The note about rows whose hashtag a model may truncate."""
    what = f"have a hashtag of more than {SURELY_WHOLE} bytes, of which a model may read the beginning only"
    return RowNote(may_be_truncated, what)


def describe_several(rows: Sequence[int], hashtags: Sequence[str]) -> str | None:
    """One line about the rows whose cell holds several hashtags; None if there are none."""
    return several_note().add(rows, hashtags).line


def describe_long(rows: Sequence[int], hashtags: Sequence[str]) -> str | None:
    """One line about the rows whose hashtag a model may truncate; None if there are none."""
    return long_note().add(rows, hashtags).line


def describe_truncated(hashtags: Sequence[str], length: int) -> str | None:
    """One line about the hashtags of which a model reads the first `length` tokens only; None if there are none."""
    if not hashtags:
        return None
    return f"{len(hashtags)} hashtags are cut to the model's {length} tokens: {_some(hashtags)}"


def _some(hashtags: Iterable[str], width: int = 30) -> str:
    return listed(
        (tag if len(tag) <= width else f"{tag[:width]}..." for tag in dict.fromkeys(hashtags)), SHOWN_HASHTAGS
    )
