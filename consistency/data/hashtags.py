"""What a hashtag is: when two are the same, and what is none."""

import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # scikit-learn takes a second to import, and reading a run needs none of it
    pass


_VISIBLE = re.compile("[^\\s#\uff03\ufe5f\u200b-\u200f\u2060\ufe0f\ufeff]")  # neither space nor any sort of #


def normalise_hashtag(hashtag: str) -> str:
    """What makes two hashtags the same: NFC, without surrounding space. Models get the raw text."""
    return unicodedata.normalize("NFC", hashtag).strip()


def hashtag_fault(hashtag: str) -> str | None:
    """Why `hashtag` is none, None where it is one."""
    if "\0" in hashtag:
        return "the hashtag has a NUL character"
    if any("\ud800" <= letter <= "\udfff" for letter in hashtag):  # of bytes on a command line
        return "the hashtag is not UTF-8"
    return None if _VISIBLE.search(hashtag) else "the hashtag is empty"
