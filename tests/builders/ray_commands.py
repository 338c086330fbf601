"""The command line on Ray, with a model that waits or dies: `python -m tests.builders.ray_commands HOW FOLDER ...`.

`hold`: after the first batch that any process encodes, all wait, until they are ended. `die`: one process kills itself.
"""

import functools
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

IMAGES = 4  # images that a call of an actor encodes and stores


def load(folder: Path, how: str, real: Any) -> Any:
    """The model, which meets its fate at the first batch; the marker says that it has."""
    import torch

    torch.set_num_threads(1)
    backbone = real()
    encode = backbone.encode_images

    def encode_images(batch: Any) -> Any:
        first = True
        try:
            os.close(os.open(folder / how, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            first = False
        if how == "die" and first:
            os.kill(os.getpid(), signal.SIGKILL)
        while how != "die" and not first:
            time.sleep(0.05)
        return encode(batch)

    backbone.encode_images = encode_images
    return backbone


def main(how: str, folder: str, *words: str) -> None:
    """Run the command whose actors load that model."""
    import cli
    from embedcache import pipeline
    from koclip_consistency.workflows import encode

    pipeline.COMMIT_BYTES = IMAGES * (32 + 4 * 64)
    usual = encode._on_ray

    def on_ray(*arguments: Any) -> Any:
        engine = usual(*arguments)
        loading = functools.partial(load, Path(folder), how, engine.keywords["load"])
        return functools.partial(engine.func, **{**engine.keywords, "load": loading})

    encode._on_ray = on_ray
    sys.argv = ["cli.py", *words]
    cli.main()


if __name__ == "__main__":
    from tests.builders import ray_commands  # whose functions the actors find by this name

    ray_commands.main(*sys.argv[1:])
