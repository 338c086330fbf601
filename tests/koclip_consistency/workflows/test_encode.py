"""From a pair table to embeddings: what is encoded, what is refused, and where each row is."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from consistency.data.inputs import read_inputs
from consistency.data.splits import make_split
from consistency.errors import CacheError, DataError, InputError
from consistency.options import CacheChoice, Encoding, Source
from consistency.progress import silent
from koclip_consistency.workflows.cache import only_one
from koclip_consistency.workflows.encode import cache_fields, encode_pairs, fill_cache, resolve


@pytest.fixture
def source(small_demo: Path, tmp_path: Path) -> Source:
    """The small demo with one broken image."""
    folder = tmp_path / "image"
    folder.mkdir()
    for image in (small_demo / "image").iterdir():
        (folder / image.name).write_bytes(image.read_bytes())
    next(iter(sorted(folder.iterdir()))).write_bytes(b"no image")
    return Source(data=small_demo / "combined_data.csv", images=folder)


def test_every_row_has_its_own_vectors_or_a_reason(source: Source, tmp_path: Path) -> None:
    inputs = read_inputs(source)
    encoded = encode_pairs(inputs, Encoding(backbone="tiny", cache=tmp_path / "cache"), source)
    lost = {skipped.row for skipped in encoded.skipped}
    usable = encoded.usable(np.arange(len(inputs.table)))
    assert set(inputs.table.rows[usable].tolist()) == set(inputs.table.rows.tolist()) - lost
    assert lost
    from consistency.backbone.model import load_backbone

    backbone = load_backbone(encoded.resolved, device="cpu", trainable=False)
    rows = usable[[3, 0, -1]]
    expected = backbone.encode_texts(inputs.table.hashtags[rows])
    assert np.allclose(encoded.at(rows).hashtag_vectors(), expected, atol=1e-5)


def test_other_revisions_of_a_model_are_kept_apart_and_named(source: Source, tmp_path: Path) -> None:
    encoding, inputs = Encoding(backbone="tiny", cache=tmp_path / "cache"), read_inputs(source)
    resolved, _ = resolve(encoding)
    notes = []
    for commit in ("a" * 40, "b" * 40, "b" * 40):  # one folder under two commits of a hub id
        named = replace(resolved, model_id="kim/clip", revision=commit)
        notes.append(fill_cache(inputs, encoding, source, named, cache_fields(named, encoding), silent).note)
    assert "kept apart" not in notes[0]
    assert f"; these are of kim/clip@{'b' * 12}; those of kim/clip@{'a' * 12} are kept apart" in notes[1]
    assert "59 of 60 images and 383 of 383 hashtags encoded now" in notes[1]
    assert "kept apart" not in notes[2]  # nothing was encoded
    choice = CacheChoice(cache=encoding.cache, backbone="kim/clip")
    with pytest.raises(InputError, match=r"holds 2 sets .*: choose one with --fingerprint") as caught:
        only_one(choice)
    assert all(f" of kim/clip@{letter * 12}" in str(caught.value) for letter in "ab")


def test_missing_embeddings_are_refused_without_extract(source: Source, tmp_path: Path) -> None:
    encoding = Encoding(backbone="tiny", cache=tmp_path / "cache", extract=False)
    with pytest.raises(CacheError, match="there are no embeddings in"):
        encode_pairs(read_inputs(source), encoding, source)
    abort = replace(source, on_error="abort")
    with pytest.raises(DataError, match="--on-error skip"):
        encode_pairs(read_inputs(abort), replace(encoding, extract=True), abort)


def test_a_side_without_an_image_is_an_error(source: Source, tmp_path: Path) -> None:
    inputs = read_inputs(source)
    encoded = encode_pairs(inputs, Encoding(backbone="tiny", cache=tmp_path / "cache"), source)
    split = make_split(inputs.table, inputs.identity)
    broken = np.flatnonzero(encoded.position < 0)
    only_broken = replace(split, side=np.where(np.isin(np.arange(len(inputs.table)), broken), "test", "train"))
    with pytest.raises(DataError, match="none of the .* test rows"):
        encoded.side(only_broken, "test")


def test_fp16_has_a_fingerprint_of_its_own() -> None:
    full, half = (resolve(Encoding(backbone="tiny", store=store))[1] for store in ("fp32", "fp16"))  # type: ignore[arg-type]
    assert {**full, "store": "fp16"} == half


def test_a_processor_that_is_quicker_in_bf16_is_named_where_fp32_was_chosen(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = read_inputs(source)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True}, raising=False)
    for cache, precision, said in (("one", "auto", True), ("other", "fp32", False), ("one", "auto", False)):
        encoding = Encoding(backbone="tiny", cache=tmp_path / cache, device="cpu", precision=precision)  # type: ignore[arg-type]
        encoded = encode_pairs(inputs, encoding, source)
        assert ("this processor has instructions for bf16" in encoded.note) == said  # the third run encodes nothing
