"""Trains the byte-level BPE tokenizer of `tiny` on hashtags; it can encode text in any script.

The trainer of the tokenizers library breaks ties differently in every run; this one is deterministic.
"""

from collections import Counter
from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

PAD, START, END = "<|pad|>", "<|startoftext|>", "<|endoftext|>"


def train_tokenizer(texts: Iterable[str], *, size: int) -> Tokenizer:
    """Train a tokenizer that normalises text to NFC and lower case.

    The special tokens come last, and END, at which CLIP pools, has the highest id.

    Parameters
    ----------
    texts : iterable of str
        Training texts.
    size : int
        Largest number of tokens, special tokens included.

    Returns
    -------
    tokenizers.Tokenizer
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
    """Learn up to `count` merges, always of the most frequent pair after the earlier merges.

    Ties go to the pair that sorts first. Learning stops when no pair occurs twice.

    Parameters
    ----------
    words : Counter of str
        How often each word occurs.
    count : int
        Largest number of merges.

    Returns
    -------
    list of (str, str)
        The merged pairs, in order.
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
