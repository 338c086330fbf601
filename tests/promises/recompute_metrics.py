"""Recomputes every number of a run's metrics.json and per_score.csv from its predictions.csv alone, and every number
of the tables of `paper` from those of its runs. It imports nothing of the project.

    python tests/promises/recompute_metrics.py RUN_DIR...

It prints the largest difference, and exits 1 if a number differs by more than 1e-9 or is missing.
"""

import csv
import json
import re
import sys
import unicodedata
from pathlib import Path

import numpy as np
from scipy.stats import norm, rankdata, t

TOLERANCE = 1e-9
RESAMPLES = 2000
LEVEL = 0.95
INVISIBLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U000e0100-\U000e01ef"
)


def read(path):
    """{(system, split): columns} with clusters, images, hashtags, scores, predictions, values and probabilities."""
    systems = {}
    with open(path, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            systems.setdefault((row["system"], row["split"]), []).append(row)
    return {
        key: {
            "cluster": [row["cluster"] for row in rows],
            "image": [row["image"] for row in rows],
            "hashtag": [identity(row["hashtag"]) for row in rows],
            "true": np.array([int(row["score"]) for row in rows]),
            "predicted": np.array([int(row["predicted"]) for row in rows]),
            "value": np.array([float(row["value"]) for row in rows]),
            "p": np.array([[float(row[f"p{k}"]) for k in range(1, 6)] for row in rows]) if rows[0]["p1"] else None,
        }
        for key, rows in systems.items()
    }


def identity(hashtag):
    """The identity of a hashtag, written a second time after consistency/data/hashtags.py."""
    before = None
    while hashtag != before:
        before = hashtag
        hashtag = unicodedata.normalize("NFKC", re.sub(f"[{INVISIBLE}]", "", hashtag)).casefold()
        hashtag = unicodedata.normalize("NFKC", re.sub(f"[{INVISIBLE}]", "", hashtag))
        hashtag = hashtag.lstrip().lstrip("#\u20e3").strip()
    return hashtag


def measure(true, predicted, value, p):
    """Every metric from its textbook definition; None where it is undefined."""
    n = len(true)
    present = sorted(set(true.tolist()) | set(predicted.tolist()))
    per_class = []
    for label in present:
        hits = int(((true == label) & (predicted == label)).sum())
        named, there = int((predicted == label).sum()), int((true == label).sum())
        precision = hits / named if named else 0.0
        recall = hits / there if there else 0.0
        f1 = 2 * precision * recall / (precision + recall) if hits else 0.0
        per_class.append((there, precision, recall, f1))
    result = {"accuracy": float((true == predicted).mean())}
    for i, name in enumerate(("precision", "recall", "f1"), start=1):
        result[f"macro_{name}"] = sum(c[i] for c in per_class) / len(per_class)
        result[f"weighted_{name}"] = sum(c[0] * c[i] for c in per_class) / n
    result["mae"] = float(np.abs(true - predicted).mean())
    result["within_one"] = float((np.abs(true - predicted) <= 1).mean())

    place = {label: i for i, label in enumerate(present)}
    a, b = np.array([place[t] for t in true.tolist()]), np.array([place[t] for t in predicted.tolist()])
    # Mean squared distance of all (true, predicted) combinations, from moments.
    chance = (a**2).mean() + (b**2).mean() - 2 * a.mean() * b.mean()
    result["qwk"] = None if len(present) < 2 or chance == 0 else float(1 - ((a - b) ** 2).mean() / chance)

    x, y = rankdata(true) - (n + 1) / 2, rankdata(value) - (n + 1) / 2
    spread = (x @ x) * (y @ y)
    result["spearman"] = None if spread == 0 else float((x @ y) / np.sqrt(spread))

    result["ece"] = None
    if p is not None:
        top, right = p.max(1), p.argmax(1) + 1 == true
        result["ece"] = 0.0
        for i in range(15):
            inside = (top > i / 15) & (top <= (i + 1) / 15)
            if inside.any():
                result["ece"] += inside.mean() * abs(right[inside].mean() - top[inside].mean())
        result["ece"] = float(result["ece"])
    return result


def intervals(columns, seed, two_way=False):
    """Bias-corrected percentiles over resampled clusters: see the top of consistency/evaluation/intervals.py."""
    ways = [columns["cluster"]]
    if two_way:  # beside the clusters the hashtags, or the images where the clusters are hashtags
        same = len(set(zip(ways[0], columns["hashtag"], strict=True)))
        by_hashtag = same == len(set(ways[0])) == len(set(columns["hashtag"]))
        ways.append(columns["image" if by_hashtag else "hashtag"])
        ways.append(list(zip(*ways, strict=True)))
    effective = min(effective_number(names) for names in ways[:2])
    if effective == 1:
        return None
    drawn = [resampled(columns, names, seed) for names in ways]
    reach = t.ppf((1 + LEVEL) / 2, effective - 1) * (effective / (effective - 1)) ** 0.5
    result = {}
    for name, figure in measure(columns["true"], columns["predicted"], columns["value"], columns["p"]).items():
        defined = [[draw[name] for draw in draws if draw[name] is not None] for draws in drawn]
        stretch, draws = 1.0, defined[0]
        if two_way:
            variances = [float(np.var(draws)) if draws else 0.0 for draws in defined]
            wider = 0 if variances[0] >= variances[1] else 1
            draws = defined[wider]
            if variances[wider] > 0:
                together = variances[0] + variances[1] - variances[2]
                stretch = max(1.0, together / variances[wider]) ** 0.5
        if figure is None or not draws:
            result[name] = None
            continue
        gaps = [one - figure for one in draws]
        share = sum(0.5 if abs(gap) <= 1e-9 else float(gap < 0) for gap in gaps) / len(gaps)
        share = min(max(share, 1 / (len(gaps) + 1)), len(gaps) / (len(gaps) + 1))
        bias = 0.0 if name == "ece" else norm.ppf(share)
        places = [norm.cdf(2 * bias - stretch * reach), norm.cdf(2 * bias + stretch * reach)]
        result[name] = [float(q) for q in np.quantile(draws, places)]
    return result


def rows_by_name(names):
    """The rows of each distinct name, in order of first appearance."""
    rows = {}
    for i, name in enumerate(names):
        rows.setdefault(name, []).append(i)
    return list(rows.values())


def effective_number(names):
    """The number of clusters of equal size that carry as much information."""
    sizes = [len(rows) for rows in rows_by_name(names)]
    return sum(sizes) ** 2 / sum(size**2 for size in sizes)


def resampled(columns, names, seed):
    """The metrics of each resample of the distinct names."""
    rows_of = [np.array(rows) for rows in rows_by_name(names)]
    rng = np.random.default_rng(seed)
    draws = []
    for _ in range(RESAMPLES):
        rows = np.concatenate([rows_of[i] for i in rng.integers(0, len(rows_of), len(rows_of))])
        p = None if columns["p"] is None else columns["p"][rows]
        draws.append(measure(columns["true"][rows], columns["predicted"][rows], columns["value"][rows], p))
    return draws


def difference(found, expected):
    if found is None or expected is None:
        return 0.0 if found is expected else float("inf")
    return float(np.abs(np.array(found) - np.array(expected)).max())


def recomputed(folder, wanted, intervals_of=None):
    """{(system, split): (n, metrics, intervals)} of what is wanted from a run folder, from its predictions.csv.

    The intervals are {} for systems that are not among `intervals_of`; None stands for all systems.
    """
    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    seed = run["seeds"]["bootstrap"]
    two_way = run["config"].get("evaluation", {}).get("intervals") == "two-way"
    found = {}
    systems = read(folder / "predictions.csv")
    for key in wanted:
        columns = systems[key]
        figures = measure(columns["true"], columns["predicted"], columns["value"], columns["p"])
        ranges = {}
        if intervals_of is None or key[0] in intervals_of:
            ranges = intervals(columns, seed, two_way) or dict.fromkeys(figures)
        found[key] = len(columns["true"]), figures, ranges
    return found


def check(folder, intervals_of=None):
    """The largest difference in one run folder; of `paper` also in its tables, each line against its own run.

    Intervals take 99 % of the time: `intervals_of` names the systems whose intervals are checked, None for all.
    """
    entries = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    wanted = {}
    for entry in entries:
        wanted.setdefault(entry.get("run", ""), []).append((entry["system"], entry["split"]))
    runs = {name: recomputed(folder / name, keys, intervals_of) for name, keys in wanted.items()}
    worst = 0.0
    for entry in entries:
        n, figures, ranges = runs[entry.get("run", "")][entry["system"], entry["split"]]
        worst = max(worst, difference(entry["n"], n))
        for name, value in entry["metrics"].items():
            worst = max(worst, difference(value, figures[name]))
            if ranges:
                worst = max(worst, difference(entry["ci95"][name], ranges[name]))
    worst = max(worst, *(check_scores(folder / name) for name in wanted))
    if (folder / "paper.csv").is_file():
        worst = max(worst, check_tables(folder, runs))
    return worst


def check_scores(folder):
    """The largest difference in per_score.csv."""
    with open(folder / "per_score.csv", encoding="utf-8", newline="") as file:
        told = [(row.pop("system"), row.pop("split"), *map(float, row.values())) for row in csv.DictReader(file)]
    expected = []
    for (system, split), columns in read(folder / "predictions.csv").items():
        true, predicted = columns["true"], columns["predicted"]
        for score in range(1, 6):
            hits = int(((true == score) & (predicted == score)).sum())
            named, there = int((predicted == score).sum()), int((true == score).sum())
            f1 = 2 * hits / (named + there) if hits else 0.0
            expected.append((system, split, score, hits / max(named, 1), hits / max(there, 1), f1, there))
    if [row[:2] for row in told] != [row[:2] for row in expected]:
        return float("inf")
    return max(difference(a[2:], b[2:]) for a, b in zip(told, expected, strict=True))


def check_tables(folder, runs):
    """The largest difference in paper.csv, backbones.csv and paper.md, whose figures are rounded."""
    worst, lines, side = 0.0, [], {}
    with open(folder / "paper.csv", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            n, figures, checked = runs[row["run"]][row["system"], row["split"]]
            ranges = dict(checked)
            timings = json.loads((folder / row["run"] / "run.json").read_text(encoding="utf-8"))["timings"]
            seconds = sum(timings.values())
            worst = max(worst, difference(int(row["n"]), n), abs(float(row["seconds"]) - round(seconds, 3)))
            for name, value in figures.items():
                told = [float(row[key]) if row[key] else None for key in (name, f"{name}_low", f"{name}_high")]
                if not checked:
                    ranges[name] = told[1:] if row[f"{name}_low"] else None
                expected = [value, *(ranges[name] or (None, None))]
                worst = max(worst, *(difference(a, b) for a, b in zip(told, expected, strict=True)))
            shown = [rounded(figures[name], ranges[name]) for name in ("accuracy", "macro_f1", "mae", "qwk")]
            about = [row[key] for key in ("protocol", "backbone", "system", "split", "n")]
            lines.append([*about, *shown, f"{round(seconds, 3):.1f}"])
            side[row["protocol"], row["system"], row["split"], row["backbone"]] = figures
    tables = read_markdown(folder / "paper.md")
    if tables[0][1:] != lines:
        return float("inf")
    if (folder / "backbones.csv").is_file():
        with open(folder / "backbones.csv", encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
        for row, shown in zip(rows, tables[1][1:], strict=True):
            for column, cell, text in zip(header[3:], row[3:], shown[3:], strict=True):
                title, backbone = column.split(" ", 1)
                figure = side[*row[:3], backbone][{"macro-F1": "macro_f1", "QWK": "qwk"}[title]]
                worst = max(worst, difference(float(cell) if cell else None, figure))
                if text != rounded(figure, None):
                    return float("inf")
    return worst


def read_markdown(path):
    """Tables as lists of rows of cells, the header first."""
    tables, inside = [], False
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("|"):
            if not inside:
                tables.append([])
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if set("".join(cells)) != {"-"}:
                tables[-1].append(cells)
        inside = line.startswith("|")
    return tables


def rounded(value, interval):
    """`0.516 0.48–0.55`: three digits, two for an interval, no minus before a zero."""

    def text(number, digits):
        shown = f"{abs(number):.{digits}f}"
        return ("-" if number < 0 and float(shown) else "") + shown

    if value is None:
        return "–"
    return text(value, 3) + (f" {text(interval[0], 2)}–{text(interval[1], 2)}" if interval else "")


if __name__ == "__main__":
    worst = {folder: check(Path(folder)) for folder in sys.argv[1:]}
    for folder, found in worst.items():
        print(f"{folder}: largest difference {found:.2g}")
    sys.exit(not worst or max(worst.values()) > TOLERANCE)
