"""The methods paragraph: what was tested on what, how it was chosen, and how sure the figures are, in words."""

from collections.abc import Mapping, Sequence

from consistency.evaluation.compare import RESAMPLES as PAIRED
from consistency.evaluation.intervals import RESAMPLES
from consistency.evaluation.results import Result
from consistency.evaluation.systems import CONTROLS, competes
from consistency.report.standing import OVERALL, Comparison, name_of
from consistency.runs.fitted import side_sizes
from consistency.runs.read import Run
from consistency.text import listed

DIVIDED = {
    "grouped": "Repeated pairs were merged, and all rows of an image were kept on one side of the split, so that "
    "every test image is new to the systems.",
    "hashtag": "Repeated pairs were merged, and all rows of a hashtag were kept on one side of the split, so that "
    "every test hashtag is new to the systems; the images are not.",
    "paper": "Single rows were split at random, as in the published protocol: a test image has mostly been seen in "
    "training with other hashtags.",
    "file": "The split was read from a file.",
}
ANSWERED = {"test": "test rows", "cv": "rows answered out of fold", "val": "validation rows", "train": "training rows"}
CHOSEN = 3  # systems that a sentence names


def methods_md(runs: Sequence[Run], comparison: Comparison, main: Result) -> str:
    """Return the paragraphs as Markdown, from `run.json` and `split.csv` of the runs and from the results.

    Parameters
    ----------
    runs : sequence of Run
        The runs whose systems are in the comparison.
    comparison : Comparison
        The systems of one protocol and split.
    main : Result
        The system that the figures show.
    """
    run = next(run for run in runs if any(result is main for result in run.results))
    parts = {
        "Data and protocol": [*_data(run, main), *_leakage(run, main)],
        "Systems": [sentence for each in runs for sentence in _system(each, comparison)] + [_controls(comparison)],
        "Metrics and intervals": _intervals(run, comparison, main),
        "Software": [_software(run)],
    }
    text = "\n\n".join(f"**{title}.** {' '.join(filter(None, sentences))}" for title, sentences in parts.items())
    return f"# Methods\n\n{text}\n"


def _data(run: Run, main: Result) -> list[str]:
    p, sizes = main.predictions, side_sizes(run.path)
    sentences = [_labels(run)]
    if "train" in sizes:
        rows, images = sizes["train"]
        merged = "" if p.protocol == "paper" else ", before repeats are merged"
        sentences.append(f"The training side has {_count(rows, 'row')} of {_count(images, 'image')}{merged}.")
    tested = f"{_count(len(p), 'pair')} of {_count(len(set(p.images)), 'image')}"
    sentences.append(f"The systems were evaluated on {tested} ({ANSWERED[p.split]}).")
    sentences.append(DIVIDED.get(p.protocol, f"The protocol is {p.protocol}."))
    fraction, seed = run.setting("evaluation", "test_fraction"), run.setting("evaluation", "seed")
    if isinstance(fraction, float) and p.split == "test" and not run.setting("evaluation", "split"):
        sentences.append(f"The test side was drawn to hold {100 * fraction:g} % of the rows (seed {seed}).")
    near = run.setting("evaluation", "near_duplicates")
    if near is not None:
        sentences.append(f"Images whose 64-bit hashes differ in at most {near} bits were kept together.")
    return sentences


def _labels(run: Run) -> str:
    columns = run.setting("source", "score_column")
    if isinstance(columns, list) and len(columns) > 1:
        how = run.setting("source", "aggregate")
        return f"The label of a pair is the {how} of {len(columns)} columns of scores ({', '.join(map(str, columns))})."
    return "Each pair of an image and a hashtag has a label from 1 (unrelated) to 5 (belong together)."


def _leakage(run: Run, main: Result) -> list[str]:
    counts = run.detail("division", "leakage", main.predictions.split)
    sentences = []
    if isinstance(counts, Mapping) and all(
        isinstance(counts.get(key), int) for key in ("n", "image", "pair", "hashtag")
    ):
        sentences.append(
            f"Of the {counts['n']:,} rows evaluated, {counts['image']:,} have their image in the training rows, "
            f"{counts['pair']:,} their exact pair, and {counts['hashtag']:,} their hashtag."
        )
    if main.trained_on:
        p = main.predictions
        sentences.append(f"{main.trained_on.describe(p.backbone, split=p.split)}.")
    return sentences


def _system(run: Run, comparison: Comparison) -> list[str]:
    """What the systems of a run are, and how their settings were chosen."""
    own = [result for result in run.results if result in comparison.results and competes(result.predictions.system)]
    if not own:
        return []
    named = listed(dict.fromkeys(name_of(result) for result in own), CHOSEN)
    if run.command == "similarity":
        return [
            f"Similarity: the cosine of image and hashtag, cut into scores by four thresholds ({named}), which were "
            f"fixed in advance (simple) or fitted on the training rows for {run.setting('objective')}."
        ]
    sentences = [f"{named}: {_trained(run)}.", _choice(run)]
    trainings = run.detail("trainings", "seeds")
    if isinstance(trainings, list):
        sentences.append(
            f"It was trained {len(trainings)} times with different seeds; figures are of the first training."
        )
    return sentences


def _trained(run: Run) -> str:
    backbone, head = run.info.get("backbone"), run.detail("head")
    if run.command == "finetune":
        return f"both encoders of {backbone} fine-tuned with a head of five scores"
    if run.command == "audit":
        return f"judges on frozen embeddings of {backbone}, each trained without the images that it answers for"
    if not isinstance(head, Mapping):
        return f"a head trained on frozen embeddings of {backbone}"
    if "features" not in head:
        return f"a head on frozen embeddings of {backbone} that also reads the other hashtags of the same image"
    widths = head.get("hidden")
    shape = (
        f"hidden layers of {', '.join(map(str, widths))} units"
        if isinstance(widths, list) and widths
        else "no hidden layer"
    )
    about = f"{head['features']} features, {shape} and loss {head.get('loss')}"
    return f"a head on frozen embeddings of {backbone}, with {about}"


def _choice(run: Run) -> str:
    if run.command == "finetune":
        epoch = run.detail("kept_epoch")
        return (
            f"Its weights are those of epoch {epoch}, chosen on validation rows of the training side." if epoch else ""
        )
    if run.setting("preset") == "paper":
        return "Its settings are those of the published recipe; nothing was chosen."
    if run.setting("grid"):
        folds, count = run.setting("inner_folds"), run.setting("ensemble")
        several = (
            f" The probabilities of the best {count} were averaged." if isinstance(count, int) and count > 1 else ""
        )
        return (
            f"It was chosen from a grid by the mean of macro-F1 and QWK over {folds} folds inside the training rows; "
            f"test rows took no part in the choice.{several}"
        )
    return "Its settings were fixed in advance; test rows took no part in any choice." if run.command == "heads" else ""


def _controls(comparison: Comparison) -> str:
    there = [result.predictions.system for result in comparison.results if result.predictions.system in CONTROLS]
    return f"Controls that see no image: {', '.join(dict.fromkeys(there))}." if there else ""


def _intervals(run: Run, comparison: Comparison, main: Result) -> list[str]:
    two_way = run.setting("evaluation", "intervals") == "two-way"
    whole = "hashtags" if main.predictions.protocol == "hashtag" else "images"
    drawn = "images and hashtags at once" if two_way else whole
    sentences = [
        "We report accuracy, macro-F1, mean absolute error (MAE) and quadratic weighted kappa (QWK).",
        f"Intervals are 95 % intervals of a bias-corrected bootstrap over {drawn} ({RESAMPLES:,} resamples), "
        "widened by Student's t for few clusters.",
        f"Systems are compared by the difference on the same {PAIRED:,} resamples of the test {whole}; one is called "
        "better if the 95 % interval of the paired difference excludes 0.",
        "The intervals do not cover another training or another split.",
    ]
    standing = comparison.standing(OVERALL)
    if standing is not None and standing.certain:
        sentences.append(
            f"By the mean of macro-F1 and QWK, {name_of(standing.leader)} is better than every other system."
        )
    elif standing is not None and standing.rivals:
        sentences.append("By the mean of macro-F1 and QWK, no system is better than all others.")
    return sentences


def _software(run: Run) -> str:
    versions = run.info.get("versions")
    known = versions if isinstance(versions, Mapping) else {}
    names = [
        f"{name} {known[name]}" for name in ("koclip-consistency", "python", "torch", "transformers") if name in known
    ]
    digest = str(run.info.get("data_digest"))[:12]
    return f"{', '.join(names)}. The table of pairs has the SHA-256 {digest}…; predictions of every row are kept."


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'s' * (n != 1)}"
