"""How backbones are named."""

from pathlib import Path

import pytest

from consistency.backbone.names import SHORT_NAMES, parts_of, pinned, refuse_impossible
from consistency.errors import BackboneError


def test_a_revision_follows_the_id() -> None:
    assert pinned("kim/clip", None) == ("kim/clip", None)
    assert pinned("kim/clip@abc", None) == pinned("kim/clip@abc", "abc") == ("kim/clip", "abc")
    assert pinned("siglip2@abc", None) == ("siglip2", "abc")
    assert pinned("kim/clip", "v1") == ("kim/clip", "v1")
    for name, revision in (("kim/clip@", None), ("@abc", None), ("kim/clip@abc", "v1")):
        with pytest.raises(BackboneError, match="names no single revision; expected HF_ID@REVISION"):
            pinned(name, revision)


def test_two_models_are_named_with_a_plus_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert parts_of("kim/texts@a+kim/clip") == ["kim/texts@a", "kim/clip"]
    assert parts_of("koclip") == ["koclip"]
    assert len(parts_of("clip-multilingual")) == 2
    monkeypatch.chdir(tmp_path)
    for folder in ("a+b", "a@b"):  # a folder comes first
        Path(folder).mkdir()
        assert parts_of(folder) == [folder]
        assert pinned(folder, None) == (folder, None)


def test_every_short_name_stands_for_ids_of_the_hub() -> None:
    for name in SHORT_NAMES:
        for part in parts_of(name):
            assert SHORT_NAMES.get(part, part).count("/") == 1


def test_a_missing_folder_is_not_looked_for_on_the_hub() -> None:
    with pytest.raises(BackboneError, match="there is no folder ./nowhere"):
        refuse_impossible("./nowhere")
    with pytest.raises(BackboneError, match="did you mean siglip2?"):
        refuse_impossible("siglp2")
