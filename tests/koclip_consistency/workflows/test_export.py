"""Copying a backbone: the weights are safetensors afterwards, whatever they were, and give the same vectors."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from consistency.backbone.resolve import resolve_backbone
from consistency.errors import InputError
from koclip_consistency.workflows.export import check_exportable, copy_backbone
from tests.builders.backbones import load
from tests.builders.models import make_clip_folder


def test_a_pickle_becomes_safetensors(tmp_path: Path) -> None:
    source = make_clip_folder(tmp_path / "source")
    state = load_file(source / "model.safetensors")
    torch.save(state, source / "pytorch_model.bin")
    (source / "model.safetensors").unlink()
    (source / "pytorch_model.bin.index.json").write_text("{}")
    (source / "head.json").write_text("{}")  # of an earlier export that served as a backbone
    (tmp_path / "copy").mkdir()
    copy_backbone(resolve_backbone(str(source)), tmp_path / "copy")
    written = load_file(tmp_path / "copy" / "model.safetensors")
    assert all(torch.equal(written[name], state[name]) for name in state)
    assert {path.name for path in (tmp_path / "copy").iterdir()} == {
        *("config.json", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json"),
        *("model.safetensors", "model.safetensors.sha256"),
    }
    texts = ["#바다", "카페"]
    np.testing.assert_array_equal(load(tmp_path / "copy").encode_texts(texts), load(source).encode_texts(texts))


def test_weights_in_several_files_keep_their_index(tmp_path: Path) -> None:
    from transformers import CLIPModel

    source = make_clip_folder(tmp_path / "source")
    model = CLIPModel.from_pretrained(source)
    (source / "model.safetensors").unlink()
    model.save_pretrained(source, max_shard_size="100KB")
    (tmp_path / "copy").mkdir()
    copy_backbone(resolve_backbone(str(source)), tmp_path / "copy")
    copied, original = resolve_backbone(str(tmp_path / "copy")), resolve_backbone(str(source))
    assert len(copied.weights) > 1
    assert copied.revision == original.revision


def test_what_is_no_single_model_folder_is_refused() -> None:
    tiny = resolve_backbone("tiny")
    check_exportable(tiny)
    check_exportable(replace(tiny, library="open_clip"))
    with pytest.raises(InputError, match="tiny is a model of sentence-transformers, which cannot be exported"):
        check_exportable(replace(tiny, library="sentence-transformers"))
    for several in (replace(tiny, texts=tiny), replace(tiny, members=(tiny, tiny))):
        with pytest.raises(InputError, match="tiny is made of several models, which cannot be exported"):
            check_exportable(several)
