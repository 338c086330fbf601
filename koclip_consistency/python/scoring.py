"""Scoring for notebooks: a trained run or a backbone, loaded once."""

import os
from pathlib import Path

from consistency.options import Encoding
from koclip_consistency.keywords import record_of
from koclip_consistency.scoring.loading import load_scorer
from koclip_consistency.scoring.scorer import Scorer


def load(
    run: str | os.PathLike[str] | None = None,
    *,
    system: str | None = None,
    backbone: str | None = None,
    sets: float | None = None,
    cache: str | os.PathLike[str] | None = None,
    device: str | None = None,
    threads: int | None = None,
) -> Scorer:
    """Load a trained run to score new images and hashtags with, or a backbone to compare them by cosine.

    The model is loaded when it is first needed, and once for any number of calls.

    Parameters
    ----------
    run : path, optional
        A run folder of `similarity`, `heads` or `finetune`, a folder of `demo`, `paper` or `export`, or a weight file
        (.pth) of the published scripts. Without one, answers have the cosine and its rank and percentile, but no score.
    system : str, optional
        Which system, where the run holds several.
    backbone : str, optional
        The backbone that a weight file belongs to, or that gives the cosine; a run knows its own.
    sets : float, optional
        Answers also have set_low and set_high, the range of scores that holds the label with this probability: 0.50 to
        0.99 in steps of 0.01, for runs of `heads` and `finetune`.
    cache : path, optional
        Folder of the embeddings; the command line's default if None. Single images are only read from it.
    device : {"auto", "cpu", "cuda", "mps"}, optional
        Where the model runs.
    threads : int, optional
        CPU threads of torch.

    Returns
    -------
    Scorer

    Raises
    ------
    InputError
        If there is nothing that can score, or several systems and none is named, or no sets of this level.
    CacheError
        If the run was trained on other embeddings than this installation makes.

    Examples
    --------
    >>> import koclip_consistency as kc
    >>> scorer = kc.load("runs/heads")
    >>> scorer.system
    'heads'
    """
    encoding = record_of(Encoding, {"cache": cache, "device": device, "threads": threads})
    return load_scorer(
        None if run is None else Path(run),
        system=system,
        backbone=backbone,
        sets=sets,
        cache=encoding.cache,
        device=encoding.device,
        threads=encoding.threads,
    )
