"""The text recipe: as which texts a hashtag is put to the model. The vector of a hashtag is the mean of theirs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

import numpy as np
import numpy.typing as npt

from consistency.data.hashtags import plain_hashtag
from consistency.errors import InputError

PLACE = "{}"


@dataclass(frozen=True)
class TextRecipe:
    """What is made of a hashtag before it goes to the tokenizer; it concerns no image.

    Attributes
    ----------
    text : {"raw", "plain"}
        The hashtag as it is written, or without number signs and invisible characters; see `plain_hashtag`.
    templates : tuple of str
        Texts with {} in place of the hashtag; without any, the hashtag alone is the text.

    Raises
    ------
    InputError
        If a template has no place for the hashtag, or one is given twice.
    """

    text: Literal["raw", "plain"] = "raw"
    templates: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for template in self.templates:
            if PLACE not in template:
                raise InputError(
                    f"the template {template!r} has no place for the hashtag: write {PLACE} where it should be, "
                    "for example '{}의 사진'"
                )
        if len(set(self.templates)) < len(self.templates):
            raise InputError("a template is given twice: leave one of them out")

    @property
    def changes(self) -> bool:
        """Whether texts are anything but hashtags as they are written."""
        return self != TextRecipe()

    def texts(self, hashtag: str) -> tuple[str, ...]:
        """The texts of a hashtag: one for each template, at least one."""
        words = plain_hashtag(hashtag) if self.text == "plain" else hashtag
        return tuple(template.replace(PLACE, words) for template in self.templates) or (words,)

    def all_texts(self, hashtags: Iterable[str]) -> list[str]:
        """The distinct texts of some hashtags, in their order."""
        return list(dict.fromkeys(chain.from_iterable(map(self.texts, hashtags))))


def mean_vectors(vectors: Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    """Average t arrays of n vectors of unit norm, (n, d) each, and normalise the means: (n, d) float32.

    A single array is returned as it is. Vectors that cancel each other out give zeros.
    """
    if len(vectors) == 1:
        return vectors[0]
    total = np.zeros(vectors[0].shape)
    for part in vectors:
        total += part
    norms = np.linalg.norm(total, axis=1, keepdims=True)
    return np.divide(total, norms, out=np.zeros_like(total), where=norms > 1e-6).astype(np.float32)
