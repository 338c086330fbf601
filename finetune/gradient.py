"""The gradient of one optimizer step, accumulated in parts that fit in memory."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from consistency.backbone.device import choose_precision
from consistency.errors import OutOfMemory, is_out_of_memory
from finetune import parallel
from finetune.classifier import Dropout, PairClassifier, draw_views, seen
from finetune.config import FinetuneConfig
from finetune.dataset import Ints, PairData, Step
from finetune.row_dropout import RowDropout
from finetune.state import Position
from heads.losses import row_losses


class Gradient:
    """Backpropagates the steps of a classifier under its autocast.

    Parameters
    ----------
    classifier : PairClassifier
        The classifier to train.
    data : PairData
        The pairs.
    labels : ndarray of int64, shape (n,)
        Classes from 0 to 4 of all rows of the table.
    config : FinetuneConfig
        The recipe.
    optimizer : torch.optim.Optimizer
        Holds the parameters whose gradients are accumulated.
    """

    def __init__(
        self,
        classifier: PairClassifier,
        data: PairData,
        labels: Ints,
        config: FinetuneConfig,
        optimizer: torch.optim.Optimizer,
    ) -> None:
        self.classifier, self.data, self.config, self.optimizer = classifier, data, config, optimizer
        self.device = torch.device(classifier.backbone.device)
        self.labels = torch.from_numpy(labels).to(self.device)
        self.autocast = autocast_dtype(config, classifier.backbone.device)
        self.learning = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.autocast == torch.float16)

    def accumulate(self, step: Step, numbers: Ints, images: npt.NDArray[Any], *, at: Position, seed: int) -> float:
        """Accumulate the gradient of a step in parts that fit in memory, and return the loss.

        Several processes take the parts of their own images each; then all have the gradient and the loss of the step.

        Parameters
        ----------
        step : Step
            The rows of the step and their weights.
        numbers : ndarray of int64, shape (k,)
            The distinct images that this process takes of the step, ascending.
        images : ndarray, shape (k, ...)
            These images as `Backbone.prepare` makes them.
        at : Position
            Progress of the training; its `micro_batch` is halved while memory is short.
        seed : int
            Random seed of dropout and of the random views of this step.

        Returns
        -------
        float
            The loss.

        Raises
        ------
        OutOfMemory
            If not even a single image fits, or `--micro-batch` fixes the parts.
        """
        every = np.unique(self.data.image_index[step.rows])
        own = step.of(self.data, numbers)
        while True:
            self.optimizer.zero_grad()
            torch.manual_seed(seed)
            views = draw_views(len(every), crop=self.config.crop, flip=self.config.flip)
            if views is not None:
                views = views[torch.from_numpy(np.isin(every, numbers))]
            short = False
            loss = torch.zeros((), device=self.device)
            try:
                for part in own.parts(self.data, at.micro_batch):
                    loss += self._backward(part, numbers, images, views, seed)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                short = True
            if not parallel.any_of(short):
                return float(parallel.sum_gradients(self.learning, loss))
            # Outside the handler: its error keeps the step's tensors alive.
            self._shrink(at, -(-len(every) // parallel.size()))

    def _backward(self, part: Step, numbers: Ints, images: npt.NDArray[Any], views: Tensor | None, seed: int) -> Tensor:
        """Backpropagate one part. `numbers`, `images` and `views` are those of all images of this process."""
        classifier, backbone = self.classifier.train(), self.classifier.backbone
        distinct, image_index = np.unique(self.data.image_index[part.rows], return_inverse=True)
        hashtags, hashtag_index = np.unique(self.data.hashtag_index[part.rows], return_inverse=True)
        shown = np.searchsorted(numbers, distinct)
        pixels = backbone.pixels(images[shown])
        if views is not None:
            pixels = seen(pixels, views[shown])
        if parallel.size() > 1:
            classifier.dropout = Dropout(
                RowDropout(seed, distinct), RowDropout(seed + 1, hashtags), RowDropout(seed + 2, part.rows)
            )
        with torch.autocast(self.device.type, self.autocast, enabled=self.autocast is not None):
            outputs = classifier(
                pixels,
                torch.from_numpy(image_index).to(self.device),
                *backbone.text_batch([self.data.tokens[number] for number in hashtags]),
                torch.from_numpy(hashtag_index).to(self.device),
            )
        losses = row_losses(self.config.head.loss, outputs.float(), self.labels[part.rows])
        loss = (losses * torch.from_numpy(part.weights).to(losses)).sum()
        self.scaler.scale(loss).backward()
        return loss.detach()

    def _shrink(self, at: Position, images: int) -> None:
        """Halve the number of images that are encoded at once."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        now = min(at.micro_batch or images, images)
        if now == 1 or self.config.micro_batch != "auto":
            smaller = f"--batch-size auto (the same batches in smaller parts) or --micro-batch {now // 2}, or "
            advice = f"try {smaller if now > 1 else ''}--gradient-checkpointing"
            raise OutOfMemory(f"{self.device} has too little memory for {now} images at once: {advice}")
        at.micro_batch = -(-now // 2)


def autocast_dtype(config: FinetuneConfig, device: str) -> torch.dtype | None:
    """Autocast dtype: None on a CPU, and for bf16 on a GPU that does not support it."""
    if config.autocast == "none" or not device.startswith("cuda"):
        return None
    if config.autocast == "fp16":
        return torch.float16
    return torch.bfloat16 if choose_precision("auto", device) == "bf16" else None
