"""What cannot be loaded for want of a package names the extra that brings it."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from consistency.backbone.loading import load_tokenizer
from consistency.backbone.resolve import resolve_backbone
from consistency.errors import BackboneError
from tests.builders.models import change_json, make_siglip_folder


@pytest.mark.skipif(find_spec("sentencepiece") is not None, reason="the package is here")
def test_a_tokenizer_that_needs_sentencepiece(tmp_path: Path) -> None:
    folder = make_siglip_folder(tmp_path / "siglip")
    (folder / "tokenizer.json").unlink()
    (folder / "spiece.model").write_bytes(b"not read")
    change_json(folder / "tokenizer_config.json", tokenizer_class="SiglipTokenizer")
    expected = "needs a package that is not installed: pip install 'koclip-consistency.siglip.'$"
    with pytest.raises(BackboneError, match=expected):
        load_tokenizer(resolve_backbone(str(folder)))
