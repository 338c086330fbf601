"""Why an image and a hashtag got their cosine and their score: which parts of the image they depend on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from consistency.errors import BackboneError, InputError
from consistency.options import ImageLimits, MapMethod
from consistency.progress import Progress, silent
from koclip_consistency.scoring.images import ImageInput
from koclip_consistency.scoring.occlusion import Grid, Values, covering_grid, deletion_gap, fixed_place, occlusion
from koclip_consistency.scoring.probe import Probe

if TYPE_CHECKING:
    from koclip_consistency.scoring.scorer import Scorer

Explained = Literal["cosine", "expected_score"]
METHODS: tuple[MapMethod, ...] = get_args(MapMethod)
EVIDENCE = (
    "evidence, not proof: a map shows what the answer depends on by one method; compare its deletion gap with that of "
    "the fixed place, which sees neither image nor hashtag"
)


@dataclass(frozen=True, eq=False)
class Map:
    """What one method says about the parts of an image.

    Attributes
    ----------
    method : {"attention", "occlusion"}
        Attention times gradient, or covering one cell at a time.
    explains : {"cosine", "expected_score"}
        The number that is explained, in whose unit the gaps are.
    grid : (rows, columns) float64
        Larger where a cell matters more, from the top left. Occlusion: by how much the number falls when the cell is
        covered. Attention: 0 or more, without a unit.
    gap : float
        Deletion gap of the map; see `occlusion.deletion_gap`.
    control_gap : float
        That of the fixed place.
    """

    method: MapMethod
    explains: Explained
    grid: Grid
    gap: float
    control_gap: float


@dataclass(frozen=True, eq=False)
class Explanation:
    """The answer of a system for one pair, and the maps that explain it.

    Attributes
    ----------
    image, hashtag, system : str
        What was asked, and who answers.
    others : tuple of str
        The other hashtags of the post.
    predicted : int or None
        Score, 1 to 5; None where nothing was trained.
    expected_score : float or None
        1 to 5; None for systems without probabilities.
    similarity : float
        Cosine, -1 to 1.
    pixels : (h, w, 3) uint8
        The image as the model sees it, over which the grids lie.
    maps : tuple of Map
        One for each method.
    notes : tuple of str
        What could not be explained, and why.
    """

    image: str
    hashtag: str
    system: str
    others: tuple[str, ...]
    predicted: int | None
    expected_score: float | None
    similarity: float
    pixels: npt.NDArray[np.uint8]
    maps: tuple[Map, ...]
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """What `explain --json` prints, without the image's pixels."""
        return {
            "image": self.image,
            "hashtag": self.hashtag,
            "others": list(self.others),
            "system": self.system,
            "predicted": self.predicted,
            "expected_score": self.expected_score,
            "similarity": self.similarity,
            "maps": [{**vars(each), "grid": each.grid.tolist()} for each in self.maps],
            "notes": [*self.notes, EVIDENCE],
        }


def explain(
    scorer: "Scorer",
    image: ImageInput,
    hashtag: str,
    *,
    others: Sequence[str] = (),
    methods: Sequence[MapMethod] | None = None,
    limits: ImageLimits | None = None,
    progress: Progress = silent,
) -> Explanation:
    """Explain the cosine and the score of an image and a hashtag.

    Parameters
    ----------
    scorer : Scorer
        The trained system, or a backbone alone.
    image : path, bytes, PIL.Image.Image or uint8 array of shape (height, width, 3) or (height, width)
    hashtag : str
        The hashtag to explain.
    others : sequence of str
        The other hashtags of its post, for a system that reads the post.
    methods : sequence of {"attention", "occlusion"}, optional
        The maps to make: attention times gradient for the cosine, occlusion for what the system ranks by. By default
        both, or occlusion alone if the architecture has no attention weights between patches.
    limits : ImageLimits, optional
        Which images are refused; the default limits if None.
    progress : Progress
        Shows the maps that are done.

    Returns
    -------
    Explanation

    Raises
    ------
    InputError
        If the image or a hashtag cannot be used, or a method is unknown.
    BackboneError
        If "attention" is asked for and the architecture has no attention weights between patches.

    Examples
    --------
    >>> import koclip_consistency as kc
    >>> scorer = kc.load("runs/heads")
    >>> explained = kc.explain(scorer, "image/demo_001.png", "#바다")
    >>> [(each.method, each.explains, each.grid.shape) for each in explained.maps]
    [('attention', 'cosine', (6, 6)), ('occlusion', 'expected_score', (6, 6))]
    """
    if unknown := [method for method in methods or () if method not in METHODS]:
        raise InputError(f"there is no method {unknown[0]!r}: expected {' or '.join(METHODS)}")
    hashtags = [hashtag, *others]
    answer = scorer.answer(image, hashtags, limits)
    if answer.skipped:
        raise InputError(f"{answer.skipped[0].hashtag!r} cannot be explained: {answer.skipped[0].reason}")
    probe = scorer.probe(image, hashtags, limits)
    expected = None if answer.probabilities is None else float(answer.values[0])
    maps, notes = [], []
    with progress("Explaining", len(methods or METHODS)) as advance:
        for method in methods or METHODS:
            try:
                maps.append(_by_attention(probe) if method == "attention" else _by_occlusion(probe, expected))
            except BackboneError as error:
                if methods is not None:
                    raise
                notes.append(str(error))
            advance()
    return Explanation(
        image=Path(probe.name).name,
        hashtag=hashtag,
        system=scorer.system,
        others=tuple(others),
        predicted=None if answer.predicted is None else int(answer.predicted[0]),
        expected_score=expected,
        similarity=float(answer.similarity[0]),
        pixels=probe.visible,
        maps=tuple(maps),
        notes=tuple(notes),
    )


def _by_attention(probe: Probe) -> Map:
    return _measured(probe, "attention", "cosine", probe.cosines, probe.relevance())


def _by_occlusion(probe: Probe, expected_score: float | None) -> Map:
    explains: Explained = "cosine" if expected_score is None else "expected_score"
    grid = occlusion(probe.values, probe.pixels, covering_grid(probe.patches))
    return _measured(probe, "occlusion", explains, probe.values, grid)


def _measured(probe: Probe, method: MapMethod, explains: Explained, values: Values, grid: Grid) -> Map:
    """The map with its deletion gap and that of the control."""
    gap, control = (deletion_gap(values, probe.pixels, each) for each in (grid, fixed_place(grid.shape)))
    return Map(method, explains, grid, gap, control)
