"""The tokenizer of `tiny`: merges by frequency, any text read back, and the file that is shipped."""

import json
from collections import Counter
from pathlib import Path

from demo.tokenizer import END, PAD, START, learn_merges, train_tokenizer
from demo.train_backbone import VOCABULARY, corpus

TINY = Path(__file__).parents[2] / "demo" / "tiny"


def test_merges_come_by_frequency_then_alphabet() -> None:
    assert learn_merges(Counter({"abab": 2, "cd": 4, "ef": 4}), 10) == [
        ("a", "b"),
        ("c", "d"),
        ("e", "f"),
        ("ab", "ab"),
    ]
    assert learn_merges(Counter({"aaa": 1}), 10) == [("a", "a")]
    assert learn_merges(Counter({"ab": 1}), 10) == []


def test_a_trained_tokenizer_reads_everything_back() -> None:
    tokenizer = train_tokenizer(["#바다", "#바다여행", "sea"], size=300)
    assert tokenizer.get_vocab_size() <= 300
    assert tokenizer.token_to_id(END) == tokenizer.get_vocab_size() - 1
    for text in ("바다여행", "夜景", "🌙", "a b"):
        assert tokenizer.decode(tokenizer.encode(text).ids) == text
    assert len(tokenizer.encode("바다").ids) < len(tokenizer.encode("달빛").ids)


def test_training_on_the_vocabulary_gives_the_shipped_file() -> None:
    tokenizer = train_tokenizer(corpus(), size=VOCABULARY)
    assert tokenizer.to_str().encode() == (TINY / "tokenizer.json").read_bytes()


def test_the_special_tokens_enclose_a_text() -> None:
    tokenizer = train_tokenizer(["바다"], size=300)
    tokens = tokenizer.encode("바다").tokens
    assert (tokens[0], tokens[-1]) == (START, END)
    assert [token["content"] for token in json.loads(tokenizer.to_str())["added_tokens"]] == [PAD, START, END]


def test_spellings_that_look_alike_have_the_same_tokens() -> None:
    tokenizer = train_tokenizer(["바다", "ocean"], size=300)
    assert tokenizer.encode("Ocean").ids == tokenizer.encode("ocean").ids
    assert tokenizer.encode("\u1107\u1161\u1103\u1161").ids == tokenizer.encode("바다").ids  # decomposed
