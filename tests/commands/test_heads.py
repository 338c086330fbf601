"""`heads`: one head, a grid and the published recipe; what they leave in the run folder."""

import csv
import json
import re
import statistics
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import koclip_consistency as kc
from consistency.data.hashtags import identities
from tests.builders.commands import Run, data_options, rows_of

GRID = """
[[grid]]
features = ["concat"]
hidden = [[]]
optimizer = ["ridge"]
weight_decay = [1.0, 10.0]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("heads")


def test_one_head(run: Run, small_demo: Path, folder: Path) -> None:
    ran = run("heads", "--backbone", "tiny", *data_options(small_demo, folder), "--out", folder / "one", "--json")
    assert ran.code == 0, ran.stderr
    entries = {(entry["system"], entry["split"]): entry for entry in ran.json()}
    assert {("heads", "test"), ("majority", "test"), ("text-only", "test")} <= entries.keys()
    assert ran.json() == json.loads((folder / "one" / "metrics.json").read_text())
    answers = [row for row in rows_of(folder / "one" / "predictions.csv") if row["system"] == "heads"]
    tested = [row for row in answers if row["split"] == "test"]
    assert len(tested) == entries["heads", "test"]["n"]
    right = sum(row["score"] == row["predicted"] for row in tested) / len(tested)
    assert entries["heads", "test"]["metrics"]["accuracy"] == pytest.approx(right)
    for row in answers:
        assert sum(float(row[f"p{score}"]) for score in range(1, 6)) == pytest.approx(1)
    assert all(tensor.size for tensor in load_file(folder / "one" / "head.safetensors").values())


def test_a_grid_lists_its_leaders(run: Run, small_demo: Path, folder: Path) -> None:
    (folder / "grid.toml").write_text(GRID)
    options = ["--backbone", "tiny", *data_options(small_demo, folder), "--inner-folds", 3]
    ran = run("heads", "--grid", "--grid-file", folder / "grid.toml", *options, "--out", folder / "grid", "--json")
    assert ran.code == 0, ran.stderr
    assert "heads-grid" in {entry["system"] for entry in ran.json()}
    leaders = rows_of(folder / "grid" / "leaderboard.csv")
    assert len(leaders) == 2
    assert sorted(float(row["weight_decay"]) for row in leaders) == [1.0, 10.0]
    (chosen,) = [row for row in leaders if row["chosen"] == "True"]
    head = json.loads((folder / "grid" / "head.json").read_text())
    assert head["config"]["weight_decay"] == float(chosen["weight_decay"])


RACED = """
[[grid]]
features = ["product"]
hidden = [[2]]
lr = [0.0001, 0.001, 0.01, 0.1]
dropout = [0.0, 0.2, 0.4]
epochs = 2
"""


def test_heads_that_fall_behind_drop_out_of_the_race(run: Run, small_demo: Path, folder: Path) -> None:
    """Of 12 configurations the best 8 go on; with --no-racing all are trained on 3 divisions into 2 folds."""
    (folder / "raced.toml").write_text(RACED)
    options = ["--backbone", "tiny", *data_options(small_demo, folder), "--inner-folds", 2]
    options += ["--grid", "--grid-file", folder / "raced.toml", "--out", folder / "raced"]
    notes, folds = {}, {}
    for switch in ("--racing", "--no-racing"):
        ran = run("heads", *options, switch)
        assert ran.code == 0, ran.stderr
        notes[switch] = ran.stderr
        folds[switch] = [int(row["folds"]) for row in rows_of(folder / "raced" / "leaderboard.csv")]
    assert folds == {"--racing": [6] * 8 + [2] * 4, "--no-racing": [6] * 12}
    assert "chosen of 12 configurations by 6 inner folds of train, 8 of which trained on all" in notes["--racing"]
    assert "chosen of 12 configurations by 6 inner folds of train: product features" in notes["--no-racing"]


def test_the_published_recipe_tests_on_its_split_and_out_of_fold(run: Run, small_demo: Path, folder: Path) -> None:
    options = ["--backbone", "tiny", *data_options(small_demo, folder), "--preset", "paper"]
    ran = run("heads", *options, "--out", folder / "paper", "--json")
    assert ran.code == 0, ran.stderr
    found = {(entry["protocol"], entry["split"]) for entry in ran.json() if entry["system"] == "heads-paper"}
    assert found == {("paper", "test"), ("paper", "cv")}


def test_a_grid_file_that_cannot_be_read_is_one_line(run: Run, small_demo: Path, folder: Path) -> None:
    (folder / "broken.toml").write_text("[[grid]]\nhidden = [[]\n")
    options = ["--backbone", "tiny", *data_options(small_demo, folder)]
    ran = run("heads", "--grid", "--grid-file", folder / "broken.toml", *options, "--out", folder / "broken")
    assert (ran.code, ran.stderr.count("\n")) == (2, 1)
    assert "broken.toml" in ran.stderr
    assert not (folder / "broken").exists()


@pytest.fixture(scope="module")
def post_run(small_demo: Path, folder: Path) -> Path:
    from cli import main

    out = folder / "post"
    command = ["heads", "--context", "post", "--backbone", "tiny", *data_options(small_demo, folder), "--out", out]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["cli.py", *map(str, command)])
        main()
    return out


def test_a_head_that_reads_the_post_stands_beside_its_blind_control(post_run: Path) -> None:
    found = {entry["system"]: entry["metrics"] for entry in json.loads((post_run / "metrics.json").read_text())}
    assert {"heads-post", "text-and-post-head", "text-head"} <= found.keys()
    assert found["heads-post"]["qwk"] > found["text-and-post-head"]["qwk"] > found["text-head"]["qwk"]
    details = json.loads((post_run / "run.json").read_text())["details"]
    assert details["head"]["context"] == ["mean", "maximum", "weighted", "cosine"]


def test_no_label_of_a_test_post_changes_an_answer(run: Run, small_demo: Path, folder: Path, post_run: Path) -> None:
    """All labels of the test rows are moved; the predictions stay, bit for bit."""
    tested = {row["row"] for row in rows_of(post_run / "split.csv") if row["split"] == "test"}
    rows = rows_of(small_demo / "combined_data.csv")
    for number, row in enumerate(rows, start=1):
        if str(number) in tested:
            row["Score"] = str(6 - int(row["Score"]))
    with (folder / "moved.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    options = [*data_options(small_demo, folder), "--data", folder / "moved.csv", "--split", post_run / "split.csv"]
    ran = run("heads", "--context", "post", "--backbone", "tiny", *options, "--out", folder / "moved")
    assert ran.code == 0, ran.stderr

    def answers(path: Path) -> list[tuple[str, ...]]:
        names = ("row", "predicted", "value", "p1", "p2", "p3", "p4", "p5")
        rows = rows_of(path / "predictions.csv")
        return [tuple(row[name] for name in names) for row in rows if row["system"] == "heads-post"]

    assert answers(folder / "moved") == answers(post_run)


def test_score_answers_a_table_of_posts_as_the_run_did(
    run: Run, small_demo: Path, folder: Path, post_run: Path
) -> None:
    options = [*data_options(small_demo, folder), "--model", post_run, "-o", folder / "scored.csv"]
    ran = run("score", *options)
    assert ran.code == 0, ran.stderr
    scored = {row["row"]: row for row in rows_of(folder / "scored.csv")}
    tested = [row for row in rows_of(post_run / "predictions.csv") if row["system"] == "heads-post"]
    assert all(scored[row["row"]]["post_read"] == "true" for row in tested)
    for name in ("predicted", "p1", "p5"):
        said = [float(scored[row["row"]][name]) for row in tested]
        assert said == pytest.approx([float(row[name]) for row in tested], abs=1e-9)
    image = small_demo / "image" / tested[0]["image"]
    alone = run(
        "score", "--model", post_run, "--cache", folder / "cache", "--image", image, "--hashtag", "바다", "--json"
    )
    assert [answer["post_read"] for answer in alone.json()] == [False]


def test_the_order_of_a_post_is_read_on_request_and_never_where_it_is_that_of_the_scores(
    run: Run, small_demo: Path, folder: Path
) -> None:
    options = ["--context", "post", "--ordered", "--backbone", "tiny", *data_options(small_demo, folder)]
    ran = run("heads", *options, "--out", folder / "ordered", "--json")
    assert ran.code == 0, ran.stderr
    assert {"heads-post-ordered", "text-and-post-ordered"} <= {entry["system"] for entry in ran.json()}
    assert json.loads((folder / "ordered" / "head.json").read_text())["ordered"] is True
    rows = sorted(rows_of(small_demo / "combined_data.csv"), key=lambda row: row["Score"])
    with (folder / "sorted.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    ran = run("heads", *options, "--data", folder / "sorted.csv")
    assert (ran.code, ran.stderr.count("\n")) == (2, 1)
    assert "are sorted by score" in ran.stderr
    ran = run("heads", "--ordered", "--backbone", "tiny", *data_options(small_demo, folder))
    assert (ran.code, ran.stderr.count("\n")) == (2, 1)
    assert "--context post" in ran.stderr


@pytest.mark.parametrize("other", [["--preset", "paper"], ["--export-pth"]])
def test_what_does_not_go_with_a_post_is_one_line(run: Run, small_demo: Path, folder: Path, other: list[str]) -> None:
    ran = run("heads", "--context", "post", "--backbone", "tiny", *data_options(small_demo, folder), *other)
    assert (ran.code, ran.stderr.count("\n")) == (2, 1)
    assert "--context" in ran.stderr


def test_a_grid_of_posts_scores_as_it_answered(run: Run, small_demo: Path, folder: Path) -> None:
    """The grid chooses among heads of pairs, heads of posts and the head of --context post."""
    grid = folder / "posts.toml"
    grid.write_text(
        '[[grid]]\nfeatures = ["full", "full+post"]\nhidden = [[]]\noptimizer = "ridge"\nepochs = 1\n'
        "weight_decay = [0.1, 1.0]\n"
    )
    options = ["--backbone", "tiny", *data_options(small_demo, folder), "--grid", "--grid-file", grid]
    ran = run("heads", *options)
    assert (ran.code, ran.stderr.count("\n")) == (2, 1)
    assert "2 of 4 heads of the grid read the whole post: give --context post" in ran.stderr
    options += ["--context", "post", "--inner-folds", 2]
    out = folder / "post-grid"
    ran = run("heads", *options, "--out", out)
    assert ran.code == 0, ran.stderr
    assert re.search(r"the head of heads --context post is .*: score 0\.\d{3} against 0\.\d{3} on", ran.stderr)
    assert {row["features"] for row in rows_of(out / "leaderboard.csv")} == {"full", "full+post"}
    tested = [row for row in rows_of(out / "predictions.csv") if row["system"] == "heads-post-grid"]
    ran = run("score", *data_options(small_demo, folder), "--model", out, "-o", folder / "of-grid.csv")
    assert ran.code == 0, ran.stderr
    scored = {row["row"]: row for row in rows_of(folder / "of-grid.csv")}
    assert [scored[row["row"]]["predicted"] for row in tested] == [row["predicted"] for row in tested]


RECIPES = {"default": [], "paper": ["--preset", "paper"], "grid": ["--grid", "--inner-folds", 2]}


@pytest.mark.parametrize(
    "recipe", ["default", *(pytest.param(name, marks=pytest.mark.slow) for name in ("grid", "paper"))]
)
def test_seeds_repeat_the_training_on_one_split(
    run: Run, small_demo: Path, folder: Path, tmp_path: Path, recipe: str
) -> None:
    """Each line of seeds.csv is what a run with that seed and the same split says; the rest is the first seed's run."""
    (folder / "grid.toml").write_text(GRID)
    command = ["heads", *RECIPES[recipe], "--backbone", "tiny", *data_options(small_demo, folder)]
    command += ["--grid-file", folder / "grid.toml"] if recipe == "grid" else []
    once = run(*command, "--out", tmp_path / "once")
    assert once.code == 0, once.stderr
    ran = run(*command, "--seeds", 2, "--out", tmp_path / "twice")
    assert ran.code == 0, ran.stderr
    assert "trained 2 times on the same split" in ran.stderr
    a, b = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("once", "twice"))
    more = {"seeds.csv"} | ({"grid_state-2.json"} if recipe == "grid" else set())
    assert b.keys() - a.keys() == more
    assert {name for name in a if a[name] != b[name]} == {"run.json"}

    repeated = rows_of(tmp_path / "twice" / "seeds.csv")
    seeds = [int(row["seed"]) for row in repeated]
    assert (len(set(seeds)), seeds[0]) == (2, 42)
    system = repeated[0]["system"]
    # The published split is the same whatever the seed.
    split = [] if recipe == "paper" else ["--split", tmp_path / "once" / "split.csv"]
    assert run(*command, *split, "--seed", seeds[1], "--out", tmp_path / "alone").code == 0
    for row, alone in zip(repeated, (tmp_path / "once", tmp_path / "alone"), strict=True):
        (entry,) = [
            entry
            for entry in json.loads((alone / "metrics.json").read_text())
            if (entry["system"], entry["split"]) == (system, "test")
        ]
        assert {name: float(row[name]) for name in entry["metrics"]} == entry["metrics"]
    trainings = json.loads((tmp_path / "twice" / "run.json").read_text())["details"]["trainings"]
    assert (trainings["system"], trainings["seeds"]) == (system, seeds)
    for name, spread in trainings["metrics"].items():
        values = [float(row[name]) for row in repeated]
        assert spread["mean"] == pytest.approx(statistics.fmean(values)), name
        assert spread["deviation"] == pytest.approx(statistics.stdev(values)), name


def test_each_seed_draws_its_own_split_on_request(run: Run, small_demo: Path, folder: Path, tmp_path: Path) -> None:
    """Each line of seeds.csv is what a run with that seed alone says, split and training."""
    command = ["heads", "--backbone", "tiny", *data_options(small_demo, folder)]
    ran = run(*command, "--seeds", 2, "--redraw-split", "--out", tmp_path / "twice")
    assert ran.code == 0, ran.stderr
    assert "trained 2 times, each on its own split" in " ".join(ran.stderr.split())
    assert "heads trained with 2 seeds on 2 splits" in ran.stdout
    repeated, tested = rows_of(tmp_path / "twice" / "seeds.csv"), list[set[str]]()
    for row in repeated:
        alone = tmp_path / row["seed"]
        assert run(*command, "--seed", row["seed"], "--out", alone).code == 0
        (entry,) = [e for e in json.loads((alone / "metrics.json").read_text()) if e["system"] == row["system"]]
        assert {name: float(row[name]) for name in entry["metrics"]} == entry["metrics"]
        tested.append({line["row"] for line in rows_of(alone / "split.csv") if line["split"] == "test"})
    assert tested[0] != tested[1]

    # The interval of the mean by Nadeau and Bengio: (1 / n + test / train) times the variance of the two values.
    lines = rows_of(tmp_path / "twice" / "split.csv")
    pairs = zip((line["image"] for line in lines), identities(line["hashtag"] for line in lines), strict=True)
    counts = Counter(dict(zip(pairs, (line["split"] for line in lines), strict=True)).values())  # repeats once
    trainings = json.loads((tmp_path / "twice" / "run.json").read_text())["details"]["trainings"]
    assert trainings["redrawn_split"] is True
    values = [float(row["qwk"]) for row in repeated]
    error = (statistics.variance(values) * (1 / 2 + counts["test"] / counts["train"])) ** 0.5
    spread = trainings["metrics"]["qwk"]
    assert spread["high"] - spread["mean"] == pytest.approx(12.706205 * error, rel=1e-5)  # t with 1 degree


def test_one_seed_is_none(run: Run, small_demo: Path, folder: Path, tmp_path: Path) -> None:
    command = ["heads", "--backbone", "tiny", *data_options(small_demo, folder)]
    assert run(*command, "--out", tmp_path / "a").code == run(*command, "--seeds", 1, "--out", tmp_path / "b").code == 0
    a, b = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("a", "b"))
    assert a.keys() == b.keys()
    assert {name for name in a if a[name] != b[name]} == {"run.json"}


def test_the_table_of_seeds_shows_both_intervals(run: Run, small_demo: Path, folder: Path, tmp_path: Path) -> None:
    command = ["heads", "--backbone", "tiny", *data_options(small_demo, folder), "--seeds", 3, "--out", tmp_path / "r"]
    lines = run(*command).stdout.splitlines()
    start = lines.index("heads trained with 3 seeds on one split")
    assert lines[start + 1].split("\t") == [
        "metric",
        "seed 42 (95 % as above)",
        "mean of 3 (95 %)",
        "standard deviation",
    ]
    (entry,) = [e for e in json.loads((tmp_path / "r" / "metrics.json").read_text()) if e["system"] == "heads"]
    spread = json.loads((tmp_path / "r" / "run.json").read_text())["details"]["trainings"]["metrics"]["qwk"]
    (low, high), value = entry["ci95"]["qwk"], entry["metrics"]["qwk"]
    assert lines[start + 5].split("\t") == [
        "QWK",
        f"{value:.3f} {low:.2f}–{high:.2f}",
        f"{spread['mean']:.3f} {spread['low']:.2f}–{spread['high']:.2f}",
        f"{spread['deviation']:.3f}",
    ]


def test_a_text_recipe_is_kept_with_the_run(run: Run, small_demo: Path, folder: Path) -> None:
    """Templates: no image is encoded again; `score`, `rerun`, `audit` and Python put hashtags as the run did."""
    options = ["--backbone", "tiny", *data_options(small_demo, folder)]
    recipe = ["--text", "plain", "--template", "{}의 사진", "--template", "{}"]
    assert run("extract", *options).code == 0
    ran = run("heads", *options, *recipe, "--out", folder / "recipe")
    assert ran.code == 0, ran.stderr
    assert "embeddings: 0 of 60 images and " in ran.stderr
    account = json.loads((folder / "recipe" / "run.json").read_text())
    assert account["config"]["encoding"]["text"] == "plain"
    assert account["config"]["encoding"]["templates"] == ["{}의 사진", "{}"]
    extraction = account["details"]["extraction"]
    words = {row["Hashtag"].lstrip("#") for row in rows_of(small_demo / "combined_data.csv")}
    assert (extraction["images_encoded"], extraction["hashtags"]) == (0, len(words | {f"{w}의 사진" for w in words}))

    answers = [row for row in rows_of(folder / "recipe" / "predictions.csv") if row["system"] == "heads"]
    said = {(row["image"], row["hashtag"]): float(row["value"]) for row in answers}
    scored = run("score", "--model", folder / "recipe", *data_options(small_demo, folder), "-o", folder / "scored.csv")
    assert scored.code == 0, scored.stderr
    found = {(row["Image Filename"], row["Hashtag"]): float(row["value"]) for row in rows_of(folder / "scored.csv")}
    image, hashtag = next(iter(said))
    alone = run("score", "--model", folder / "recipe", "--image", small_demo / "image" / image, "--hashtag", hashtag,
                "--cache", folder / "cache", "--json")  # fmt: skip
    scorer = kc.load(folder / "recipe", cache=folder / "nowhere")
    warm = scorer.score(small_demo / "image" / image, [hashtag])["expected_score"]
    for value in (found[image, hashtag], alone.json()[0]["value"], *warm):
        assert value == pytest.approx(said[image, hashtag], abs=1e-5)
    assert {pair: found[pair] for pair in said} == pytest.approx(said, abs=1e-5)

    pairs = kc.read_pairs(small_demo / "combined_data.csv", small_demo / "image")
    here = {"backbone": "tiny", "cache": folder / "cache", "extract": False}
    raw, emb = kc.embed(pairs, **here), kc.embed(pairs, text="plain", templates=["{}의 사진", "{}"], **here)
    assert np.abs(emb[:].cosine() - raw[:].cosine()).max() > 0.01
    assert emb.fingerprint == raw.fingerprint  # one cache

    again = run("rerun", folder / "recipe", "--out", folder / "again", "--json")
    assert again.code == 0, again.stderr
    assert (folder / "again" / "predictions.csv").read_bytes() == (folder / "recipe" / "predictions.csv").read_bytes()
    wrong = run("heads", *options, "--template", "사진")
    assert (wrong.code, wrong.stderr.count("\n")) == (2, 1)
    assert "has no place for the hashtag" in wrong.stderr


def test_labels_of_several_people(run: Run, small_demo: Path, folder: Path) -> None:
    header, *lines = (small_demo / "combined_data.csv").read_text(encoding="utf-8").splitlines()
    rated = folder / "rated.csv"
    moved = [f"{line},{min(5, int(line[-1]) + at % 2)},{'' if at % 7 else line[-1]}" for at, line in enumerate(lines)]
    rated.write_text("\n".join([f"{header},B,C", *moved]), encoding="utf-8")
    columns = [word for name in ("Score", "B", "C") for word in ("--score-column", name)]
    common = ["--backbone", "tiny", *data_options(small_demo, folder), "--data", rated, *columns]
    common += ["--on-conflict", "first"]
    soft = run("heads", *common, "--soft-labels", "--out", folder / "soft", "--json")
    assert soft.code == 0, soft.stderr
    assert "labels: median of 3 columns of scores (Score, B, C)" in soft.stderr
    written = json.loads((folder / "soft" / "run.json").read_text())
    source, panel = written["config"]["source"], written["details"]["panel"]
    assert (source["score_column"], source["aggregate"]) == (["Score", "B", "C"], "median")
    assert panel["scores"][0] == panel["scores"][1] > panel["scores"][2] == panel["complete"]
    mean = run("heads", *common, "--aggregate", "mean", "--out", folder / "mean", "--json")
    assert mean.code == 0, mean.stderr
    rows = {row["row"]: row["score"] for row in rows_of(folder / "mean" / "predictions.csv")}
    for row, score in rows.items():
        given = [int(cell) for cell in moved[int(row) - 1].split(",")[-3:] if cell]
        assert int(score) == int(statistics.fmean(given) + 0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--soft-labels"], "--soft-labels needs the scores of several people: repeat --score-column for each of them"),
        (
            ["--soft-labels", "--context", "post"],
            "--soft-labels is for the single head, not for heads-post: leave it out",
        ),
        (["--soft-labels", "--grid"], "--soft-labels and --grid exclude each other: give one"),
        (
            ["--score-column", "Score", "--score-column", "Score"],
            "--score-column names Score, Score: expected different",
        ),
    ],
)
def test_labels_that_cannot_be_used_are_one_line(
    options: list[str], message: str, run: Run, small_demo: Path, folder: Path
) -> None:
    ran = run("heads", "--backbone", "tiny", *data_options(small_demo, folder), *options, "--out", folder / "none")
    assert ran.code == 2
    assert message in ran.stderr
