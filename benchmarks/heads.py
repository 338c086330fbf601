"""How fast heads train together, compared with one after another: `python -m benchmarks.heads [--quick]`.

The data are random unit vectors with labels that can be learned, 2,000 pairs over 172 images. Variants run in turn, all
with torch's default threads. "plain" is the published recipe as a plain torch loop (Linear, ReLU, Dropout, Linear; one
head after another, with the features already computed), and "fused" is the same with Adam's fused kernel. A head-epoch
is one pass of one head over its training rows. For heads that stop early only the epochs they trained count.

    python -m benchmarks.heads                about 8 minutes on 2 cores
    python -m benchmarks.heads --mixed 500    500 heads of mixed folds, seeds, widths and losses: time and peak memory
    python -m benchmarks.heads --million      a small grid on a million pairs of 768 numbers: time and peak memory

The last two run in separate processes to measure their peak memory; the first runs --mixed as well.
"""

import argparse
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.timing import alternate, machine, peak_memory
from consistency.backbone.embeddings import PairEmbeddings
from consistency.data.folds import make_divisions
from consistency.scale import Ints
from heads.config import HeadConfig
from heads.grid import default_grid, run_grid
from heads.losses import OUTPUTS
from heads.model import pair_features
from heads.train import Job, train_heads

ROOT = Path(__file__).parents[1]
SEED = 42
IMAGES, HASHTAGS = 172, 1_375
PASSES = 60  # (80/20 + 5 folds) x 10 epochs, in each of which the published script encodes all rows again
TOKENS = 9  # a hashtag's, with start and end


def make_pairs(n: int, dim: int, *, images: int = IMAGES, hashtags: int = HASHTAGS) -> tuple[PairEmbeddings, Ints]:
    """(embeddings, labels (n,) int64): the score is a noisy product of the two vectors."""
    rng = np.random.default_rng(SEED)

    def table(rows: int) -> np.ndarray:
        vectors = rng.standard_normal((rows, dim), np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors

    embeddings = PairEmbeddings(
        table(images), table(hashtags), rng.integers(0, images, n), rng.integers(0, hashtags, n)
    )
    return embeddings, labels_of(embeddings, rng)


def labels_of(embeddings: PairEmbeddings, rng: np.random.Generator) -> Ints:
    value = embeddings.cosine() + rng.normal(0, 0.02, len(embeddings))
    return np.searchsorted(np.quantile(value, [0.04, 0.14, 0.30, 0.57]), value).astype(np.int64)


def train_plain(
    embeddings: PairEmbeddings, labels: Ints, rows: Ints, *, batch: int, epochs: int, fused: bool, device: str = "cpu"
) -> None:
    """Train one head by the published recipe, with the features of all pairs already computed."""
    images, hashtags = torch.from_numpy(embeddings.images), torch.from_numpy(embeddings.hashtags)
    i, j = embeddings.image_index[rows], embeddings.hashtag_index[rows]
    x = torch.cat([images[i], hashtags[j]], dim=1).to(device)
    y = torch.from_numpy(labels[rows]).to(device)
    head = nn.Sequential(nn.Linear(x.shape[1], 256), nn.ReLU(), nn.Dropout(0.3), nn.Linear(256, 5)).to(device)
    criterion = nn.CrossEntropyLoss(weight=torch.ones(5, device=device))
    optimizer = torch.optim.Adam(head.parameters(), lr=5e-5, weight_decay=1e-4, fused=fused)
    for _ in range(epochs):
        for part in torch.randperm(len(y), device=device).split(batch):
            optimizer.zero_grad()
            criterion(head(x[part]), y[part]).backward()
            optimizer.step()


def time_stacked(dim: int, batches: list[int], *, rounds: int, device: str = "cpu") -> float:
    """Time published heads in a stack and one by one; return head-epochs per second of "plain" in batches of 32."""
    embeddings, labels = make_pairs(2_000, dim)
    rows, epochs, first = np.arange(1_600), 2, 0.0
    together = 16 if device == "cpu" else 512
    for batch in batches:
        config = replace(HeadConfig.paper(), batch_size=batch, epochs=epochs)

        def stacked(config: HeadConfig = config) -> None:
            train_heads([Job(config, rows, SEED)] * together, embeddings, labels, device=device)

        def plain(fused: bool, batch: int = batch) -> Callable[[], None]:
            return lambda: train_plain(embeddings, labels, rows, batch=batch, epochs=epochs, fused=fused, device=device)

        variants = {"stacked": stacked, "plain": plain(False), "fused": plain(True)}
        if device != "cpu":
            variants = {name: _synchronised(run) for name, run in variants.items()}
        best = alternate(variants, rounds=rounds)
        speed = {name: epochs * (together if name == "stacked" else 1) / best[name] for name in variants}
        first = first or speed["plain"]
        print(
            f"{device}, {2 * dim}->256->5, batch {batch:>3}, head-epochs a second: {together} stacked "
            f"{speed['stacked']:.1f}, plain {speed['plain']:.1f}, fused {speed['fused']:.1f}: "
            f"{speed['stacked'] / speed['plain']:.2f}x plain, {speed['stacked'] / speed['fused']:.2f}x fused",
            flush=True,
        )
    return first


def _synchronised(run: Callable[[], None]) -> Callable[[], None]:
    def timed() -> None:
        run()
        torch.cuda.synchronize()

    return timed


def time_grid(dim: int, plain: float, *, folds: int, configs: list[HeadConfig], device: str = "cpu") -> None:
    """Time the default grid on some of 3 x 5 folds; `plain` is the head-epochs per second of the plain loop."""
    embeddings, labels = make_pairs(2_000, dim)
    images = embeddings.image_index.astype(object)
    divisions = make_divisions(labels, images, folds=5, repeats=3, seed=SEED)
    held = [division == fold for division in divisions for fold in range(5)]
    parts = [(np.flatnonzero(~some), np.flatnonzero(some)) for some in held[:folds]]
    jobs = [Job(config, rows, fold, held) for fold, (rows, held) in enumerate(parts) for config in configs]
    seconds, epochs = {}, {}
    for kind in ("descent", "ridge"):
        some = [job for job in jobs if (job.config.optimizer == "ridge") == (kind == "ridge")]
        started = time.perf_counter()
        outcomes = train_heads(some, embeddings, labels, device=device)
        seconds[kind] = time.perf_counter() - started
        epochs[kind] = sum(len(outcome.history) for outcome in outcomes)
    rate = epochs["descent"] / seconds["descent"]
    everything = sum(epochs.values()) / sum(seconds.values())
    print(
        f"{device}, {dim} dimensions, default grid, {len(jobs)} heads: {epochs['descent']} head-epochs in "
        f"{seconds['descent']:.1f} s, {rate:.0f} a second, {rate / plain:.1f}x plain with batch 32; with "
        f"{epochs['ridge']} ridge heads (one epoch each) in {seconds['ridge']:.1f} s more: {everything:.0f} a second, "
        f"{everything / plain:.1f}x",
        flush=True,
    )


def time_scikit_learn(dim: int, *, rounds: int) -> None:
    from sklearn.neural_network import MLPClassifier

    embeddings, labels = make_pairs(2_000, dim)
    rows, epochs = np.arange(1_600), 2
    images = torch.from_numpy(embeddings.images[embeddings.image_index[rows]])
    hashtags = torch.from_numpy(embeddings.hashtags[embeddings.hashtag_index[rows]])
    grid = next(config for config in default_grid() if config.hidden == (64,) and config.features == "full")
    paper = HeadConfig.paper()
    for config, together in ((paper, 16), (replace(paper, batch_size=128), 16), (grid, 24)):
        x = pair_features(config.features, images, hashtags).numpy()
        theirs = MLPClassifier(
            config.hidden, batch_size=config.batch_size, max_iter=epochs, learning_rate_init=config.lr, alpha=1e-4
        )
        jobs = [Job(replace(config, epochs=epochs), rows, SEED)] * together
        variants = {
            "ours": lambda jobs=jobs: train_heads(jobs, embeddings, labels),
            "theirs": lambda theirs=theirs, x=x: theirs.fit(x, labels[rows]),
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it says that two epochs are few
            best = alternate(variants, rounds=rounds)
        ours, other = best["ours"] / together / epochs, best["theirs"] / epochs
        print(
            f"{x.shape[1]}->{config.hidden[0]}->5, batch {config.batch_size}: scikit-learn's MLPClassifier "
            f"{other * 1e3:.0f} ms a head-epoch, {together} stacked {ours * 1e3:.1f} ms: {other / ours:.1f}x",
            flush=True,
        )


def time_protocol(*, rounds: int) -> None:
    """Time the published script and ours from a cold start, without decoding; encoding is extrapolated from a batch."""
    from transformers import CLIPConfig, CLIPModel

    model = CLIPModel(CLIPConfig()).eval()
    pixels = torch.randn(32, 3, 224, 224)
    tokens = torch.randint(1, 40_000, (32, 77))
    tokens[:, TOKENS - 1 :] = 49_407

    def encode(run: Callable[[], object]) -> Callable[[], None]:
        def timed() -> None:
            with torch.inference_mode():
                run()

        return timed

    best = alternate(
        {
            "image": encode(lambda: model.get_image_features(pixel_values=pixels)),
            "padded": encode(lambda: model.get_text_features(input_ids=tokens)),
            "trimmed": encode(lambda: model.get_text_features(input_ids=tokens[:, :TOKENS])),
        },
        rounds=rounds,
    )
    image, padded, trimmed = (best[name] / 32 for name in ("image", "padded", "trimmed"))
    embeddings, labels = make_pairs(2_022, 512)
    rng = np.random.default_rng(SEED)
    split = rng.permutation(2_022)
    folds = rng.permutation(2_022) % 5
    parts = [(split[:1_617], split[1_617:])]
    parts += [(np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)) for fold in range(5)]
    jobs = [Job(HeadConfig.paper(), rows, SEED, held) for rows, held in parts]
    trained = alternate(
        {
            "ours": lambda: train_heads(jobs, embeddings, labels),
            "plain": lambda: train_plain(embeddings, labels, split[:1_617], batch=32, epochs=1, fused=False),
        },
        rounds=rounds,
    )
    published = PASSES * (2_022 * (image + padded) + trained["plain"])
    cold = IMAGES * image + HASHTAGS * trimmed + trained["ours"]
    print(
        f"the published protocol, {PASSES} passes over 2,022 pairs, extrapolated from a batch of 32 "
        f"({image * 1e3:.0f} ms an image, {padded * 1e3:.0f} ms a padded hashtag) and one epoch of the head "
        f"({trained['plain'] * 1e3:.0f} ms): {published:,.0f} s\n"
        f"  ours: {IMAGES} images and {HASHTAGS:,} hashtags ({trimmed * 1e3:.1f} ms each) once, extrapolated alike, "
        f"and the same 6 heads, measured: {cold:.1f} s cold, {trained['ours']:.2f} s cached: {published / cold:,.0f}x "
        f"and {published / trained['ours']:,.0f}x",
        flush=True,
    )


def mixed(count: int) -> None:
    """Train heads that differ in folds, seeds, widths, losses and more, in one call."""
    rng = np.random.default_rng(SEED)
    embeddings, labels = make_pairs(2_000, 512)
    division = np.arange(2_000) % 5
    parts = [(np.flatnonzero(division != fold), np.flatnonzero(division == fold)) for fold in range(5)]
    jobs = []
    for _ in range(count):
        config = HeadConfig(
            features=("concat", "full")[rng.integers(2)],
            hidden=((), (64,), (128,), (256,), (128, 64))[rng.integers(5)],
            dropout=(0.0, 0.3, 0.5)[rng.integers(3)],
            loss=tuple(OUTPUTS)[rng.integers(len(OUTPUTS))],
            epochs=10,
        )
        rows, held = parts[rng.integers(5)]
        jobs.append(Job(config, rows, int(rng.integers(3)), held))
    before, started = peak_memory(), time.perf_counter()
    train_heads(jobs, embeddings, labels)
    seconds = time.perf_counter() - started
    print(
        f"{count} mixed heads (5 folds, 3 seeds, 5 shapes, 6 losses; 10 epochs): {seconds:.0f} s, peak memory "
        f"{peak_memory():,.0f} MiB ({before:,.0f} before)",
        flush=True,
    )


def million(pairs: int) -> None:
    """Train a grid of 6 on 2 folds of a million pairs of 100,000 images and 900,000 hashtags, mapped from files."""
    images, hashtags, dim = pairs // 10, pairs - pairs // 10, 768
    rng = np.random.default_rng(SEED)
    with tempfile.TemporaryDirectory() as folder:
        tables = [_mapped(Path(folder) / name, rows, dim, rng) for name, rows in (("i", images), ("h", hashtags))]
        index = [rng.integers(0, rows, pairs) for rows in (images, hashtags)]
        embeddings = PairEmbeddings(tables[0], tables[1], index[0], index[1])
        labels = rng.choice(5, pairs, p=[0.04, 0.10, 0.16, 0.27, 0.43])
        base = HeadConfig(features="concat", epochs=1, batch_size=1024, schedule="constant")
        configs = [
            replace(base, hidden=(64,), loss=loss, lr=lr) for loss in ("cross-entropy", "corn") for lr in (1e-3, 3e-3)
        ]
        configs += [replace(base, hidden=(), optimizer="ridge", weight_decay=decay) for decay in (0.1, 1.0)]
        started = time.perf_counter()
        run_grid(configs, embeddings, labels, embeddings.image_index.astype(object), folds=2, repeats=1)
        seconds = time.perf_counter() - started
        print(
            f"{pairs:,} pairs of {images:,} images and {hashtags:,} hashtags, {dim} dimensions: 6 configurations x 2 "
            f"folds x 1 epoch and the refit in {seconds:.0f} s, peak memory {peak_memory() / 1024:.2f} GiB (target: 8)",
            flush=True,
        )


def _mapped(path: Path, rows: int, dim: int, rng: np.random.Generator) -> np.ndarray:
    table = np.lib.format.open_memmap(path, "w+", np.float32, (rows, dim))
    for start in range(0, rows, 8192):
        vectors = rng.standard_normal((min(8192, rows - start), dim), np.float32)
        table[start : start + 8192] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.heads", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mixed", type=int, metavar="HEADS", help="only so many mixed heads")
    parser.add_argument("--million", action="store_true", help="only a million pairs (needs 3.1 GB of disk)")
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    parser.add_argument("--devices", nargs="+", choices=devices, default=devices, help="default: all there are")
    parser.add_argument("--rounds", type=int, default=5, help="of every comparison (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="little of everything: a smoke test")
    given = parser.parse_args()
    if given.million:
        return million(20_000 if given.quick else 1_000_000)
    if given.mixed:
        return mixed(given.mixed)
    heads = "20" if given.quick else "500"
    if "cpu" in given.devices:
        # First, while this process is small: a child's peak counts from its parent's memory at the fork.
        subprocess.run([sys.executable, "-m", "benchmarks.heads", "--mixed", heads], cwd=ROOT, check=True)
    card = f", {torch.cuda.get_device_name()}" if "cuda" in given.devices else ""
    print(machine("numpy", "scikit-learn", "transformers") + f", {torch.get_num_threads()} threads{card}")
    rounds, dims, batches = (2, [512], [32]) if given.quick else (given.rounds, [512, 768], [32, 128, 256])
    configs = default_grid()[::9] if given.quick else default_grid()
    for device in given.devices:
        for dim in dims:
            plain = time_stacked(dim, batches, rounds=rounds, device=device)
            folds = 1 if given.quick else 2 if device == "cpu" else 15
            time_grid(dim, plain, folds=folds, configs=configs, device=device)
    if "cpu" in given.devices:
        time_scikit_learn(512, rounds=rounds)
        time_protocol(rounds=rounds)
    return None


if __name__ == "__main__":
    main()
