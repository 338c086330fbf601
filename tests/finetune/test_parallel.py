"""What processes that train together tell one another; a whole training: tests/promises/test_torchrun.py."""

import os
import pickle
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from consistency.errors import RunError
from finetune import parallel


def test_alone_everything_is_ones_own() -> None:
    assert (parallel.size(), parallel.rank(), parallel.launched(), parallel.leads()) == (1, 0, 1, True)
    assert parallel.share(np.arange(5)).tolist() == [0, 1, 2, 3, 4]
    assert (parallel.any_of(True), parallel.any_of(False)) == (True, False)
    weight, loss = torch.zeros(2, requires_grad=True), torch.tensor(3.0)
    weight.grad = torch.ones(2)
    assert parallel.sum_gradients([weight], loss) is loss
    assert weight.grad.tolist() == [1, 1]
    rows = np.ones((2, 3), np.float32)
    assert parallel.gather_rows(rows) is rows
    assert parallel.merge({1: "broken"}) == {1: "broken"}
    assert parallel.of_lead("value") == "value"
    with parallel.joined("cpu"):
        assert parallel.size() == 1


def together(count: int, work: Callable[[], Any], folder: Path) -> list[Any]:
    """What `work` returns in each of `count` processes that are joined; None for one that did not get to its end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = []
    for rank in range(count):
        child = os.fork()
        if not child:
            try:
                sizes = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "RANK": str(rank)}
                os.environ |= {"TORCHELASTIC_RUN_ID": "test", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
                os.environ |= sizes | {"LOCAL_RANK": str(rank)}
                with parallel.joined("cpu"):
                    (folder / str(rank)).write_bytes(pickle.dumps(work()))
            finally:
                os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    paths = [folder / str(rank) for rank in range(count)]
    return [pickle.loads(path.read_bytes()) if path.exists() else None for path in paths]


def talk() -> dict[str, Any]:
    rank = parallel.rank()
    weights = [torch.zeros(2, requires_grad=True) for _ in range(3)]
    weights[0].grad = torch.tensor([1.0, 2.0]) * (rank + 1)
    if rank == 1:
        weights[1].grad = torch.tensor([5.0, 7.0])
    loss = parallel.sum_gradients(weights, torch.tensor(float(rank)))
    rows = np.zeros((3, 2), np.float32)
    rows[rank] = 0.1 * (rank + 1)
    copied = torch.full((2,), float(rank))
    parallel.copy_lead([copied])
    return {
        "size": (parallel.size(), parallel.leads()),
        "shares": [parallel.share(np.arange(length)).tolist() for length in (7, 2)],
        "any": (parallel.any_of(rank == 2), parallel.any_of(False)),
        "loss": float(loss),
        "gradients": [None if weight.grad is None else weight.grad.tolist() for weight in weights],
        "rows": parallel.gather_rows(rows).tolist(),
        "merged": parallel.merge({10 - rank: f"of {rank}"}),
        "lead": parallel.of_lead(f"of {rank}"),
        "copied": copied.tolist(),
    }


def test_three_processes_agree(tmp_path: Path) -> None:
    said = together(3, talk, tmp_path)
    assert [each["size"] for each in said] == [(3, True), (3, False), (3, False)]
    assert [each["shares"] for each in said] == [[[0, 1, 2], [0]], [[3, 4], [1]], [[5, 6], []]]
    for each in said:
        assert each["any"] == (True, False)
        assert each["loss"] == 0 + 1 + 2
        assert each["gradients"] == [[6, 12], [5, 7], None]  # what nobody has a gradient of has none
        np.testing.assert_array_equal(each["rows"], np.float32([[0.1, 0.1], [0.2, 0.2], [0.3, 0.3]]))
        assert list(each["merged"].items()) == [(8, "of 2"), (9, "of 1"), (10, "of 0")]
        assert each["lead"] == "of 0"
        assert each["copied"] == [0, 0]


def leave() -> str:
    if parallel.rank() == 1:
        os._exit(0)
    with pytest.raises(RunError, match="another process of this training has ended") as caught:
        parallel.any_of(False)
    return str(caught.value)


def test_a_process_that_ends_is_an_error_of_the_others(tmp_path: Path) -> None:
    said = together(2, leave, tmp_path)
    advice = "continue with --resume and the run folder"
    assert said == [f"another process of this training has ended, see its message: {advice}", None]
