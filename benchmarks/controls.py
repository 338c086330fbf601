"""What can be predicted without images: on a pair table, and on draws of the demo, plain and like the published data.

    python -m benchmarks.controls combined_data.csv --fold-seeds 11 12 13 14 15
    python -m benchmarks.controls --draws 13 14 15 --plain-draws 11 12 13

QWK out of fold, in 5 folds by image, for each division of a table into folds and for each draw, and the means. The
settings of text-and-post were chosen on fold seeds 1 to 3 of the published table and draws 1 and 2 of the plain demo,
and those of the posts like the published ones on draws 1, 2, 11 and 12 of theirs.
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from benchmarks.timing import machine
from consistency.data.distinct import number_distinct
from consistency.data.folds import make_folds
from consistency.data.hashtags import identities
from consistency.data.pairs import read_pairs
from consistency.evaluation.controls import TEXT_STRENGTH, decide
from consistency.evaluation.post_texts import PostTexts
from consistency.evaluation.systems import TEXT_AND_POST
from consistency.evaluation.text_and_post import text_and_post_predictions
from consistency.scale import Ints, Objects, confusion, qwk
from consistency.text import number
from demo.dataset import sample_rows
from demo.like_published import IMAGES

FOLDS = 5
READS = {
    "kernel, text": (False, False),
    "kernel, text and post": (True, False),
    "kernel, text and position": (False, True),
    "kernel, text, post and position": (True, True),
}
Table = tuple[Objects, Objects, Ints]


def of_table(path: Path) -> Table:
    """The images, hashtags and classes of the distinct pairs of a table; images are told apart by name."""
    table = read_pairs(path)
    return _distinct(table.images, table.hashtags, table.labels)


def of_draw(seed: int, *, like_published: bool) -> Table:
    """The same for a draw."""
    rows = sample_rows(seed, images=IMAGES, like_published=like_published) if like_published else sample_rows(seed)
    images, hashtags = (np.array([getattr(row, name) for row in rows], dtype=object) for name in ("image", "hashtag"))
    return _distinct(images, hashtags, np.array([row.score - 1 for row in rows]))


def _distinct(images: Objects, hashtags: Objects, labels: Ints) -> Table:
    firsts = number_distinct(zip(images, identities(hashtags), strict=True))[0]
    return images[firsts], hashtags[firsts], labels[firsts]


def out_of_fold(table: Table, seed: int) -> dict[str, float]:
    """QWK of each control over all rows of a table."""
    images, hashtags, labels = table
    fold = make_folds(labels, images, folds=FOLDS, seed=seed)

    def reached(predict: Callable[[Ints, Ints], Ints]) -> float:
        predicted = np.empty_like(labels)
        for part in range(FOLDS):
            test = np.flatnonzero(fold == part)
            predicted[test] = predict(np.flatnonzero(fold != part), test)
        return float(qwk(confusion(labels, predicted)))

    def text_only(train: Ints, test: Ints) -> Ints:
        text = TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4))  # as the control of this name
        model = make_pipeline(text, LogisticRegression(C=TEXT_STRENGTH, max_iter=2000))
        return np.asarray(model.fit(hashtags[train], labels[train]).predict(hashtags[test]))

    found = {"text-only": reached(text_only)}
    for name, (context, ordered) in READS.items():
        texts = PostTexts.of(hashtags, images, context=context, order=np.arange(len(labels)) if ordered else None)

        def kernel(train: Ints, test: Ints, texts: PostTexts = texts) -> Ints:
            said = text_and_post_predictions(texts.take(train), labels[train], images[train], texts.take(test))
            return decide(TEXT_AND_POST, said)

        found[name] = reached(kernel)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.controls", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tables", type=Path, nargs="*", metavar="TABLE.csv", help="a pair table")
    parser.add_argument("--fold-seeds", type=int, nargs="+", default=(11, 12, 13), help="of its divisions into folds")
    parser.add_argument("--draws", type=int, nargs="+", default=(), help="seeds of draws like the published data")
    parser.add_argument("--plain-draws", type=int, nargs="+", default=(), help="seeds of draws of the plain demo")
    given = parser.parse_args()
    names = ["text-only", *READS]
    print(machine("scikit-learn"), end="\n\n")
    print(f"| QWK | {' | '.join(names)} |\n| {' | '.join(['---'] * (len(names) + 1))} |", flush=True)
    sources: list[tuple[str, Sequence[int], Callable[[int], dict[str, float]]]] = [
        (f"{path.name}, folds", given.fold_seeds, partial(out_of_fold, of_table(path))) for path in given.tables
    ]
    for title, seeds, like_published in (
        ("like published, draw", given.draws, True),
        ("plain demo, draw", given.plain_draws, False),
    ):
        sources.append(
            (title, seeds, lambda seed, like=like_published: out_of_fold(of_draw(seed, like_published=like), 1))
        )
    for title, seeds, measure in sources:
        reached = []
        for seed in seeds:
            reached.append(list(measure(seed).values()))
            print(f"| {title} {seed} | {' | '.join(map(number, reached[-1]))} |", flush=True)
        if len(reached) > 1:
            print(
                f"| {title}s, mean | {' | '.join(number(float(mean)) for mean in np.mean(reached, axis=0))} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
