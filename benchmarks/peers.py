"""Every peer in one table: `make bench-peers`, or `python -m benchmarks.peers [--quick] [--only CASE ...]`.

| case | what is done | against |
| --- | --- | --- |
| images | 24 JPEGs of 1080x1350 to vectors, ViT-B/32 with random weights, fp32 | other libraries |
| hashtags | 192 hashtags to vectors, the same model | other libraries |
| table | a pair table of 24 images, 192 hashtags and 282 pairs to vectors | the loop of the published scripts |
| gather | 4,096 random rows of 200,000 vectors of 512 numbers | h5py, an Arrow file mapped into memory |
| heads | the published head 1024-256-5 on 1,600 rows, 2 epochs | torch one by one, scikit-learn |

Each variant has a process of its own, with all cores, which loads what it needs and then waits; rounds go through the
variants in turn, so that a machine that slows down slows all. The table has the median rate of the rounds, its
quartiles, and the peak memory of the process. A ratio is given only where the quartiles do not overlap. The limit
is what the hardware allows at most, measured beside: the rate of large matrix products by MKL or oneDNN, whichever is
higher, divided by the operations of the task; for a gather, numpy's own indexing of one array in memory. We pack linear
layers for oneDNN where others leave them to MKL, which is half as fast on some processors; with plain layers it is
MKL for all.

A library that is not installed is left out. FOLDER gets `peers.json`, `peers.md` and `peers.png`.
"""

import argparse
import json
import logging
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.libraries import LIBRARIES, encoders
from benchmarks.timing import machine, peak_memory

ROOT = Path(__file__).parents[1]
PLAIN = "ours, plain layers"  # products by the same library as the others'
ROUNDS = 7
IMAGES, HASHTAGS, PAIRS, LOOP = 24, 192, 282, 12
ROWS, DIM, GATHERED = 200_000, 512, 4096
HEADS, EPOCHS, TRAINED = 16, 2, 1_600
GFLOP = {"images": 8.8, "hashtags": 0.68, "heads": 6 * 1e-9 * TRAINED * (1024 * 256 + 256 * 5)}  # of one unit
UNITS = {
    "images": "images/s",
    "hashtags": "hashtags/s",
    "table": "pairs/s",
    "gather": "rows/s",
    "heads": "head-epochs/s",
}
Prepared = tuple[Callable[[], Any], float]  # what is timed, and how many units it does


def encoding(task: str, library: str, folder: Path) -> Prepared:
    """Encode images or hashtags, or a whole table, of `folder`, which `draw` has filled."""
    import torch

    from benchmarks import extract
    from consistency.backbone.faster import fold_quick_gelu, trim_text_tower
    from consistency.backbone.model import load_backbone
    from consistency.backbone.resolve import resolve_backbone

    data, shape = _data(folder), extract.SHAPES["B/32"]
    if library in LIBRARIES:
        images, texts = encoders(folder / "model", shape.open_clip)[library]
        if task == "images":
            return partial(images, data.paths), IMAGES
        return partial(texts, data.hashtags), HASHTAGS
    backbone = load_backbone(resolve_backbone(str(folder / "model")), device="cpu", trainable=library == PLAIN)
    if library == PLAIN:
        for module in backbone.model.modules():
            if type(module) is torch.nn.Linear:
                vars(module).pop("forward", None)  # what `products` changed
        trim_text_tower(backbone.model)
        fold_quick_gelu(backbone.model)
    if library == "published loop":
        from transformers import CLIPModel

        plain = CLIPModel.from_pretrained(folder / "model").eval()
        return partial(extract.published_loop, plain, backbone, data, LOOP), LOOP
    ours = extract.Ours(backbone, Path(tempfile.mkdtemp(dir=folder)))
    alone = extract.pair_table(data.names, ["#"] * IMAGES)
    if task == "images":
        return partial(ours.fill, task, data, alone), IMAGES
    if task == "table":
        return partial(ours.fill, task, data, data.table), PAIRS
    seen = ours.fill("warm", data, alone)
    return partial(ours.fill, task, data, data.table, seen), HASHTAGS


def _data(folder: Path) -> Any:
    from benchmarks.extract import Data, hashtags_of, pair_table
    from consistency.data.files import find_images

    names = [f"{number}.jpg" for number in range(IMAGES)]
    hashtags = hashtags_of(HASHTAGS)
    table = pair_table(
        [names[row % IMAGES] for row in range(PAIRS)], [hashtags[row % HASHTAGS] for row in range(PAIRS)]
    )
    return Data(table, find_images(names, folder / "jpg"), names, hashtags, folder / "jpg")


def gather(library: str, folder: Path) -> Prepared:
    """Random rows of vectors; each library gets them in the order that it needs."""
    rows = np.random.default_rng(1).integers(0, ROWS, GATHERED)
    if library == "ours":
        from embedcache.store import EmbeddingCache

        index = EmbeddingCache.open(folder / "cache", {"model": "random vectors"}, create=False).sound_index("image")
        return lambda: index.take(rows), GATHERED
    increasing = np.unique(rows)
    if library == "h5py":
        import h5py

        dataset = h5py.File(folder / "plain.h5")["vectors"]
        return lambda: dataset[increasing], len(increasing)
    import pyarrow

    with pyarrow.memory_map(str(folder / "vectors.arrow")) as source:
        column = pyarrow.ipc.open_file(source).read_all().column("vector").combine_chunks()
    wanted = pyarrow.array(rows)

    def take() -> Any:
        return column.take(wanted).flatten().to_numpy().reshape(-1, DIM)

    return take, GATHERED


def heads(library: str, _: Path) -> Prepared:
    """Train the published head, 16 of them where they train together."""
    from benchmarks.heads import make_pairs, train_plain
    from heads.config import HeadConfig
    from heads.train import Job, train_heads

    embeddings, labels = make_pairs(2_000, DIM)
    config, rows = replace(HeadConfig.paper(), epochs=EPOCHS), np.arange(TRAINED)
    if library == "ours":
        return lambda: train_heads([Job(config, rows, 42)] * HEADS, embeddings, labels), HEADS * EPOCHS
    if library == "torch":
        run = partial(train_plain, embeddings, labels, rows, batch=config.batch_size, epochs=EPOCHS, fused=True)
        return run, EPOCHS
    import warnings

    from sklearn.neural_network import MLPClassifier

    warnings.simplefilter("ignore")  # it says that two epochs are few
    x = np.hstack(
        [embeddings.images[embeddings.image_index[rows]], embeddings.hashtags[embeddings.hashtag_index[rows]]]
    )
    theirs = MLPClassifier(
        config.hidden, batch_size=config.batch_size, max_iter=EPOCHS, learning_rate_init=config.lr, alpha=1e-4
    )
    return lambda: theirs.fit(x, labels[rows]), EPOCHS


CASES: dict[str, dict[str, Callable[[Path], Prepared]]] = {
    **{
        task: {library: partial(encoding, task, library) for library in ("ours", PLAIN, *LIBRARIES)}
        for task in ("images", "hashtags")
    },
    "table": {library: partial(encoding, "table", library) for library in ("ours", "published loop")},
    "gather": {library: partial(gather, library) for library in ("ours", "h5py", "Arrow")},
    "heads": {library: partial(heads, library) for library in ("ours", "torch", "scikit-learn")},
}
MODULES = {**LIBRARIES, "Arrow": "pyarrow"}


@dataclass(frozen=True)
class Line:
    """One variant of a case: units per second of each round, and the peak memory of its process in MiB."""

    case: str
    variant: str
    rates: tuple[float, ...]
    peak: float

    @property
    def quartiles(self) -> tuple[float, float, float]:
        low, median, high = np.quantile(self.rates, [0.25, 0.5, 0.75])
        return float(low), float(median), float(high)

    @property
    def median(self) -> float:
        return self.quartiles[1]


def _serve(pipe: Connection, prepare: Callable[[Path], Prepared], folder: Path) -> None:
    """The process of a variant: prepare, run once, and then time a call whenever it is asked to."""
    logging.disable(logging.WARNING)
    run, units = prepare(folder)
    run()
    pipe.send("ready")
    while pipe.recv():
        started = time.perf_counter()
        run()
        pipe.send((units / (time.perf_counter() - started), peak_memory()))


@contextmanager
def worker(prepare: Callable[[Path], Prepared], folder: Path) -> Iterator[Connection]:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, prepare, folder))
    process.start()
    there.close()
    try:
        here.recv()
        yield here
        here.send(False)
    finally:
        here.close()
        process.join(10)
        process.kill()


def measure(case: str, folder: Path, rounds: int) -> list[Line]:
    """Run the rounds of a case."""
    from contextlib import ExitStack

    variants = {name: each for name, each in CASES[case].items() if find_spec(MODULES.get(name, "torch"))}
    rates: dict[str, list[float]] = {name: [] for name in variants}
    peaks = dict.fromkeys(variants, 0.0)
    with ExitStack() as stack:
        workers = {name: stack.enter_context(worker(prepare, folder)) for name, prepare in variants.items()}
        for _ in range(rounds):
            for name, pipe in workers.items():
                pipe.send(True)
                rate, peaks[name] = pipe.recv()
                rates[name].append(rate)
    return [Line(case, name, tuple(rates[name]), peaks[name]) for name in variants]


def limits() -> dict[str, float]:
    """What the hardware allows at most, in units per second."""
    import torch

    from consistency.backbone.faster import PackedLinear

    side = 4096
    linear = torch.nn.Linear(side, side)
    matrix, packed = torch.randn(side, side), PackedLinear(linear)
    with torch.inference_mode():
        best = min(_seconds(partial(product, matrix)) for product in (linear, packed) for _ in range(5))
    gflops = 2e-9 * side**3 / best
    table = np.random.default_rng(0).standard_normal((ROWS, DIM), np.float32)
    rows = np.random.default_rng(1).integers(0, ROWS, GATHERED)
    taken = min(_seconds(lambda: table[rows]) for _ in range(20))
    return {**{case: gflops / each for case, each in GFLOP.items()}, "gather": GATHERED / taken}


def _seconds(run: Callable[[], Any]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def draw(folder: Path) -> None:
    """Write what the cases read: a model, JPEGs, and vectors as a cache, as HDF5 and as an Arrow file."""
    from benchmarks import cache as of_cache
    from benchmarks.extract import SHAPES, make_data, make_model
    from embedcache.maintenance import compact
    from embedcache.store import EmbeddingCache

    make_model(folder / "model", SHAPES["B/32"])
    make_data(folder / "jpg", "jpg", IMAGES)
    cache = EmbeddingCache.open(folder / "cache", {"model": "random vectors"})
    of_cache.fill(cache, ROWS, DIM)
    compact(cache)
    index = cache.sound_index("image")
    of_cache.copy_to_h5(index, folder / "plain.h5", cache.dtype)
    if find_spec("pyarrow"):
        import pyarrow

        flat = pyarrow.array(index.take(np.arange(ROWS)).ravel())
        table = pyarrow.table({"vector": pyarrow.FixedSizeListArray.from_arrays(flat, DIM)})
        with (
            pyarrow.OSFile(str(folder / "vectors.arrow"), "w") as sink,
            pyarrow.ipc.new_file(sink, table.schema) as file,
        ):
            file.write_table(table)


def ratio(ours: Line, other: Line) -> str:
    """How many times as fast ours is; nothing where the quartiles overlap."""
    apart = ours.quartiles[0] > other.quartiles[2] or ours.quartiles[2] < other.quartiles[0]
    return f"{ours.median / other.median:.2f}x" if apart else "within the noise"


def markdown(lines: list[Line], most: dict[str, float], about: str) -> str:
    """One table for all cases."""
    told = [about, "", "| case | variant | median | quartiles | peak MiB | ours against it | of the limit |"]
    told.append("| --- | --- | --- | --- | --- | --- | --- |")
    for line in lines:
        ours = next(each for each in lines if each.case == line.case and each.variant == "ours")
        against = "" if line is ours else ratio(ours, line)
        share = f"{line.median / most[line.case]:.0%}" if line.case in most else ""
        told.append(
            f"| {line.case} | {line.variant} | {line.median:,.4g} {UNITS[line.case]} | {line.quartiles[0]:,.4g} to "
            f"{line.quartiles[2]:,.4g} | {line.peak:,.0f} | {against} | {share} |"
        )
    return "\n".join(told) + "\n"


def plot(lines: list[Line], most: dict[str, float]) -> bytes:
    """A panel a case: medians as bars, quartiles as whiskers, the limit as a dashed line."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    from consistency.report.plots import COLOURS, DPI, frame, png

    figure = Figure(figsize=(12, 6), dpi=DPI, layout="constrained")
    cases = list(dict.fromkeys(line.case for line in lines))
    axes = np.atleast_1d(figure.subplots(2, -(-len(cases) // 2))).ravel()
    for axis, case in zip(axes, cases, strict=False):
        own = [line for line in lines if line.case == case][::-1]
        medians = [line.median for line in own]
        whiskers = np.abs(
            np.array([(line.quartiles[0], line.quartiles[2]) for line in own]) - np.array(medians)[:, None]
        ).T
        colours = [COLOURS[0] if line.variant.startswith("ours") else COLOURS[1] for line in own]
        axis.barh([line.variant for line in own], medians, xerr=whiskers, color=colours, height=0.6)
        if case in most:
            axis.axvline(most[case], linestyle="--", color="0.4")
            axis.annotate("limit ", (most[case], -0.35), ha="right", fontsize=8, color="0.4")
        axis.locator_params(axis="x", nbins=5)
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
        frame(axis, f"{case}, {UNITS[case]}")
    for axis in axes[len(cases) :]:
        axis.set_visible(False)
    return png(figure)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES), metavar="CASE")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--quick", action="store_true", help="one round: does it run at all")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks", metavar="FOLDER")
    given = parser.parse_args()
    about = machine(
        "transformers", "sentence-transformers", "open_clip_torch", "clip-retrieval", "scikit-learn", "h5py", "pyarrow"
    )
    print(about, f"load {os.getloadavg()[0]:.1f}")
    lines: list[Line] = []
    with tempfile.TemporaryDirectory() as name:
        draw(Path(name))
        for case in given.only:
            lines += measure(case, Path(name), 1 if given.quick else given.rounds)
            print(*markdown(lines, {}, "").splitlines()[-len(CASES[case]) :], sep="\n", flush=True)
    most = limits()
    given.out.mkdir(parents=True, exist_ok=True)
    record = {"machine": about, "limits": most, "lines": [asdict(line) for line in lines]}
    (given.out / "peers.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (given.out / "peers.md").write_text(markdown(lines, most, about), encoding="utf-8")
    (given.out / "peers.png").write_bytes(plot(lines, most))
    print(markdown(lines, most, about))


if __name__ == "__main__":
    main()
