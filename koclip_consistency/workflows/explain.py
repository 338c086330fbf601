"""`explain`: maps of the parts of an image that its cosine and its score depend on, as a figure, and facts beside."""

from dataclasses import dataclass
from typing import Any

from consistency.durable import check_output, write_file
from consistency.errors import InputError
from consistency.options import ExplainOptions
from consistency.progress import Progress, silent
from consistency.report.maps import Panel, maps_png
from consistency.text import number
from koclip_consistency.scoring.explanation import EVIDENCE, Explanation, Map, explain
from koclip_consistency.scoring.facts import Facts, find_facts
from koclip_consistency.scoring.learned import read_learned
from koclip_consistency.scoring.loading import load_scorer
from koclip_consistency.scoring.occlusion import COARSE, fixed_place

METHOD_TITLES = {"attention": "attention x gradient", "occlusion": "occlusion, cell by cell"}
VALUE_TITLES = {"cosine": "Cosine", "expected_score": "Expected score"}
COLOURS = "Orange parts raise the number, blue parts lower it."


@dataclass(frozen=True, eq=False)
class Explained:
    """The maps and the facts of one pair."""

    explanation: Explanation
    facts: Facts

    @property
    def notes(self) -> tuple[str, ...]:
        """Lines about what is missing, and how to read the maps."""
        return (*self.explanation.notes, *self.facts.notes, EVIDENCE)

    def as_dict(self) -> dict[str, Any]:
        """What `explain --json` prints."""
        return {**self.explanation.as_dict(), "facts": self.facts.as_dict()}


def run_explain(options: ExplainOptions, progress: Progress = silent) -> Explained:
    """Explain one image and hashtag, and write the figure.

    Raises
    ------
    InputError
        If the run, the image or the hashtag cannot be used, or the figure cannot be written.
    """
    check_output(options.file)
    encoding, limits = options.encoding, options.source.limits
    scorer = load_scorer(
        options.model,
        system=options.system,
        backbone=options.backbone,
        cache=encoding.cache,
        device=encoding.device,
        threads=encoding.threads,
        gradients=True,
    )
    explanation = explain(
        scorer,
        options.image_file,
        options.hashtag,
        others=options.others,
        methods=options.methods or None,
        limits=limits,
        progress=progress,
    )
    learned, why = None, None
    if scorer.run is not None:
        try:
            learned = read_learned(scorer.run, data=options.data, images=options.images)
        except InputError as error:
            if options.data is not None:
                raise
            why = str(error)
    facts = find_facts(scorer, options.image_file, options.hashtag, learned, why_not=why, limits=limits)
    write_file(options.file, draw(explanation))
    return Explained(explanation, facts)


def draw(explained: Explanation) -> bytes:
    """The image, the maps and the control as PNG, without the hashtag, since most machines lack Korean fonts."""
    values = {"cosine": explained.similarity, "expected_score": explained.expected_score}
    shape = explained.maps[0].grid.shape if explained.maps else COARSE
    panels = [Panel(_title(each, values[each.explains]), each.grid) for each in explained.maps]
    control = Panel("Control: a fixed place\nthe same for all images\nand hashtags", fixed_place(shape))
    score = "" if explained.predicted is None else f"\nscore {explained.predicted}, system {explained.system}"
    title = f"What the model sees\nresized and cropped{score}"
    return maps_png(explained.pixels, title, [*panels, control], f"{COLOURS} {EVIDENCE[0].upper()}{EVIDENCE[1:]}.")


def _title(each: Map, value: float | None) -> str:
    gaps = f"deletion gap {number(each.gap)}, fixed place {number(each.control_gap)}"
    return f"{VALUE_TITLES[each.explains]} {number(value)}\n{METHOD_TITLES[each.method]}\n{gaps}"
