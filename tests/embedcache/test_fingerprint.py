"""The fingerprint: one for the same fields, another for any others, computed as the format page says."""

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from embedcache.fingerprint import difference, explain, fingerprint
from embedcache.store import EmbeddingCache
from tests.builders.caches import FIELDS


def test_a_fingerprint_is_length_delimited() -> None:
    assert fingerprint({"a": "b", "c": "d"}) == fingerprint({"c": "d", "a": "b"})
    assert len(fingerprint({})) == 64
    assert len({fingerprint(fields) for fields in ({"a": "bc"}, {"ab": "c"}, {"a": "b", "c": ""}, {"a": ""}, {})}) == 5


TEXTS = st.text(st.characters(codec="utf-8"), max_size=4)


SOME_FIELDS = st.dictionaries(TEXTS, TEXTS, max_size=3)


@settings(max_examples=50)
@given(SOME_FIELDS, SOME_FIELDS)
def test_other_fields_have_another_fingerprint(a: dict[str, str], b: dict[str, str]) -> None:
    assert (fingerprint(a) == fingerprint(b)) == (a == b)
    assert (difference(a, b) == ()) == (a == b)


def test_fields_in_plain_words() -> None:
    assert explain({"model": "a/b", "text_policy": "x" * 90}) == f"model a/b, text policy {'x' * 45}..."
    assert difference({"a": "1", "b": "2"}, {"a": "1", "b": "3", "c": ""}) == ("b", "c")


def by_the_page(fields: dict[str, str]) -> str:
    """The fingerprint by docs/cache-format.md alone."""
    message = b""
    for name, value in [("schema", "1"), *((name, fields[name]) for name in sorted(fields))]:
        for text in (name.encode("utf-8"), value.encode("utf-8")):
            message += struct.pack("<Q", len(text)) + text
    return hashlib.sha256(message).hexdigest()


@settings(max_examples=50)
@given(SOME_FIELDS)
def test_an_independent_reader_computes_the_fingerprint(fields: dict[str, str]) -> None:
    assert fingerprint(fields) == by_the_page(fields)
    assert fingerprint({**fields, "schema": "1"}) == by_the_page({**fields, "schema": "1"}) != fingerprint(fields)


def test_the_example_of_the_page_is_true(tmp_path: Path) -> None:
    """The page's own program, run on a cache that this program wrote, and the page's own example."""
    page = (Path(__file__).parents[2] / "docs" / "cache-format.md").read_text(encoding="utf-8")
    programs = [block.split("```")[0] for block in page.split("```python\n")[1:]]
    (program,) = [program for program in programs if "def fingerprint" in program]
    scope: dict[str, Any] = {}
    exec(program, scope)
    cache = EmbeddingCache.open(tmp_path, {**FIELDS, "text": "그대로", "schema": "1"})
    stored = json.loads((cache.path / "format.json").read_text(encoding="utf-8"))
    assert scope["fingerprint"](stored["fields"]) == cache.path.name
    example = scope["fingerprint"]({"model": "tiny", "schema": "1"})
    assert f"`{example}`" in page
