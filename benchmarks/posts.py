"""Test metrics of heads-post when less of a post is known, on fresh draws of the demo data set.

    python -m benchmarks.posts

Of each test post, every pair is answered from at most K other hashtags, chosen at random. The head for whole posts
(post) and the one that reads the pair alone (pair) answer all of them; `served` is what the system answers, which asks
the second below `heads.post_head.FEW` other hashtags. FEW was chosen on draws 801 to 806. Means over the draws.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.encoded import encoded_draw
from benchmarks.timing import machine
from consistency.backbone.embeddings import PairEmbeddings
from consistency.data.hashtags import identities
from consistency.evaluation.metrics import evaluate
from consistency.scale import SCORES, Floats, Ints
from consistency.text import number
from heads.post import with_context
from heads.post_head import TrainedPostHead
from koclip_consistency.workflows.encode import with_posts

SEEDS = (1201, 1202, 1203, 1204, 1205, 1206)
KNOWN = (0, 1, 2, 3, 4, 6, 8, 100)
METRICS = ("qwk", "macro_f1", "mae")


def reduced(pairs: PairEmbeddings, posts: Ints, tags: Ints, known: int, rng: np.random.Generator) -> PairEmbeddings:
    """Return the pairs, each with the context of at most `known` other hashtags of its post."""
    context = []
    for row in range(len(pairs)):
        others = np.flatnonzero((posts == posts[row]) & (tags != tags[row]))
        chosen = np.append(row, rng.permutation(others)[:known])
        of_post = with_context(pairs.take(chosen), posts[chosen].astype(object), tags[chosen].astype(object))
        assert of_post.context is not None
        context.append(of_post.context[0])
    return replace(pairs, context=np.array(context))


def run_draw(out: Path, seed: int) -> dict[tuple[int, str], list[float]]:
    """Train on one draw, and return the metrics by number of known hashtags and model."""
    inputs, split, pairs_alone = encoded_draw(out / str(seed) / "data", seed, cache=out / "cache")
    encoded = with_posts(pairs_alone, inputs)
    train, test = encoded.side(split, "train"), encoded.side(split, "test")
    head = TrainedPostHead.fit(encoded.at(train), split.labels[train], seed=seed)
    _, posts = np.unique(inputs.posts[test].astype(str), return_inverse=True)
    _, tags = np.unique(identities(inputs.table.hashtags[test]).astype(str), return_inverse=True)
    found = {}
    for known in KNOWN:
        pairs = reduced(encoded.at(test), posts, tags, known, np.random.default_rng([seed, known]))
        answers = {
            "post": head.post.predict_proba(pairs),
            "pair": head.pair.predict_proba(pairs),
            "served": head.predict_proba(pairs),
        }
        for name, chances in answers.items():
            found[known, name] = measured(split.labels[test] + 1, chances)
    return found


def measured(scores: Ints, chances: Floats) -> list[float]:
    """Return METRICS of the most probable scores."""
    metrics = evaluate(scores, chances.argmax(axis=1) + 1, chances @ SCORES, chances)
    return [float(metrics[name] or 0) for name in METRICS]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.posts", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="one draw each (default: %(default)s)")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/draws"), help="folder of the draws (default: %(default)s)"
    )
    given = parser.parse_args()
    draws = [run_draw(given.out, seed) for seed in given.seeds]
    print(machine("scikit-learn"), end="\n\n")
    print("| other hashtags | post QWK | macro-F1 | MAE | pair QWK | macro-F1 | MAE | served QWK | macro-F1 | MAE |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for known in KNOWN:
        means = [np.mean([draw[known, name] for draw in draws], axis=0) for name in ("post", "pair", "served")]
        print(f"| {'all' if known == KNOWN[-1] else known} | {' | '.join(map(number, np.concatenate(means)))} |")


if __name__ == "__main__":
    main()
