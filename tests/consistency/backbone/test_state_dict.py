"""Weights are read by name and nothing in a pickle is run."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from consistency.backbone.state_dict import read_state_dict
from consistency.errors import BackboneError, InputError


class Trap:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('code of the pickle ran')",))


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors", "old.bin"])
def test_tensors_come_back_by_name(tmp_path: Path, name: str) -> None:
    state = {"a.weight": torch.arange(6.0).view(2, 3), "b": torch.ones(2, dtype=torch.int64)}
    if name.endswith(".safetensors"):
        save_file(state, tmp_path / name)
    else:
        torch.save(state, tmp_path / name, _use_new_zipfile_serialization=name == "w.pth")
    found = read_state_dict(tmp_path / name)
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], value) for key, value in state.items())


def test_what_cannot_be_read_is_one_clear_line(tmp_path: Path) -> None:
    torch.save({"weights": Trap()}, tmp_path / "trap.pth")
    torch.save([torch.ones(2)], tmp_path / "list.pth")
    (tmp_path / "poem.pth").write_text("roses are red")
    for name, message in (
        ("trap.pth", "holds more than tensors"),
        ("list.pth", "holds no named tensors"),
        ("poem.pth", "poem.pth"),
    ):
        with pytest.raises(BackboneError, match=message) as caught:
            read_state_dict(tmp_path / name)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="none.pth does not exist"):
        read_state_dict(tmp_path / "none.pth")
