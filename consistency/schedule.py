"""How a learning rate falls, for heads and for fine-tuning alike."""

from math import cos, pi


def rate_share(schedule: str, epoch: int, done: float) -> float:
    """Share of the learning rate. epoch: counted from 0. done: share of the training that lies behind, 0..1.

    "step" divides by 10 every 5 epochs, "cosine" falls to 0 (Loshchilov & Hutter, SGDR, arXiv:1608.03983, without
    restarts), "constant" is 1.
    """
    if schedule == "step":
        return 0.1 ** (epoch // 5)
    return (1 + cos(pi * done)) / 2 if schedule == "cosine" else 1.0
