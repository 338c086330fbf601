"""A Ray cluster: connect to one or start it, make a pool of actors, and say in one line what went wrong."""

import logging
import os
import pickle
import re
import shutil
import signal
import socket
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import ray.data

from consistency import errors
from consistency.data.reading import cores
from consistency.durable import machine
from consistency.errors import InputError, RunError, one_line

RETRIES = 3  # restarts of an actor, and repetitions of a call or a task
DECODING_CPUS = 0.5  # with as many as an actor has, Ray would decode inside the actor
TEMP, TEMP_PREFIX = "/tmp", "ray-"  # where Ray's sockets and logs lie while it runs
_OURS = re.compile(r"^consistency\.errors\.(\w+): (.*)$", re.MULTILINE)
_CAUSED = "\n\nThe above exception was the direct cause of the following exception:\n\n"

Batch = dict[str, Any]


@dataclass(frozen=True)
class Cluster:
    """Where Ray runs, and with what.

    Attributes
    ----------
    address
        Of a running cluster; None starts Ray on this machine, unless RAY_ADDRESS is set.
    workers
        Number of actors that encode; None is one for each GPU, or a single one.
    gpus
        GPUs of an actor, perhaps a fraction; None is one where the cluster has GPUs.
    """

    address: str | None = None
    workers: int | None = None
    gpus: float | None = None


@contextmanager
def connected(cluster: Cluster) -> Iterator[None]:
    """Connect to Ray, or start it on this machine and end it afterwards; within a connection, do nothing.

    Meanwhile stdout is stderr, since processes of Ray write lines of their own to it.
    """
    if ray.is_initialized():
        yield
        return
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    address = cluster.address or os.environ.get("RAY_ADDRESS")
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    folder = None
    if address is None:
        sweep()
        # Short, since the path of a socket has at most 107 bytes, of which Ray's own names take 64.
        folder = tempfile.mkdtemp(prefix=f"{TEMP_PREFIX}{machine()}-{os.getpid()}-", dir=TEMP)
        cpus = max(cores(), (cluster.workers or 1) + 1)
        quiet |= {"include_dashboard": False, "num_cpus": cpus, "_node_ip_address": "127.0.0.1", "_temp_dir": folder}
    before = signal.getsignal(signal.SIGTERM)
    with _stdout_is_stderr():
        try:
            try:
                _reach(address)
                ray.init(address=address or "local", **quiet)
            except Exception as error:
                raise RunError(f"Ray cannot be used ({one_line(error)}): check --ray-address") from error
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, before)  # Ray's own would end the process at once
            warnings.filterwarnings("ignore", module=r"ray\.")  # of its own deprecated names
            # Restarts can be bounded in no other way.
            warnings.filterwarnings("ignore", "`ray_remote_args` is deprecated")
            context = ray.data.DataContext.get_current()
            context.enable_progress_bars = False
            logging.getLogger("ray.data").setLevel(logging.ERROR)
            warnings.filterwarnings("ignore", "The minimum number of concurrent actors")  # fewer calls than actors
            yield
        finally:
            ray.shutdown()
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)


def _reach(address: str | None) -> None:
    """Raise OSError if nothing listens at HOST:PORT, for which Ray itself would wait for many minutes."""
    host, _, port = (address or "").rpartition(":")
    if port.isdecimal() and "/" not in host:
        socket.create_connection((host, int(port)), timeout=10).close()


def sweep() -> None:
    """Remove what Ray left in the folders of processes of this machine that were killed."""
    for folder in Path(TEMP).glob(f"{TEMP_PREFIX}{machine()}-*-*"):
        try:
            os.kill(int(folder.name.split("-")[2]), 0)
        except ProcessLookupError:
            shutil.rmtree(folder, ignore_errors=True)
        except (OSError, ValueError):  # of another user
            continue


@contextmanager
def _stdout_is_stderr() -> Iterator[None]:
    """Send what any process writes to this one's stdout to its stderr."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def actors(cluster: Cluster) -> dict[str, Any]:
    """How the actors are made; raises InputError if the cluster has no room for them."""
    there = ray.cluster_resources()
    gpus = cluster.gpus if cluster.gpus is not None else float(there.get("GPU", 0) > 0)
    workers = cluster.workers or (max(1, int(there.get("GPU", 0) / gpus)) if gpus else 1)
    needed = {"CPU": workers + DECODING_CPUS, "GPU": workers * gpus}
    for kind, amount in needed.items():
        if amount > there.get(kind, 0):
            raise InputError(
                f"{workers} workers need {amount:g} {kind}s, and the Ray cluster has {there.get(kind, 0):g}: "
                "give a smaller --num-workers or --gpus-per-worker"
            )
    return {
        "compute": ray.data.ActorPoolStrategy(size=workers),
        "num_cpus": 1,
        "num_gpus": gpus,
        "max_restarts": RETRIES,
        "max_task_retries": RETRIES,
    }


def apply(cluster: Cluster, make: Callable[[], Callable[[Any], Any]], items: Sequence[Any]) -> Iterator[Any]:
    """Yield the result of each item, in any order; every actor calls `make` once for what it then applies.

    Raises
    ------
    RunError
        If Ray gives up.
    InputError
        If the cluster is too small.
    """
    with connected(cluster), plain_errors():
        data = ray.data.from_arrow([pa.table({"item": [pickle.dumps(item)]}) for item in items])
        done = data.map_batches(_Applied, batch_size=1, fn_constructor_args=(make,), **actors(cluster))
        for batch in done.iter_batches(batch_size=None):
            yield from map(pickle.loads, batch["result"])


class _Applied:
    def __init__(self, make: Callable[[], Callable[[Any], Any]]) -> None:
        self.apply = make()

    def __call__(self, batch: Batch) -> Batch:
        results = [pickle.dumps(self.apply(pickle.loads(item))) for item in batch["item"]]
        return {"result": np.array(results, object)}


@contextmanager
def plain_errors() -> Iterator[None]:
    """Raise our own error in place of Ray's, whose text is the traceback of another process."""
    try:
        yield
    except ray.exceptions.RayError as error:
        text = str(error)
        if ours := _OURS.findall(text):
            name, message = ours[-1]
            raise getattr(errors, name)(message) from error
        parts = text.split(_CAUSED)
        # The last one may be Ray Data's, which says how to repeat such calls.
        lines = (parts[-2] if len(parts) > 1 and "UserCodeException" in parts[-1] else parts[-1]).strip().splitlines()
        told = lines[-1].strip() if lines else type(error).__name__
        raise RunError(f"Ray gave up ({told}): what was stored is kept, run it again") from error
