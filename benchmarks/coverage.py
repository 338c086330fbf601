"""How often do 95 % intervals cover the truth? Several kinds of interval on simulated test sets.

    python -m benchmarks.coverage                  1,500 test sets of 172 and of 35 images: a quarter of an hour
    python -m benchmarks.coverage --quick          100 of each: a minute
    python -m benchmarks.coverage --images 10      another number of images
    python -m benchmarks.coverage --two-way        hashtags have effects too: intervals over images, hashtags and both

The simulated population has images with about ten rows each. Scores have the shares of the published data and its
correlation within an image (intraclass correlation 0.21), and two systems err more on some images than on others. The
true value of a metric is its value on 100,000 images. Small test sets are drawn from the same population. On each of
them, every kind of interval is computed from the same 2,000 resamples of its images, and counted if it covers the true
value; the difference of the two systems is treated alike. With `--two-way` each hashtag, with about three rows, also
has effects as large as those of an image, and a second table is about new hashtags on known images, which is what the
hashtag protocol tests. `ours` is the interval of `consistency.evaluation.intervals`. A share of 95 % has a standard
error of 0.6 percentage points over 1,500 test sets.
"""

import argparse
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, t

from benchmarks.timing import machine
from consistency.evaluation.intervals import (
    LEVEL,
    RESAMPLES,
    UNCORRECTED,
    bootstrap_intervals,
    effective_clusters,
    interval,
)
from consistency.evaluation.metrics import METRICS, counted_metrics, evaluate
from consistency.scale import Floats, Ints

SHARES = (0.043, 0.109, 0.160, 0.268, 0.420)  # of the scores 1..5 among the 1,792 published pairs
CUTS = norm.ppf(np.cumsum(SHARES)[:-1])
ALIKE = 0.25  # variance of the latent score between images; it gives the scores an intraclass correlation of 0.21
NOISES = (0.9, 1.2)  # of the two systems
POPULATION = 100_000
DATASETS = 1500
IMAGES = (172, 35)

HASHTAGS = (250, 50)  # tested at once under the hashtag protocol
COUNTED = ("accuracy", "macro_f1", "mae", "qwk", "within_one", "ece")  # Spearman takes nine tenths of the time
FEW_RESAMPLES = 500

Interval = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Answers:
    """Predictions of a system for n rows, in the columns that `consistency.evaluation.metrics.evaluate` takes."""

    predicted: Ints
    values: Floats
    probabilities: Floats


@dataclass(frozen=True, eq=False)
class Drawn:
    """A test set: scores (n,) from 1 to 5, the image of each row (n,), and the predictions of two systems."""

    scores: Ints
    image: Ints
    systems: tuple[Answers, ...]


def draw(rng: np.random.Generator, images: int) -> Drawn:
    """Draw the rows of some images of the population: a third of the images have 5 rows, the others 1 to 25."""
    rows = np.where(rng.random(images) < 1 / 3, 5, rng.integers(1, 26, images))
    image = np.repeat(np.arange(images), rows)

    def by_image() -> Floats:
        return rng.standard_normal(images)[image]

    def by_row() -> Floats:
        return rng.standard_normal(len(image))

    latent = np.sqrt(ALIKE) * by_image() + np.sqrt(1 - ALIKE) * by_row()
    difficulty, misread, misread_row = np.exp(0.4 * by_image()), 0.4 * by_image(), by_row()
    systems = []
    for noise in NOISES:
        own = 0.3 * by_image() + noise * difficulty * (0.6 * misread_row + 0.8 * by_row())
        seen = (latent + misread + own) / np.sqrt(1 + 0.25 + noise**2 * np.exp(0.32))
        edges = np.r_[-np.inf, CUTS, np.inf]
        chances = np.diff(norm.cdf((edges - seen[:, None]) / 0.6), axis=1)
        systems.append(Answers(chances.argmax(axis=1) + 1, chances @ np.arange(1.0, 6.0), chances))
    return Drawn(np.searchsorted(CUTS, latent) + 1, image, tuple(systems))


@dataclass(frozen=True, eq=False)
class Crossed:
    """A test set in which images and hashtags have effects: image, hashtag and score of each row, and one system."""

    image: Ints
    hashtag: Ints
    scores: Ints
    said: Answers


@dataclass(frozen=True, eq=False)
class Images:
    """Effects of k images, (k,) each: on the score, on the difficulty, and on the error of the system."""

    latent: Floats
    difficulty: Floats
    misread: Floats

    @classmethod
    def draw(cls, rng: np.random.Generator, count: int) -> "Images":
        latent, difficulty, misread = rng.standard_normal((3, count))
        return cls(latent, difficulty, misread)


def cross(rng: np.random.Generator, image: Ints, hashtag: Ints, images: Images, hashtags: Images) -> Crossed:
    """Draw scores and predictions for rows, (n,), of images and hashtags whose effects are equally large."""
    own = rng.standard_normal((3, len(image)))
    of_images, of_hashtags = images.latent[image], hashtags.latent[hashtag]
    latent = np.sqrt(ALIKE) * (of_images + of_hashtags) + np.sqrt(1 - 2 * ALIKE) * own[0]
    difficulty = np.exp(0.3 * (images.difficulty[image] + hashtags.difficulty[hashtag]))
    misread = 0.4 * (images.misread[image] + hashtags.misread[hashtag])
    noise = NOISES[0] * difficulty * (0.6 * own[1] + 0.8 * own[2])
    seen = (latent + misread + noise) / np.sqrt(1 + 0.32 + NOISES[0] ** 2 * np.exp(0.36))
    edges = np.r_[-np.inf, CUTS, np.inf]
    chances = np.diff(norm.cdf((edges - seen[:, None]) / 0.6), axis=1)
    said = Answers(chances.argmax(axis=1) + 1, chances @ np.arange(1.0, 6.0), chances)
    return Crossed(image, hashtag, np.searchsorted(CUTS, latent) + 1, said)


def draw_crossed(rng: np.random.Generator, count: int) -> Crossed:
    """Draw rows of `count` new images as in `draw`, with a third as many new hashtags as rows, some of them popular."""
    rows = np.where(rng.random(count) < 1 / 3, 5, rng.integers(1, 26, count))
    image = np.repeat(np.arange(count), rows)
    tags = max(2, len(image) // 3)
    popular = rng.lognormal(size=tags)
    hashtag = rng.choice(tags, len(image), p=popular / popular.sum())
    return cross(rng, image, hashtag, Images.draw(rng, count), Images.draw(rng, tags))


def draw_hashtags(rng: np.random.Generator, images: Images, count: int) -> Crossed:
    """Draw 1 to 7 rows for each of `count` new hashtags on the known `images`."""
    hashtag = np.repeat(np.arange(count), np.minimum(rng.geometric(0.5, count), 7))
    image = rng.integers(0, len(images.latent), len(hashtag))
    return cross(rng, image, hashtag, images, Images.draw(rng, count))


def figures_on(rows: Crossed) -> dict[str, float | None]:
    return evaluate(rows.scores, rows.said.predicted, rows.said.values, rows.said.probabilities)


def intervals_on(rows: Crossed, clusters: Ints, crossed: Ints | None) -> dict[str, Interval | None]:
    said = (rows.scores, rows.said.predicted, rows.said.values, rows.said.probabilities)
    return bootstrap_intervals(*said, clusters, crossed=crossed, resamples=FEW_RESAMPLES, names=COUNTED)


def simulate_two_way(count: int, *, datasets: int, seed: int) -> dict[tuple[str, str], float]:
    """Return, by (metric, way), the share of test sets of new images and hashtags whose interval covers the truth."""
    rng = np.random.default_rng(seed)
    truth = figures_on(draw_crossed(np.random.default_rng(0), POPULATION))
    held = dict.fromkeys(((name, way) for name in COUNTED for way in ("image", "hashtag", "two-way")), 0)
    for _ in range(datasets):
        rows = draw_crossed(rng, count)
        ways = {"image": (rows.image, None), "hashtag": (rows.hashtag, None), "two-way": (rows.image, rows.hashtag)}
        for way, (clusters, crossed) in ways.items():
            for name, found in intervals_on(rows, clusters, crossed).items():
                held[name, way] += _holds(found, truth[name])
    return {key: count / datasets for key, count in held.items()}


def simulate_hashtags(count: int, *, datasets: int, seed: int, worlds: int = 10) -> dict[str, float]:
    """Return, by metric, the share of test sets of `count` new hashtags on known images whose interval is right."""
    rng = np.random.default_rng(seed)
    held, each = dict.fromkeys(COUNTED, 0), max(1, datasets // worlds)
    for _ in range(worlds):
        images = Images.draw(rng, IMAGES[0])
        truth = figures_on(draw_hashtags(rng, images, POPULATION))
        for _ in range(each):
            rows = draw_hashtags(rng, images, count)
            for name, found in intervals_on(rows, rows.hashtag, None).items():
                held[name] += _holds(found, truth[name])
    return {name: count / (each * worlds) for name, count in held.items()}


def _holds(found: Interval | None, truth: float | None) -> bool:
    return found is not None and truth is not None and found[0] <= truth <= found[1]


@dataclass(frozen=True, eq=False)
class Sample:
    """A metric over n images (m effective ones): its value, on B resamples, and with each image left out, (n,)."""

    figure: float
    resampled: Floats
    left_out: Floats
    n: int
    m: float
    corrected: bool

    def quantiles(self, low: float, high: float) -> Interval:
        """Return the percentiles of the resampled values that correspond to two normal quantiles."""
        found = np.percentile(self.resampled, 100 * norm.cdf([low, high]))
        return float(found[0]), float(found[1])

    @property
    def bias(self) -> float:
        below = (self.resampled < self.figure - 1e-9).mean() + (np.abs(self.resampled - self.figure) <= 1e-9).mean() / 2
        return float(norm.ppf(np.clip(below, 1e-4, 1 - 1e-4)))

    @property
    def influence(self) -> Floats:
        return self.left_out.mean() - self.left_out


NORMAL = float(norm.ppf((1 + LEVEL) / 2))


def expanded(n: float) -> float:
    return float(t.ppf((1 + LEVEL) / 2, n - 1) * np.sqrt(n / (n - 1)))


def percentile(s: Sample) -> Interval:
    return s.quantiles(-NORMAL, NORMAL)


def basic(s: Sample) -> Interval:
    low, high = percentile(s)
    return 2 * s.figure - high, 2 * s.figure - low


def expanded_percentile(s: Sample) -> Interval:
    return s.quantiles(-expanded(s.n), expanded(s.n))


def bca(s: Sample, z: float = NORMAL) -> Interval:
    """BCa (Efron 1987, section 3), with the acceleration from the jackknife over images."""
    spread = 6 * (s.influence**2).sum() ** 1.5
    acceleration = (s.influence**3).sum() / spread if spread else 0.0
    low, high = (s.bias + (s.bias + end) / (1 - acceleration * (s.bias + end)) for end in (-z, z))
    return s.quantiles(low, high)


def expanded_bca(s: Sample) -> Interval:
    return bca(s, expanded(s.n))


def jackknife_t(s: Sample) -> Interval:
    reach = t.ppf((1 + LEVEL) / 2, s.n - 1) * np.sqrt((s.n - 1) / s.n * (s.influence**2).sum())
    return s.figure - reach, s.figure + reach


def ours(s: Sample) -> Interval:
    return interval(s.figure, s.resampled, s.m, corrected=s.corrected) or (np.nan, np.nan)


METHODS: dict[str, Callable[[Sample], Interval]] = {
    "percentile": percentile,
    "basic": basic,
    "expanded": expanded_percentile,
    "BCa": bca,
    "expanded BCa": expanded_bca,
    "jackknife t": jackknife_t,
    "ours": ours,
}


def figures_of(test: Drawn, times: Floats, names: Collection[str]) -> dict[tuple[str, str], Floats]:
    """Return metrics, (B,), of the first system and of the difference, by (subject, metric); times: (B, images)."""
    one, other = (
        counted_metrics(test.scores, a.predicted, a.values, a.probabilities, test.image, names=names)(times)
        for a in test.systems
    )
    alone = {("system", name): one[name] for name in names}
    return alone | {("difference", name): other[name] - one[name] for name in names}


def simulate(
    images: int,
    *,
    datasets: int,
    seed: int,
    truth: Mapping[tuple[str, str], float],
    resamples: int = RESAMPLES,
    methods: Sequence[str] = tuple(METHODS),
) -> dict[tuple[str, str, str], tuple[float, float]]:
    """Return the shares of test sets whose interval lies above and below the truth, by (subject, metric, method)."""
    rng = np.random.default_rng(seed)
    names = list(dict.fromkeys(name for _, name in truth))
    missed = {(*key, method): [0, 0] for key in truth for method in methods}
    for _ in range(datasets):
        test = draw(rng, images)
        drawn = rng.integers(0, images, (resamples, images)) + np.arange(resamples)[:, None] * images
        times = np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape)
        blocks = np.ones((1, images)), 1 - np.eye(images), times
        figures = figures_of(test, np.concatenate(blocks).astype(np.float64), names)
        m = effective_clusters(test.image.astype(object))
        for key, found in figures.items():
            all_rows, left_out, resampled = np.split(found, [1, 1 + images])
            sample = Sample(all_rows[0], resampled, left_out, images, m, key[1] not in UNCORRECTED)
            for method in methods:
                low, high = METHODS[method](sample)
                missed[*key, method][0] += low > truth[key]
                missed[*key, method][1] += high < truth[key]
    return {key: (above / datasets, below / datasets) for key, (above, below) in missed.items()}


def population(
    seed: int = 0, images: int = POPULATION, names: Collection[str] = METRICS
) -> dict[tuple[str, str], float]:
    """Return the true values by (subject, metric)."""
    figures = figures_of(draw(np.random.default_rng(seed), images), np.ones((1, images)), names)
    return {key: float(found[0]) for key, found in figures.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="100 test sets of each size")
    parser.add_argument("--datasets", type=int, help=f"test sets of each size ({DATASETS:,})")
    parser.add_argument("--images", type=int, nargs="+", default=IMAGES, help="images in a test set")
    parser.add_argument("--two-way", action="store_true", help="hashtags have effects too")
    options = parser.parse_args()
    datasets = options.datasets or (100 if options.quick else DATASETS)
    print(machine("numpy", "scipy", "scikit-learn"))
    if options.two_way:
        return print_two_way(options.images, datasets)
    truth = population()
    for images in options.images:
        found = simulate(images, datasets=datasets, seed=images, truth=truth)
        for subject in ("system", "difference"):
            print(f"\n{subject}, {images} images, {datasets:,} test sets: share in % whose 95 % interval is right")
            print(f"| {'metric':18} | truth | {' | '.join(METHODS)} |\n|{' --- |' * (2 + len(METHODS))}")
            for name in METRICS:
                covered = [100 * (1 - sum(found[subject, name, method])) for method in METHODS]
                cells = " | ".join(f"{share:{len(method)}.1f}" for share, method in zip(covered, METHODS, strict=True))
                print(f"| {name:18} | {truth[subject, name]:5.3f} | {cells} |", flush=True)
    return None


def print_two_way(images: Sequence[int], datasets: int) -> None:
    for count in images:
        found = simulate_two_way(count, datasets=datasets, seed=count)
        print(f"\nnew images and hashtags: {count} images, {datasets:,} test sets, share in % that hold the truth")
        print("| metric | over images | over hashtags | two-way |\n| --- | --- | --- | --- |")
        for name in COUNTED:
            cells = " | ".join(f"{100 * found[name, way]:.1f}" for way in ("image", "hashtag", "two-way"))
            print(f"| {name} | {cells} |", flush=True)
    print(f"\nnew hashtags on {IMAGES[0]} known images, intervals over hashtags, {datasets:,} test sets")
    print(f"| metric | {' | '.join(f'{count} hashtags' for count in HASHTAGS)} |\n|{' --- |' * (1 + len(HASHTAGS))}")
    by_count = {count: simulate_hashtags(count, datasets=datasets, seed=count) for count in HASHTAGS}
    for name in COUNTED:
        print(f"| {name} | {' | '.join(f'{100 * by_count[count][name]:.1f}' for count in HASHTAGS)} |", flush=True)


if __name__ == "__main__":
    main()
