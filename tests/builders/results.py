"""Results of systems that answered by chance, and run folders that hold them."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from consistency.evaluation.results import Predictions, Result, evaluate_predictions
from consistency.options import Output
from consistency.runs.folder import RunFolder
from consistency.runs.origin import SEAL, seal

NASTY = [
    "#맛집",
    "줄\n바꿈",
    "carriage\rreturn",
    'a "quoted", tag',
    " spaced ",
    "☕️👩‍👩‍👧",
    "<script>alert(1)</script>",
    "NA",
    "=1+1",
    "#바\u1103\u1161",
    "\u2028line",
    "ソウル,旅行",
]


def make_result(
    system: str = "heads",
    *,
    n: int = 60,
    seed: int = 0,
    backbone: str = "tiny",
    protocol: str = "grouped",
    split: str = "test",
    probabilities: bool = True,
) -> Result:
    """Random answers for the same n pairs of 12 images, whatever the seed."""
    pairs, answers = np.random.default_rng(99), np.random.default_rng(seed)
    scores = pairs.integers(1, 6, n)
    pictures = pairs.integers(0, 12, n)
    images = np.array([f"그림 {picture}.png" for picture in pictures], dtype=object)
    chances = answers.dirichlet(np.ones(5), n) + 0.4 * np.eye(5)[scores - 1]
    chances /= chances.sum(axis=1, keepdims=True)
    return evaluate_predictions(
        Predictions(
            system=system,
            backbone=backbone,
            protocol=protocol,
            split=split,
            rows=np.arange(1, n + 1) * 3,
            images=images,
            hashtags=np.array([NASTY[i % len(NASTY)] for i in range(n)], dtype=object),
            scores=scores,
            predicted=chances.argmax(axis=1) + 1,
            values=chances @ np.arange(1, 6),
            probabilities=chances if probabilities else None,
            clusters=pictures,
        )
    )


def open_run(output: Output, *, command: str = "heads", config: dict[str, object] | None = None) -> RunFolder:
    return RunFolder.open(output, command=command, backbone="tiny", config=config or {})


def edit_info(run: Path, change: Callable[[dict[str, Any]], object], *, sealed: bool = False) -> None:
    """Edit run.json as its receiver would by hand; with `sealed`, as if this user's command had written it so."""
    info = json.loads((run / "run.json").read_text(encoding="utf-8"))
    change(info)
    if sealed:
        info = {**info, SEAL: seal(run, {name: value for name, value in info.items() if name != SEAL})}
    (run / "run.json").write_text(json.dumps(info), encoding="utf-8")


def write_run(
    path: Path,
    results: Sequence[Result],
    *,
    config: dict[str, object] | None = None,
    details: dict[str, object] | None = None,
    command: str = "heads",
) -> Path:
    folder = open_run(Output(out=path, runs=path.parent), command=command, config=config)
    if results:
        folder.write_results(list(results))
    folder.finish(
        details or {}, seeds={"seed": 42, "bootstrap": 42}, data_digest="ab", fingerprint=None, timings={"fit": 1.5}
    )
    return folder.path
