"""Fine-tunes both encoders and a head on pairs, from the warm start to the kept weights."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from consistency.backbone.model import Backbone
from consistency.durable import make_folder
from consistency.errors import DivergenceError
from consistency.progress import Progress, silent
from finetune import parallel
from finetune.checkpoint import Cadence, Checkpoints, Parts
from finetune.classifier import PairClassifier, embed, merge_adapters
from finetune.dataset import Floats, Ints, PairData
from finetune.loop import Training
from finetune.model import Finetuned, save_finetuned
from finetune.prepare import Prepared, load_again
from finetune.state import Chosen, History, LabelledRows
from heads.model import Head
from heads.train import train_head


@dataclass(frozen=True, eq=False)
class FinetuneResult:
    """Result of a fine-tuning.

    Attributes
    ----------
    model : Finetuned
        Model with the kept weights.
    rows : dict of str to ndarray of int64, shape (m,)
        Usable rows, by "val" and "test".
    probabilities : dict of str to ndarray of float64, shape (m, 5)
        Class probabilities of these rows. For validation rows they predate a refit, which trains on these rows.
    history : list of dict
        One record per epoch, excluding a refit; epoch 0 is the warm-started head. `measured_on` names the rows
        of its metrics: val, or test if nothing is validated, as published.
    kept_epoch : int
        Epoch of the kept weights, or number of epochs of the refit.
    share : float
        How far towards the kept weights the model was moved, 1 without interpolation.
    best_epoch : int
        Epoch with the highest `select` score of the history.
    best_test : ndarray of float64, shape (m, 5), or None
        Probabilities of the test rows at `best_epoch`, if the history was measured on them.
    """

    model: Finetuned
    rows: dict[str, Ints]
    probabilities: dict[str, Floats]
    history: History
    kept_epoch: int
    share: float
    best_epoch: int
    best_test: Floats | None


def finetune(
    prepared: Prepared,
    *,
    out: Path,
    resume: bool = False,
    cadence: Cadence | None = None,
    progress: Progress = silent,
    on_epoch: Callable[[dict[str, Any]], None] = lambda record: None,
) -> FinetuneResult:
    """Fine-tune the backbone in place.

    Within `parallel.joined`, several processes train together, and the first alone writes.

    `out` receives history.csv and, during training, checkpoint/. Before a refit, the model chosen on the validation
    rows is saved in `out` and remains there if the refit diverges. The caller's random state does not change.

    Parameters
    ----------
    prepared : Prepared
        Result of `prepare`.
    out : Path
        Folder of the run.
    resume : bool, default False
        Continue from the last checkpoint in `out`, if any; on a CPU the result is bit-identical to that of an
        uninterrupted training.
    cadence : Cadence, optional
        How often to write a checkpoint.
    progress : Progress
        Shows the training steps.
    on_epoch : callable
        Called with the record of each epoch.

    Returns
    -------
    FinetuneResult
        The tuned model and its predictions.

    Raises
    ------
    InputError
        If the training rows make no step, or a checkpoint does not belong to this training.
    DivergenceError
        If the loss, the gradient or a weight becomes NaN or infinite.
    OutOfMemory
        If a step does not fit in memory.
    StorageError
        If a file cannot be written or a checkpoint is damaged.
    """
    checkpoints = Checkpoints(out, prepared.identity, cadence or Cadence())
    if parallel.leads():
        make_folder(out)

    def trained(
        backbone: Backbone,
        rows: LabelledRows,
        started: tuple[dict[str, Any], Parts] | None,
        chosen: Chosen | None = None,
    ) -> Training:
        torch.manual_seed(prepared.seed)
        first = _first_head(prepared, backbone, rows, probe=started is None)
        training = Training(
            PairClassifier(backbone, first, prepared.config.head.features),
            prepared.data,
            rows,
            prepared.config,
            seed=prepared.seed,
            out=out,
            checkpoints=checkpoints,
            warm=prepared.config.warm_start,
            chosen=chosen,
        )
        if started is not None:
            training.restore(*started)
        elif chosen is not None and parallel.leads():
            training.checkpoint()  # so that the choice survives a killed process
        try:
            training.run(progress, on_epoch)
        except DivergenceError as error:
            if chosen is not None:
                kept = f"of the training before the refit, the weights of epoch {chosen.epochs}"
            elif training.kept:
                model = _finish(training, prepared)
                if parallel.leads():
                    save_finetuned(out, model)
                kept = f"the weights of epoch {training.at.kept_epoch}"
            else:
                raise
            raise DivergenceError(f"{error}; {kept} are kept in {out / 'model'}") from error
        return training

    rows, data, best_test = prepared.rows, prepared.data, None
    with torch.random.fork_rng(devices=_cuda(prepared.backbone.device), device_type="cuda"):
        started = parallel.of_lead(checkpoints.read() if resume and parallel.leads() else None)
        chosen = None if started is None or "chosen" not in started[0] else Chosen.of(*(x["chosen"] for x in started))
        if chosen is None:
            training = trained(prepared.backbone, rows, started)
            model, at, best_test = _calibrated(_finish(training, prepared), data, rows), training.at, training.best_test
            answers = None if rows.val is None else model.probabilities(data, rows.val)
            chosen = Chosen(at.kept_epoch, training.share, at.best_epoch, model.head.temperature, at.history, answers)
            started = None
            if prepared.refit is not None:
                if parallel.leads():
                    save_finetuned(out, model)
                del training, model  # frees their memory
                load_again(prepared.backbone)
        if prepared.refit is not None:
            training = trained(prepared.backbone, prepared.refit, started, chosen)
            model = _finish(training, prepared)
            model = replace(model, head=replace(model.head, temperature=chosen.temperature))
    probabilities = {"test": model.probabilities(data, rows.test)}
    if chosen.probabilities is not None:
        probabilities["val"] = chosen.probabilities
    return FinetuneResult(
        model=model,
        rows={side: getattr(rows, side) for side in probabilities},
        probabilities=probabilities,
        history=chosen.history,
        kept_epoch=chosen.epochs,
        share=chosen.share,
        best_epoch=chosen.best_epoch,
        best_test=best_test,
    )


def _first_head(prepared: Prepared, backbone: Backbone, rows: LabelledRows, *, probe: bool) -> Head:
    """Return the head that training starts from.

    With `config.warm_start` and `probe`, it is first trained on the embeddings of the original encoders: linear probing
    keeps the first gradients of a random head from distorting the encoders (Kumar et al., Fine-Tuning can Distort
    Pretrained Features, ICLR 2022).
    """
    config = prepared.config
    if not (config.warm_start and probe):
        return Head(config.head, backbone.embed_dim, seed=prepared.seed)
    pairs = embed(backbone, prepared.data, rows.train)
    trained, _ = train_head(config.head, pairs, rows.labels[rows.train], seed=prepared.seed, device=backbone.device)
    return trained.head


def _finish(training: Training, prepared: Prepared) -> Finetuned:
    training.keep()
    backbone = training.classifier.backbone
    if training.config.lora is not None:
        merge_adapters(backbone.model)
    backbone.model.eval()
    return Finetuned(backbone, training.answer(), training.config, prepared.trained_on(training.rows))


def _calibrated(model: Finetuned, data: PairData, rows: LabelledRows) -> Finetuned:
    """Fit a temperature on the validation rows, if there are any; a regression has no temperature."""
    if rows.val is None or model.head.config.loss == "regression":
        return model
    outputs = model.head.outputs(embed(model.backbone, data, rows.val))
    return replace(model, head=model.head.calibrated(outputs, rows.labels[rows.val]))


def _cuda(device: str) -> list[int]:
    if not device.startswith("cuda"):
        return []
    index = torch.device(device).index
    return [torch.cuda.current_device() if index is None else index]
