"""One hashtag whatever its spelling, cells that hold none or several, and hashtags that a model cuts."""

import sys
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consistency.data.hashtags import (
    SURELY_WHOLE,
    describe_long,
    describe_several,
    describe_truncated,
    hashtag_fault,
    hashtag_identity,
    holds_several,
    identities,
    may_be_truncated,
    plain_hashtag,
    split_hashtags,
)

UNSEEN = "\u200b\u200c\u200d\u200e\u2060\ufeff\u00ad\ufe0e\ufe0f\u3164\U000e0100"


@pytest.mark.parametrize(
    "spellings",
    [
        (
            "카페",
            "#카페",
            "＃카페",
            "﹟카페",
            "##카페",
            "# 카페",
            " #카페\u3000",
            "#️⃣카페",
            "\ufeff#카페",
            "#\u200b카페",
        ),
        ("cafe", "#Cafe", "#ＣＡＦＥ", "＃ｃａｆｅ", "#ca\u00adfe"),
        ("바닷가", "#" + unicodedata.normalize("NFD", "바닷가"), "바닷\u200d가"),
        ("❤바다", "#❤️바다", "❤︎바다"),
        ("strasse", "#STRASSE", "straße"),
        ("ｶﾌｪ", "#カフェ"),
        ("1위", "①위", "#１위"),
    ],
)
def test_spellings_of_one_hashtag(spellings: tuple[str, ...]) -> None:
    assert len({hashtag_identity(spelling) for spelling in spellings}) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [("카페", "까페"), ("바다여행", "바다 여행"), ("C#", "C"), ("바다#여행", "바다여행"), ("🇰🇷", "🇯🇵"), ("🏴󠁧󠁢󠁥󠁮󠁧󠁿", "🏴󠁧󠁢󠁳󠁣󠁴󠁿")],
)
def test_other_hashtags_stay_others(one: str, other: str) -> None:
    assert hashtag_identity(one) != hashtag_identity(other)


def test_the_identity_is_plain_text() -> None:
    assert hashtag_identity(" ＃Cafe\u200b ") == "cafe"
    assert hashtag_identity("#제주도") == "제주도"


def test_plain_words_keep_their_case() -> None:
    assert plain_hashtag(" ＃Cafe\u200b ") == "Cafe"
    assert plain_hashtag("#\u200b") == ""


@given(st.text())
def test_the_identity_is_that_of_the_plain_words(text: str) -> None:
    assert hashtag_identity(plain_hashtag(text)) == hashtag_identity(text)


@given(st.text())
def test_the_identity_is_its_own_identity(text: str) -> None:
    identity = hashtag_identity(text)
    assert hashtag_identity(identity) == hashtag_identity(f" {text}\n") == identity
    assert not identity.startswith("#")
    assert identity == identity.strip()
    assert unicodedata.is_normalized("NFKC", identity)


def test_every_character_alone_has_an_identity_of_its_own() -> None:
    for code in range(sys.maxunicode + 1):
        if not 0xD800 <= code <= 0xDFFF:
            identity = hashtag_identity(chr(code))
            assert hashtag_identity(identity) == identity
            assert hashtag_identity("#" + chr(code)) == identity


WORDS = st.text(
    st.characters(codec="ascii", categories=["L", "N"]) | st.sampled_from("가나다라바다카페힣여행맛집"), min_size=1
)


@st.composite
def respelt(draw: st.DrawFn, word: str) -> str:
    """`word` as somebody else might write it."""
    if draw(st.booleans()):
        word = unicodedata.normalize("NFD", word)
    if draw(st.booleans()):
        word = word.swapcase()
    if draw(st.booleans()):
        word = "".join(chr(ord(letter) + 0xFEE0) if "!" <= letter <= "~" else letter for letter in word)
    letters = [draw(st.sampled_from(["", *UNSEEN])) + letter for letter in word]
    start = draw(st.sampled_from(["", "#", "＃", "﹟", "##", " #", "# ", "\u3000＃", "#\ufe0f\u20e3"]))
    return start + "".join(letters) + draw(st.sampled_from(["", " ", "\n", "\u200b", "\ufe0f"]))


@given(st.data(), WORDS)
def test_the_identity_does_not_depend_on_the_spelling(data: st.DataObject, word: str) -> None:
    assert hashtag_identity(data.draw(respelt(word))) == word.lower()


@given(st.lists(WORDS, max_size=8))
def test_identities_of_a_column(words: list[str]) -> None:
    column = np.array([f"#{word}" for word in words], dtype=object)
    found = identities(column)
    assert found.shape == (len(words),)
    assert found.dtype == object
    assert found.tolist() == [hashtag_identity(word) for word in words]


@pytest.mark.parametrize("text", ["", " ", "#", "##", "# ＃", "\u200b#\ufe0f", "#️⃣", "\u3164", "\ufeff", "\u3000"])
def test_what_is_no_hashtag(text: str) -> None:
    assert hashtag_fault(text) == "the hashtag is empty"


def test_other_faults_of_a_hashtag() -> None:
    assert hashtag_fault("#a\0") == "the hashtag has a NUL character"
    assert hashtag_fault("#\udcff") == "the hashtag is not UTF-8"
    for text in ("#바다", "1", "C#", "☕", "#️⃣바다"):
        assert hashtag_fault(text) is None


@pytest.mark.parametrize("text", ["#바다 #여행", "#바다#여행", "바다 #여행 #카페", "＃바다＃여행"])
def test_cells_of_several_hashtags(text: str) -> None:
    assert holds_several(text)


@pytest.mark.parametrize("text", ["#바다", "바다", "##바다", "# 바다", "C#", "#C#", "바다 여행", "#1위"])
def test_cells_of_one_hashtag(text: str) -> None:
    assert not holds_several(text)


@pytest.mark.parametrize(
    ("cell", "tags"),
    [
        ("#바다 #여행#산, 강", ["#바다", "#여행", "#산", "강"]),
        ("＃바다＃여행", ["＃바다", "＃여행"]),
        ("바다,여행，산、강", ["바다", "여행", "산", "강"]),
        ("#바다\n\u3000#여행", ["#바다", "#여행"]),
        ("C# #D", ["C#", "#D"]),
        ("#🏳️‍🌈#👨‍👩‍👧 ❤️#️⃣", ["#🏳️‍🌈", "#👨‍👩‍👧", "❤️#️⃣"]),
        ("##x # ,", ["##x"]),
        ("#a\0 #b", ["#a\0", "#b"]),
        (" ", []),
    ],
)
def test_a_cell_is_split_into_hashtags(cell: str, tags: list[str]) -> None:
    assert split_hashtags(cell) == tags


@given(st.lists(st.text(st.characters(exclude_categories=("Z", "C")), min_size=1, max_size=6), max_size=5))
def test_hashtags_joined_by_spaces_are_found_again(words: list[str]) -> None:
    tags = ["#" + word for word in words if not set(word) & set("#＃,，、\u20e3") and hashtag_identity(word)]
    assert split_hashtags(" ".join(tags)) == split_hashtags("".join(tags)) == tags


def test_hashtags_that_no_clip_model_cuts() -> None:
    assert not may_be_truncated("가" * 25)
    assert may_be_truncated("가" * 25 + "a")
    assert SURELY_WHOLE == 75


def test_rows_are_named_in_one_line() -> None:
    tags = ["#바다", "#바다 #여행", "#카페#맛집", "가" * 30]
    assert describe_several([1, 2, 4, 5], tags) == (
        "2 rows hold several hashtags in one cell, and are taken for one: split them with --split-hashtags "
        "(row 2, 4: #바다 #여행, #카페#맛집)"
    )
    assert describe_long([1, 2, 4, 5], tags) == (
        "1 rows have a hashtag of more than 75 bytes, of which a model may read the beginning only "
        f"(row 5: {'가' * 30})"
    )
    assert describe_several([1], ["#바다"]) is None
    assert describe_long([1], ["#바다"]) is None
    many = describe_several(range(1, 9), [f"#가 #{number}" for number in range(8)])
    assert many is not None
    assert "row 1, 2, 3, 4, 5, ...: #가 #0, #가 #1, #가 #2, ...)" in many


def test_hashtags_that_a_model_cut_are_named() -> None:
    assert describe_truncated(["가" * 90], 77) == f"1 hashtags are cut to the model's 77 tokens: {'가' * 30}..."
    assert describe_truncated([], 77) is None
