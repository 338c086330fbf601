"""What a table of many pairs costs: `python -m benchmarks.cost [--pairs 1e8 1e9] [--dim 768] ...`.

Arithmetic, not a measurement: rates that `benchmarks/RESULTS.md` has, multiplied. Give your own where yours differ.
"""

import argparse
from dataclasses import dataclass, fields

KEY = 32  # bytes
SEGMENT = 4 << 20  # bytes that `extract` collects before it writes a segment


@dataclass(frozen=True)
class Rates:
    """What the figures rest on; the help of each option says where it comes from."""

    dim: float = 768
    pairs_per_image: float = 11.8
    pairs_per_hashtag: float = 30
    gpu: float = 2460
    decode: float = 40
    table: float = 12.8
    score: float = 50.5
    open: float = 0.21


HELP = {
    "dim": "numbers of a vector, stored in fp16",
    "pairs_per_image": "11.8 in the published table",
    "pairs_per_hashtag": "an assumption: 1.5 in the published table, and more the larger a table is",
    "gpu": "images per second of the model alone: ViT-L/14, bf16, H200",
    "decode": "images per second and core: JPEGs of 1080x1350 with --decode ours, 641/s on 16 cores",
    "table": "CPU seconds of `extract` for a million rows of Parquet whose embeddings are there",
    "score": "CPU seconds of `score` without a run for a million rows of Parquet",
    "open": "seconds to open a compacted cache, for a million vectors",
}


def lines(pairs: float, rates: Rates) -> dict[str, str]:
    """Each figure by its name."""
    images, hashtags = pairs / rates.pairs_per_image, pairs / rates.pairs_per_hashtag
    vector = 2 * rates.dim + KEY
    return {
        "distinct images": f"{images / 1e6:,.1f} M",
        "distinct hashtags": f"{hashtags / 1e6:,.1f} M",
        "indices and labels": _bytes(9 * pairs),
        "features of all pairs, if they were stored": _bytes(2 * (2 * rates.dim) * pairs),
        "cache": _bytes((images + hashtags) * vector),
        "segments before `cache compact`": f"{(images + hashtags) * vector / SEGMENT:,.0f}",
        "keys in memory": _bytes((images + hashtags) * KEY),
        "opening the compacted cache": _time((images + hashtags) / 1e6 * rates.open),
        "one GPU that never waits": _time(images / rates.gpu),
        "cores that keep it busy": f"{rates.gpu / rates.decode:.0f}",
        "decoding on 16 cores": _time(images / rates.decode / 16),
        "reading the table, one core": _time(pairs / 1e6 * rates.table),
        "`score`, one core": _time(pairs / 1e6 * rates.score),
    }


def _bytes(count: float) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.0f} MB"


def _time(seconds: float) -> str:
    if seconds >= 3600:
        return f"{seconds / 3600:,.1f} h"
    return f"{seconds / 60:,.1f} min" if seconds >= 60 else f"{seconds:,.1f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=float, nargs="+", default=[1e7, 1e8, 1e9])
    for field in fields(Rates):
        told = f"{HELP[field.name]} [default: {field.default:g}]"
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=float, default=field.default, help=told)
    given = vars(parser.parse_args())
    counts = given.pop("pairs")
    columns = [lines(count, Rates(**given)) for count in counts]
    print("| | " + " | ".join(f"{count / 1e6:,.0f} M pairs" for count in counts) + " |")
    print("| --- " * (1 + len(counts)) + "|")
    for name in columns[0]:
        print(f"| {name} | " + " | ".join(column[name] for column in columns) + " |")


if __name__ == "__main__":
    main()
