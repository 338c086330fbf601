"""No image and no repeat is on two sides, over random tables and the published recipe."""

import unicodedata

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from consistency.data.folds import with_folds
from consistency.data.hashtags import hashtag_identity
from consistency.data.leakage import leakage
from consistency.data.pairs import PairTable
from consistency.data.splits import Split, hold_out_validation, make_split
from consistency.errors import DataError, InputError
from tests.builders.tables import make_table, realistic_table, tables


def sides_by_image(split: Split, images: npt.NDArray[np.object_]) -> dict[object, set[str]]:
    found: dict[object, set[str]] = {}
    for image, side in zip(images, split.side, strict=True):
        found.setdefault(image, set()).add(side)
    return found


@pytest.mark.parametrize("seed", [42, 7])
def test_paper_is_the_published_split_whatever_the_seed(seed: int) -> None:
    table = realistic_table()
    split = make_split(table, table.images, protocol="paper", seed=seed)
    expected = train_test_split(np.arange(len(table)), test_size=0.2, stratify=table.scores, random_state=42)
    assert split.rows("train").tolist() == sorted(expected[0])
    assert split.rows("test").tolist() == sorted(expected[1])
    assert split.seed == 42
    assert split.kept.all()
    assert np.array_equal(split.labels, table.scores - 1)


@settings(deadline=None, max_examples=60)
@given(table=tables(), seed=st.integers(0, 5), fraction=st.sampled_from([0.1, 0.2, 0.5, 0.9]))
def test_grouped_never_divides_an_image_or_a_repeat(table: PairTable, seed: int, fraction: float) -> None:
    split = make_split(table, table.images, seed=seed, test_fraction=fraction)
    assert all(len(sides) == 1 for sides in sides_by_image(split, table.images).values())
    assert set(split.side) == {"train", "test"}
    pairs = list(zip(table.images, (tag.strip(" #") for tag in table.hashtags), strict=True))
    assert split.kept.tolist() == [pair not in pairs[:i] for i, pair in enumerate(pairs)]
    seen = leakage(split, table.images, table.hashtags)
    assert (seen.image, seen.pair) == (0, 0)
    assert seen.n == len(split.rows("test"))


@settings(deadline=None, max_examples=60)
@given(table=tables(least_images=4), seed=st.integers(0, 5))
def test_validation_takes_whole_images_from_train_only(table: PairTable, seed: int) -> None:
    split = make_split(table, table.images, seed=seed)
    if len(set(table.images[split.side == "train"])) < 2:
        return
    held = hold_out_validation(split, seed=seed)
    assert all(len(sides) == 1 for sides in sides_by_image(held, table.images).values())
    assert set(held.side) == {"train", "val", "test"}
    assert np.array_equal(held.side == "test", split.side == "test")


@pytest.mark.parametrize("seed", range(3))
def test_grouped_sides_are_balanced(seed: int) -> None:
    table = realistic_table(seed=seed)
    split = make_split(table, table.images, seed=seed)
    counts = np.bincount(split.labels, minlength=5)
    test = np.bincount(split.labels[split.rows("test")], minlength=5)
    assert np.abs(test - 0.2 * counts).max() <= 3
    assert abs(test.sum() - 0.2 * len(table)) <= 3


def test_a_split_depends_on_its_seed_and_on_nothing_else() -> None:
    table = realistic_table()
    first, again, other = (make_split(table, table.images, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first.side, again.side)
    assert not np.array_equal(first.side, other.side)
    renamed = np.array([f"content of {image}" for image in table.images], dtype=object)
    assert np.array_equal(first.side, make_split(table, renamed, seed=1).side)


def test_identity_joins_names_that_share_their_content() -> None:
    table = realistic_table(images=20, rows=200)
    identity = np.array([f"content {int(image[:-4]) // 2}" for image in table.images], dtype=object)
    split = make_split(table, identity)
    assert all(len(sides) == 1 for sides in sides_by_image(split, identity).values())


@settings(deadline=None, max_examples=60)
@given(table=tables(), seed=st.integers(0, 5), fraction=st.sampled_from([0.1, 0.2, 0.5, 0.9]))
def test_hashtag_never_divides_a_hashtag_or_a_repeat(table: PairTable, seed: int, fraction: float) -> None:
    tags = [tag.strip(" #") for tag in table.hashtags]
    if len(set(tags)) < 2:
        return
    split = make_split(table, table.images, protocol="hashtag", seed=seed, test_fraction=fraction)
    assert all(len(sides) == 1 for sides in sides_by_image(split, np.array(tags, dtype=object)).values())
    assert set(split.side[split.kept]) == {"train", "test"}
    pairs = list(zip(table.images, tags, strict=True))
    assert split.kept.tolist() == [pair not in pairs[:i] for i, pair in enumerate(pairs)]
    seen = leakage(split, table.images, table.hashtags)
    assert (seen.pair, seen.hashtag, seen.n) == (0, 0, len(split.rows("test")))
    if len(set(tags)) > 2 and len({tag for tag, side in zip(tags, split.side, strict=True) if side == "train"}) > 1:
        held = hold_out_validation(split, seed=seed)
        assert all(len(sides) == 1 for sides in sides_by_image(held, np.array(tags, dtype=object)).values())
        assert set(held.side[held.kept]) == {"train", "val", "test"}


@settings(deadline=None, max_examples=60)
@given(table=tables(least_images=4), seed=st.integers(0, 5), joined=st.lists(st.integers(0, 3), min_size=9, max_size=9))
def test_near_duplicates_never_stand_on_two_sides(table: PairTable, seed: int, joined: list[int]) -> None:
    scene_of = {f"{image}.jpg": f"scene {scene}" for image, scene in enumerate([0, 1, 2, 3, *joined])}
    scenes = np.array([scene_of[image] for image in table.images], dtype=object)
    split = make_split(table, table.images, seed=seed, scenes=scenes)
    assert all(len(sides) == 1 for sides in sides_by_image(split, scenes).values())
    seen = leakage(split, table.images, table.hashtags, scenes)
    assert (seen.image, seen.near) == (0, 0)
    if len(set(scenes[split.side == "train"])) > 1:
        held = hold_out_validation(split, seed=seed)
        assert all(len(sides) == 1 for sides in sides_by_image(held, scenes).values())
    apart = make_split(table, table.images, seed=seed)
    train = {scene_of[image] for image in table.images[apart.rows("train")]}
    counted = sum(scene_of[image] in train for image in table.images[apart.rows("test")])
    assert leakage(apart, table.images, table.hashtags, scenes).near == counted


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 50), fraction=st.sampled_from([0.1, 0.2, 0.35]))
def test_small_groups_are_balanced_to_a_row(seed: int, fraction: float) -> None:
    """Of hashtags with one to three rows each, every score has its share in test to within a row."""
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(300), rng.integers(1, 4, 300))
    scores = rng.choice(5, len(owner), p=[0.04, 0.1, 0.16, 0.27, 0.43]) + 1
    images = [f"{i % 97}-{i}.png" for i in range(len(owner))]
    table = make_table(images, [f"tag {tag}" for tag in owner], scores.tolist())
    split = make_split(table, table.images, protocol="hashtag", seed=seed, test_fraction=fraction)
    test = np.bincount(split.labels[split.rows("test")], minlength=5)
    assert np.abs(test - fraction * np.bincount(split.labels, minlength=5)).max() <= 1


def test_hashtags_in_several_spellings_are_one() -> None:
    composed, apart = "카페", "\u110f\u1161\u1111\u1166"
    assert hashtag_identity(apart) == composed != apart
    spellings = [composed, apart, f" {apart} ", f"#{composed}", f"＃{apart}", f"{composed}\u200b"]
    table = make_table(list("abcdefghij"), [*spellings, "산", "#산", "강", "강"], [3] * 10)
    split = make_split(table, table.images, protocol="hashtag", test_fraction=0.5)
    assert len(set(split.side[:6])) == 1
    assert len(set(split.side[6:8])) == 1


WORDS = st.sampled_from(["바다", "카페", "여행", "cafe", "Ocean", "산책", "1위"])
STARTS, ENDS = st.sampled_from(["", "#", "＃", " #", "##"]), st.sampled_from(["", " ", "\u200b", "\ufe0f"])
SPELT = st.builds(
    lambda start, word, end, form: start + unicodedata.normalize(form, word) + end,
    STARTS,
    WORDS,
    ENDS,
    st.sampled_from(["NFC", "NFD"]),
)


@settings(deadline=None, max_examples=40)
@given(st.lists(SPELT, min_size=8, max_size=60), st.integers(0, 99))
def test_no_hashtag_is_on_both_sides_in_any_spelling(hashtags: list[str], seed: int) -> None:
    assume(len({hashtag_identity(hashtag) for hashtag in hashtags}) > 2)
    images = [f"{number}.png" for number in range(len(hashtags))]
    table = make_table(images, hashtags, [number % 5 + 1 for number in range(len(hashtags))])
    split = make_split(table, table.images, protocol="hashtag", seed=seed)
    sides = {side: {hashtag_identity(tag) for tag in table.hashtags[split.side == side]} for side in ("train", "test")}
    assert min(map(len, sides.values())) > 0
    assert sides["train"].isdisjoint(sides["test"])
    found = leakage(split, table.images, table.hashtags)
    assert (found.hashtag, found.pair) == (0, 0)
    folded = with_folds(split, 2)
    for fold in (0, 1):
        inside = {hashtag_identity(tag) for tag in table.hashtags[folded.fold == fold]}
        assert inside.isdisjoint(hashtag_identity(tag) for tag in table.hashtags[folded.fold == 1 - fold])


def test_conflicting_scores_stop_the_grouped_split_unless_a_rule_is_given() -> None:
    table = make_table(["a", "a", "b", "c"], ["x", "x", "x", "x"], [1, 4, 3, 5])
    with pytest.raises(DataError):
        make_split(table, table.images)
    mean = make_split(table, table.images, on_conflict="mean")
    assert mean.kept.tolist() == [True, False, True, True]
    assert mean.labels[0] == 2  # the mean of 1 and 4 is 2.5, which rounds up to score 3
    dropped = make_split(table, table.images, on_conflict="drop")
    assert dropped.kept.tolist() == [False, False, True, True]
    assert dropped.side[0] == dropped.side[1]
    assert make_split(realistic_table(), realistic_table().images, protocol="paper").kept.all()


@pytest.mark.parametrize(
    ("table", "arguments", "message"),
    [
        (make_table(["a"] * 9, list("abcdefghi"), [1, 2, 3] * 3), {}, "there are only 1, expected at least 2"),
        (make_table(list("abcdef"), list("abcdef"), [1, 1, 1, 2, 2, 3]), {"protocol": "paper"}, "at least two rows"),
        (make_table(["a", "b"], ["x", "y"], [0, 3]), {}, "without a score"),
    ],
)
def test_tables_too_small_to_split_are_one_clear_line(
    table: PairTable, arguments: dict[str, str], message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        make_split(table, table.images, **arguments)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_options_out_of_range_are_refused() -> None:
    table = realistic_table(images=10, rows=60)
    with pytest.raises(InputError, match="between 0 and 1"):
        make_split(table, table.images, test_fraction=1.0)
    with pytest.raises(InputError, match="use the grouped protocol"):
        make_split(table, table.images, protocol="paper", test_fraction=0.3)


def test_paper_validation_is_stratified_rows() -> None:
    table = realistic_table()
    split = make_split(table, table.images, protocol="paper")
    held = hold_out_validation(split, fraction=0.15, seed=3)
    val, train = held.rows("val"), held.rows("train")
    assert len(val) + len(train) == len(split.rows("train"))
    assert abs(len(val) - 0.15 * len(split.rows("train"))) <= 1
    for label in range(5):
        whole = (split.labels[split.rows("train")] == label).sum()
        assert abs((held.labels[val] == label).sum() - 0.15 * whole) <= 1
