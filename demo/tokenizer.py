"""Trains the byte-level BPE of `tiny` on hashtags: it reads every text, whatever the script.

The library's own trainer breaks ties differently in every run; this one does not.
"""

from collections import Counter
from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

PAD, START, END = "<|pad|>", "<|startoftext|>", "<|endoftext|>"


def train_tokenizer(texts: Iterable[str], *, size: int) -> Tokenizer:
    """A tokenizer of at most `size` tokens, for texts in NFC and lower case.

    The special tokens come last, and END, by which CLIP pools, has the highest id.
    """
    normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    splitter = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words = Counter(word for text in texts for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)))
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = learn_merges(words, size - len(letters) - 3)
    vocabulary = dict.fromkeys([*letters, *("".join(pair) for pair in merges)])
    tokenizer = Tokenizer(models.BPE({token: number for number, token in enumerate(vocabulary)}, merges))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([PAD, START, END])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(token, tokenizer.token_to_id(token)) for token in (START, END)]
    )
    return tokenizer


def learn_merges(words: Counter[str], count: int) -> list[tuple[str, str]]:
    """The `count` most frequent pairs, each counted after the earlier ones are merged; of equal ones the smallest.

    Fewer where no pair occurs twice any more.
    """
    spelt = [(list(word), times) for word, times in sorted(words.items())]
    merges: list[tuple[str, str]] = []
    while len(merges) < count:
        pairs: Counter[tuple[str, str]] = Counter()
        for symbols, times in spelt:
            for pair in zip(symbols, symbols[1:], strict=False):
                pairs[pair] += times
        best, times = min(pairs.items(), key=lambda item: (-item[1], item[0]), default=(("", ""), 0))
        if times < 2:
            break
        merges.append(best)
        for symbols, _ in spelt:
            _merge(symbols, best)
    return merges


def _merge(symbols: list[str], pair: tuple[str, str]) -> None:
    place = 0
    while place < len(symbols) - 1:
        if (symbols[place], symbols[place + 1]) == pair:
            symbols[place : place + 2] = ["".join(pair)]
        place += 1
