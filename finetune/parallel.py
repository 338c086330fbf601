"""Several processes that train one model together, as `torchrun` starts them.

Each process takes a share of the images of every step, the gradients are summed once, and all take the same step: the
result is that of one process, up to the order of sums. The first process alone writes. Without `torchrun` there is one
process, and every function here returns what it is given.
"""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from torch import Tensor

from consistency.backbone.device import choose_device
from consistency.errors import InputError, RunError

T = TypeVar("T")


def size() -> int:
    """Number of processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if size() > 1 else 0


def leads() -> bool:
    """Whether this process writes the files and speaks to the user."""
    return rank() == 0


def launched() -> int:
    """Number of processes that `torchrun` started, 1 without it."""
    return int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else 1


@contextmanager
def joined(device: str) -> Iterator[None]:
    """Join the processes that `torchrun` started, for the block; each has a GPU of its own if `device` is one.

    Parameters
    ----------
    device : str
        As `--device` names it.

    Raises
    ------
    InputError
        If the device cannot be shared out among the processes.
    """
    if launched() == 1:
        yield
        return
    kind, of_machine = choose_device(device), int(os.environ["LOCAL_WORLD_SIZE"])
    if kind not in ("cpu", "cuda"):
        raise InputError(f"torchrun starts {launched()} processes, for which --device must be cpu or cuda, not {kind}")
    if kind == "cuda":
        if of_machine > torch.cuda.device_count():
            raise InputError(
                f"torchrun starts {of_machine} processes on a machine with {torch.cuda.device_count()} GPUs: "
                f"give it --nproc-per-node {torch.cuda.device_count()}"
            )
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    if of_machine == launched():  # one machine needs no other interface
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
    with _speaking():
        dist.init_process_group("cpu:gloo,cuda:nccl" if kind == "cuda" else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def share(items: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The block of `items`, (n, ...), that this process takes; blocks differ in length by one at most."""
    return np.array_split(items, size())[rank()]


def any_of(flag: bool) -> bool:
    """Whether `flag` is set in any process."""
    if size() == 1:
        return flag
    found = torch.tensor(int(flag))
    with _speaking():
        dist.all_reduce(found, dist.ReduceOp.MAX)
    return bool(found)


def sum_gradients(parameters: Iterable[Tensor], loss: Tensor) -> Tensor:
    """Add up the gradients of all processes in place, and return the sum of their losses.

    A parameter without a gradient in any process stays without one, as if one process had seen all rows.

    Parameters
    ----------
    parameters : iterable of Tensor
        The parameters that learn, in the same order in every process.
    loss : Tensor
        Loss of this process's rows, a single number.
    """
    if size() == 1:
        return loss
    learning = list(parameters)
    has = torch.tensor([parameter.grad is not None for parameter in learning], device=loss.device)
    parts = [p.grad if p.grad is not None else torch.zeros_like(p) for p in learning]
    flat = torch.cat([*(part.flatten() for part in parts), has.to(loss), loss.reshape(1)])
    with _speaking():
        dist.all_reduce(flat)
    *sums, has, loss = flat.split([*(part.numel() for part in parts), len(parts), 1])
    for parameter, total, there in zip(learning, sums, has.tolist(), strict=True):
        parameter.grad = total.view_as(parameter).clone() if there else None
    return loss[0]


def gather_rows(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Fill the rows (n, d) that other processes computed, which are 0 here; exact, since every row is computed once."""
    if size() > 1:
        with _speaking():
            dist.all_reduce(torch.from_numpy(rows))
    return rows


def merge(found: dict[int, str]) -> dict[int, str]:
    """The entries of all processes in one dict, sorted by their keys."""
    if size() == 1:
        return found
    every: list[dict[int, str]] = [{} for _ in range(size())]
    with _speaking():
        dist.all_gather_object(every, found)
    return dict(sorted(entry for each in every for entry in each.items()))


def of_lead(value: T) -> T:
    """The `value` of the first process, in all of them."""
    if size() == 1:
        return value
    box = [value]
    with _speaking():
        dist.broadcast_object_list(box)
    return box[0]


def copy_lead(parameters: Sequence[Tensor]) -> None:
    """Give every process the weights of the first."""
    if size() > 1:
        with _speaking(), torch.no_grad():
            for parameter in parameters:
                dist.broadcast(parameter.data, 0)


@contextmanager
def _speaking() -> Iterator[None]:
    """A process that ends leaves the others waiting for it: an error of theirs that says so."""
    try:
        yield
    except (RuntimeError, dist.DistError) as error:
        raise RunError(
            "another process of this training has ended, see its message: continue with --resume and the run folder"
        ) from error
