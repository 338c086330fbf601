"""Results as tables for the screen, one function each."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from consistency.backbone.resolve import DECODING, resolve_backbone
from consistency.text import METRIC_TITLES, SPLITS, number, signed, with_interval

if TYPE_CHECKING:
    from consistency.evaluation.agreement import PairAgreement
    from consistency.evaluation.compare import Difference
    from consistency.evaluation.health import Health
    from consistency.evaluation.learning_curve import LearningCurve
    from consistency.evaluation.results import Result
    from consistency.evaluation.seeds import Trainings
    from heads.select import Entry
    from koclip_consistency.workflows.agreement import Agreed
    from koclip_consistency.workflows.audit import Audit
    from koclip_consistency.workflows.encode import Extracted
    from koclip_consistency.workflows.explain import Explained
    from koclip_consistency.workflows.rerun import Rerun


@dataclass(frozen=True)
class Table:
    """Rows to show. The first `left` columns are text, the others numbers."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    left: int = 1


def info_table(root: Path, entries: list[dict[str, Any]]) -> Table:
    rows = [
        [
            entry["fingerprint"][:12],
            _model(entry["fields"]),
            entry["images"],
            entry["hashtags"],
            f"{entry['bytes'] / 1e6:.1f} MB",
            "–" if entry["newest"] is None else age(time.time() - entry["newest"]),
        ]
        for entry in entries
    ]
    columns = ["fingerprint", "model", "images", "hashtags", "size", "age"]
    if any(entry["quarantined"] for entry in entries):
        columns.append("quarantined segments")
        rows = [[*row, entry["quarantined"]] for row, entry in zip(rows, entries, strict=True)]
    return Table(f"Embeddings in {root}", columns, rows, left=2)


def verify_table(root: Path, entries: list[dict[str, Any]]) -> Table:
    rows = [
        [entry["fingerprint"][:12], _model(entry["fields"]), entry["segments"], entry["rows"], len(entry["damaged"])]
        for entry in entries
    ]
    return Table(f"Verified {root}", ("fingerprint", "model", "intact segments", "rows", "damaged"), rows, left=2)


def compact_table(root: Path, entries: list[dict[str, Any]]) -> Table:
    rows = [[entry["fingerprint"][:12], entry["before"], entry["after"]] for entry in entries]
    return Table(f"Compacted {root}", ("fingerprint", "segments before", "after"), rows)


def age(seconds: float) -> str:
    """How long ago the last row was added, or a run finished."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return "now"


def _model(fields: dict[str, str]) -> str:
    """The fields that distinguish one set of embeddings from another; other programs may have written other fields."""
    model, revision, decoding, precision = (
        fields.get(name, "?") for name in ("model", "revision", "decoding", "precision")
    )
    packaged = model == "local" and revision == resolve_backbone("tiny").revision
    name = "tiny" if packaged else f"{model}@{revision.removeprefix('sha256:')[:8]}"
    decoding = next((key for key, text in DECODING.items() if text == decoding), "?")
    return " ".join([name, decoding, precision, *(["kept as fp16"] if fields.get("store") == "fp16" else [])])


SHOWN_FAULTS = 20


def health_tables(health: "Health") -> list[Table]:
    """What `data check` shows: counts, the leakage of each protocol, and the controls if they were asked for."""
    files = health.image_files
    if files.none_found:
        seen, lost = f"none ({files.missing[0][1]}): all figures come from the table alone", ""
    else:
        lacking = health.rows - health.rows_with_image
        lost = f"; {lacking} of them without a usable image" if lacking else ""
        seen = f"{files.usable} usable, {len(files.missing)} missing, {len(files.broken)} broken"
    counts: list[list[object]] = [
        ["rows", f"{health.rows} usable, {len(health.skipped)} not{lost}"],
        ["format", ", ".join(filter(None, (health.format, health.encoding)))],
        ["images", health.images],
        ["posts", health.posts],
        ["image files", seen],
        ["same image under several names", len(files.duplicates)],
        *([["animations, of which the first frame counts", len(files.animated)]] if files.animated else []),
        ["distinct spellings of hashtags", f"{health.hashtags} ({health.not_nfc} rows not NFC)"],
        ["distinct hashtags", health.distinct_hashtags],
        ["rows whose hashtag starts with #", health.with_hash],
        ["distinct pairs", health.pairs],
        ["exact repeats", health.repeats],
        ["repeats with conflicting scores", health.conflicts],
        ["scores 1 2 3 4 5", " ".join(str(health.score_counts[score]) for score in sorted(health.score_counts))],
    ]
    warnings = (
        ("scores", health.scale),
        ("several hashtags", health.several_hashtags),
        ("long hashtags", health.long_hashtags),
    )
    if health.order_gamma is not None:
        counts.append(["position in a post and score", f"gamma {signed(health.order_gamma)}"])
    counts += [[name, warning] for name, warning in warnings if warning]
    tables = [Table(f"{health.path}", ("", "found"), counts, left=2)]
    leaks = (
        ("paper", health.published_leakage),
        ("grouped", health.grouped_leakage),
        ("hashtag", health.hashtag_leakage),
    )
    rows: list[list[object]] = [
        [name, leak.n, *(f"{seen} of {leak.n}" for seen in (leak.image, leak.pair, leak.hashtag))]
        for name, leak in leaks
        if leak
    ]
    if rows:
        columns: tuple[str, ...] = (
            "protocol",
            "test rows",
            "image in train",
            "exact pair in train",
            "hashtag in train",
        )
        tables.append(Table("Leakage: test rows whose image, pair or hashtag is also in train", columns, rows))
    if health.not_drawn:
        tables.append(
            Table("Splits that cannot be drawn", ("protocol", "why"), list(map(list, health.not_drawn)), left=2)
        )
    tables += control_tables(health)
    faults = [[f"row {s.row}" if s.row else s.image, s.reason] for s in health.skipped] + [
        [name, reason] for name, reason in (*files.missing * (not files.none_found), *files.broken)
    ]
    if faults:
        more = f" (the first {SHOWN_FAULTS} of {len(faults)})" if len(faults) > SHOWN_FAULTS else ""
        tables.append(Table(f"Cannot be used{more}", ("where", "why"), faults[:SHOWN_FAULTS], left=2))
    return tables


def control_tables(health: "Health") -> list[Table]:
    """What the controls reach in each protocol and, if they were asked for, in folds by image."""
    tables = []
    titles = METRIC_TITLES.values()
    if health.controls:
        rows: list[list[object]] = [
            [protocol, system, *(number(figures[key]) for key in METRIC_TITLES)]
            for protocol, systems in health.controls.items()
            for system, figures in systems.items()
        ]
        title = "Image-blind controls (grouped: mean of 10 divisions of the images)"
        tables.append(Table(title, ("protocol", "control", *titles), rows, left=2))
    if health.controls_out_of_fold:
        rows = [
            [system, *(with_interval(found["metrics"][key], found["ci95"][key]) for key in METRIC_TITLES)]
            for system, found in health.controls_out_of_fold.items()
        ]
        title = "Image-blind controls out of fold, with 95 % intervals over images"
        tables.append(Table(title, ("control", *titles), rows))
    return tables


def extraction_table(extracted: "Extracted") -> Table:
    """What an extraction did, for images and hashtags."""
    r = extracted.report
    rows: list[list[object]] = [
        ["distinct", r.images, r.hashtags],
        ["already in the cache", r.images_cached, r.hashtags_cached],
        ["encoded now", r.images_encoded, r.hashtags_encoded],
    ]
    name, fingerprint = extracted.resolved.name, extracted.fingerprint[:12]
    title = f"Embeddings of {name}, {extracted.cache.dim or 0} wide, fingerprint {fingerprint}"
    return Table(title, ("", "images", "hashtags"), rows)


def trainings_table(trainings: "Trainings", results: "Sequence[Result]") -> Table:
    """The metrics of the first training with its interval over test images, beside those of all trainings."""
    first = next(result for result in results if result.predictions.system == trainings.system)
    n, rows = len(trainings.seeds), list[list[object]]()
    for key, title in METRIC_TITLES.items():
        over = trainings.spread(key)
        beside = (
            ("–", "–") if over is None else (with_interval(over.mean, (over.low, over.high)), number(over.deviation))
        )
        rows.append([title, with_interval(first.metrics[key], first.ci95[key]), *beside])
    columns = ("metric", f"seed {trainings.seeds[0]} (95 % as above)", f"mean of {n} (95 %)", "standard deviation")
    where = f"{n} splits" if trainings.redrawn else "one split"
    return Table(f"{trainings.system} trained with {n} seeds on {where}", columns, rows)


def curve_table(curve: "LearningCurve") -> Table:
    """Mean and standard deviation over the draws by number of images, and the extrapolation with its error."""
    rows: list[list[object]] = []
    for size in curve.sizes:
        spreads = [curve.spread(key, size) for key in METRIC_TITLES]
        shown = ["–" if s is None else f"{number(s.mean)} ±{number(s.deviation)}" for s in spreads]
        rows.append([size, f"{curve.rows(size):.0f}", *shown])
    ahead = [curve.extrapolation(key) for key in METRIC_TITLES]
    shown = ["–" if a is None else f"{number(a.value)} ±{number(a.error)}" for a in ahead]
    rows.append([f"{2 * curve.sizes[-1]} (expected)", "–", *shown])
    draws = max(training.draw for training in curve.trainings)
    title = (
        f"Learning curve of {curve.system}: labelled images, mean of {draws} draws ± standard deviation; expected ± "
        "the error in predicting the largest number from the others"
    )
    return Table(title, ("images", "rows", *METRIC_TITLES.values()), rows, left=0)


def differences_table(differences: "Sequence[Difference]") -> Table:
    names = {d.name for d in differences}
    short = {name: name.rsplit("/", 1)[-1] for name in names}  # without the name of the run, if that is unambiguous
    unambiguous = len(set(short.values())) == len(names)
    rows = [
        [
            short[d.name] if unambiguous else d.name,
            METRIC_TITLES.get(d.metric, d.metric),
            number(d.value),
            signed(d.difference),
            "–" if d.low is None else f"{signed(d.low)} to {signed(d.high)}",
            "–" if d.p_holm is None else "<0.001" if d.p_holm < 0.001 else number(d.p_holm),
        ]
        for d in differences
    ]
    title = f"Differences to {differences[0].reference} on {differences[0].n} rows"
    return Table(title, ("system", "metric", "value", "difference", "95 %", "p (Holm)"), rows, left=2)


def changes_table(found: "Rerun") -> Table:
    rows = [[change.what, change.then, change.now] for change in found.changes]
    return Table("Changed since the run", ("", "then", "now"), rows, left=3)


def files_table(found: "Rerun") -> Table:
    rows = [[file.file, file.about] for file in found.files]
    return Table("Files of the two runs", ("file", "now"), rows, left=2)


def scores_tables(system: str, records: Sequence[Mapping[str, Any]]) -> list[Table]:
    """The scores of each image, or the cosines where nothing was trained, a table for each."""
    cosine = any("rank" in record for record in records)
    familiar = any(record["familiar"] is not None for record in records)  # else the run does not record its hashtags
    sets = any("set_low" in record for record in records)
    columns = ("hashtag", "cosine", "rank", "percentile") if cosine else ("hashtag", "score", "value", *["set"] * sets)
    tables = []
    for image, group in groupby(records, key=lambda record: record["image"]):
        rows: list[list[object]] = []
        for r in group:
            value = f"{r['value']:.3f}"
            if cosine:
                rows.append([r["hashtag"], value, f"{r['rank']} of {r['rank_of']}", number(r["percentile"], 1)])
            else:
                held = [_range(r["set_low"], r["set_high"])] if sets else []
                rows.append(
                    [r["hashtag"], r["predicted"], value, *held, *(["yes" if r["familiar"] else "no"] * familiar)]
                )
        title = f"{image}, cosine: not a score of 1 to 5" if cosine else f"{image}, scored by {system}"
        tables.append(Table(title, (*columns, *(["familiar"] * familiar)), rows))
    return tables


def _range(low: int, high: int) -> str:
    return str(low) if low == high else f"{low}–{high}"


def explained_tables(explained: "Explained") -> list[Table]:
    """The answer and its maps, the facts about the pair, its nearest images and the hashtags that fit better."""
    e, facts = explained.explanation, explained.facts
    maps: list[list[object]] = [
        [each.method, each.explains.replace("_", " "), number(each.gap), number(each.control_gap)] for each in e.maps
    ]
    known: list[list[object]] = [["cosine", number(e.similarity)]]
    if e.predicted is not None:
        expected = "" if e.expected_score is None else f", expected {number(e.expected_score, 2)}"
        known.append([f"score by {e.system}", f"{e.predicted}{expected}"])
    if facts.cosine_rank:
        known.append(
            ["rank of the cosine among cached images", f"{facts.cosine_rank.rank} of {facts.cosine_rank.images}"]
        )
    for name, labels in (("hashtag", facts.hashtag_labels), ("image", facts.image_labels)):
        if labels:
            known.append([f"mean train label of the {name}", f"{number(labels.mean, 2)} (n = {labels.n})"])
    if facts.text_only:
        said = facts.text_only
        known.append(
            ["the hashtag alone (control text-only)", f"{said.predicted}, expected {number(said.expected_score, 2)}"]
        )
    tables = [
        Table(f"{e.image} and {e.hashtag}", ("", "found"), known, left=2),
        Table("Deletion gaps", ("map", "of", "gap", "fixed place"), maps, left=2),
    ]
    if facts.nearest:
        near: list[list[object]] = [[each.image, each.score, number(each.similarity)] for each in facts.nearest]
        tables.append(Table("Most similar train images of the hashtag", ("image", "label", "cosine"), near))
    if facts.preferred:
        best: list[list[object]] = [[p.hashtag, number(p.value), number(p.similarity)] for p in facts.preferred]
        tables.append(Table("Hashtags that rank highest for the image", ("hashtag", "value", "cosine"), best))
    return tables


SHOWN_DISAGREEMENTS = 10


def agreement_tables(agreed: "Agreed") -> list[Table]:
    """Agreement of every two raters and of all, the systems of a run beside them, and the widest disagreements."""
    titles = {
        "kappa_unweighted": "kappa",
        "kappa_linear": "linear kappa",
        "kappa_quadratic": "quadratic kappa",
        "agreement": "agreement",
        "within_one": "within one",
    }
    columns = ("rater", "rater", "rows", *titles.values())

    def lines(pairs: "Sequence[PairAgreement]") -> list[list[object]]:
        return [
            [p.first, p.second, p.n, *(with_interval(p.figures[key], p.ci95[key]) for key in titles)] for p in pairs
        ]

    alpha = agreed.alpha
    title = f"Agreement on {agreed.rows} rows of {agreed.images} images; Krippendorff's ordinal alpha "
    title += f"{with_interval(alpha.value, alpha.ci95)} (n = {alpha.n})"
    tables = [Table(title, columns, lines(agreed.pairs), left=2)]
    if agreed.models:
        tables.append(Table("Systems and raters", ("system", *columns[1:]), lines(agreed.models), left=2))
        ceilings: list[list[object]] = [
            [c.system, c.n, number(c.model), number(c.people), with_interval(c.difference, c.ci95)]
            for c in agreed.ceilings
        ]
        names = ("system", "rows", "with raters", "raters with each other", "difference")
        tables.append(Table("Mean quadratic kappa on the same rows", names, ceilings))
    if agreed.disagreements:
        wide = agreed.disagreements[:SHOWN_DISAGREEMENTS]
        rows: list[list[object]] = [
            [d.row, d.image, d.hashtag, *("" if score is None else score for score in d.scores.values())] for d in wide
        ]
        shown = f"Widest disagreements of {len(agreed.disagreements)}"
        tables.append(Table(shown, ("row", "image", "hashtag", *wide[0].scores), rows, left=3))
    return tables


def audit_table(audit: "Audit", top: int) -> Table:
    rows: list[list[object]] = [
        [row.rank, row.image, row.hashtag, row.row, row.score, row.suggested, f"{row.doubt:.2f}"]
        for row in audit.rows[:top]
    ]
    columns = ("rank", "image", "hashtag", "row", "label", "suggested", "doubt")
    return Table(f"Most doubtful labels of {len(audit.rows)}", columns, rows, left=3)


def leaders_table(leaders: "Sequence[Entry]") -> Table:
    """The best heads so far, by mean and standard deviation of their score (mean of QWK and macro-F1) over folds."""
    rows: list[list[object]] = []
    for rank, entry in enumerate(leaders, start=1):
        config = entry.config
        ridge = config.optimizer == "ridge"
        rows.append(
            [
                rank,
                config.features,
                config.shape,
                config.loss,
                f"ridge {config.weight_decay:g}" if ridge else f"{config.lr:g}",
                f"{config.dropout:g}" if config.hidden else "–",
                f"{number(entry.mean)} ±{number(entry.spread())}",
                "–" if ridge else entry.epochs,
            ]
        )
    return Table("Leaders", ("rank", "features", "hidden", "loss", "lr", "dropout", "score", "epochs"), rows, left=4)


def backbones_table(results: "Sequence[Result]") -> Table | None:
    """The comparison of backbones, None if there is only one."""
    from koclip_consistency.workflows.paper import by_backbone, rows_compare

    columns, rows = by_backbone(results)
    if not rows_compare(columns):
        return None
    shown = [[*row[:2], SPLITS[row[2]], *map(number, row[3:])] for row in rows]
    return Table("Systems by backbone", columns, shown, left=3)
