"""Reads a file of named tensors: safetensors, or a pickle from which no code is ever run."""

import pickle
import zipfile
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from consistency.errors import BackboneError, InputError, is_out_of_memory, one_line


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a .safetensors file, or of a .pth or .bin state dict, onto the CPU.

    Parameters
    ----------
    path : Path
        Weight file; any suffix other than .safetensors means a pickle, which torch reads with `weights_only=True`.

    Returns
    -------
    dict
        Tensors by name. Tensors of a zipped pickle are memory-mapped until they are copied.

    Raises
    ------
    InputError
        If the file does not exist.
    BackboneError
        If the file is damaged or holds anything but named tensors.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist") from error
    except pickle.UnpicklingError as error:
        raise BackboneError(
            f"{path} holds more than tensors, or is damaged; it is not loaded, because that could run code: "
            "use a safetensors file, or download the model again"
        ) from error
    except Exception as error:  # damaged pickles raise many kinds of errors
        if is_out_of_memory(error):
            raise
        raise BackboneError(
            f"{path} cannot be read as weights ({one_line(error)[:200]}); download the model again"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise BackboneError(f"{path} holds no named tensors; expected the state dict of a model")
    return dict(state)
