"""Where a command works: in this process or on Ray, which is prepared before it is imported."""

import os
import secrets
from typing import TYPE_CHECKING

from consistency.errors import InputError
from consistency.options import Engine

if TYPE_CHECKING:
    from embedcache.engines.cluster import Cluster


def cluster_of(engine: Engine) -> "Cluster | None":
    """Where Ray runs, or None for `--engine local`.

    Raises
    ------
    InputError
        If Ray is not installed, or its options are given without `--engine ray`.
    """
    asked = {
        "--ray-address": engine.ray_address,
        "--num-workers": engine.num_workers,
        "--gpus-per-worker": engine.gpus_per_worker,
    }
    if engine.name == "local":
        for flag, value in asked.items():
            if value is not None:
                raise InputError(f"{flag} needs --engine ray")
        return None
    if engine.ray_address is None and "RAY_ADDRESS" not in os.environ:
        # Ray listens on the loopback alone, but other users of the machine reach that, so a token is needed to connect.
        # Its import reads these; the last one keeps it from asking for this machine's address in other networks.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        if "RAY_AUTH_TOKEN_PATH" not in os.environ:
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    try:
        from embedcache.engines.cluster import Cluster
    except ImportError as error:
        raise InputError("--engine ray needs the package ray: pip install 'koclip-consistency[ray]'") from error
    return Cluster(*asked.values())  # type: ignore[arg-type]
