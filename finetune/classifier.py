"""PairClassifier joins both encoders and a head; this module also chooses its trainable weights and their rates."""

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from consistency.backbone.embeddings import PairEmbeddings
from consistency.backbone.model import Backbone
from consistency.errors import InputError
from finetune import parallel
from finetune.config import FinetuneConfig
from finetune.dataset import Ints, PairData
from heads.model import Head, pair_features

ENCODE_BATCH = 64
RATE_TIMES_WIDTH, ADAPTERS_FASTER = 0.04, 10
# The attention's projections, as CLIP, ViT and BERT call them.
LORA_TARGETS = r".*\.layers?\.\d+\..*([qkvo]_proj|out_proj|query|key|value|attention\.output\.dense)"


class Dropout(NamedTuple):
    """Contexts in which the towers and the head draw the masks of their dropout; torch's own unless they say else."""

    images: AbstractContextManager[Any] = nullcontext()
    hashtags: AbstractContextManager[Any] = nullcontext()
    rows: AbstractContextManager[Any] = nullcontext()


class PairClassifier(nn.Module):
    """Both encoders and a head as one module, from pairs of distinct images and hashtags to the head's outputs."""

    def __init__(self, backbone: Backbone, head: Head, features: str) -> None:
        super().__init__()
        self.backbone = backbone
        self.model = backbone.model
        self.head = head.to(backbone.device)
        self.features = features
        self.dropout = Dropout()

    def train(self, mode: bool = True) -> "PairClassifier":
        """Set the training mode as in any module, but keep frozen towers in evaluation mode, without dropout."""
        super().train(mode)
        for part in self.model.children():
            part.train(mode and any(parameter.requires_grad for parameter in part.parameters()))
        return self

    def forward(
        self, pixels: Tensor, image_index: Tensor, input_ids: Tensor, attention_mask: Tensor, hashtag_index: Tensor
    ) -> Tensor:
        """(n, k) outputs of n pairs. image_index, hashtag_index: (n,) int64 rows of `pixels` and `input_ids`."""
        with self.dropout.images:
            images = self.backbone.image_embeds(pixels)
        with self.dropout.hashtags:
            hashtags = self.backbone.text_embeds(input_ids, attention_mask)
        with self.dropout.rows:
            return self.head(pair_features(self.features, images[image_index], hashtags[hashtag_index]))


@torch.inference_mode()
def embed(backbone: Backbone, data: PairData, rows: Ints) -> PairEmbeddings:
    """Embed rows, encoding each distinct image and hashtag once. Several processes divide the batches among them.

    Parameters
    ----------
    backbone : Backbone
        Encoders, which are set to evaluation mode.
    data : PairData
        Decoded images and tokenized hashtags.
    rows : ndarray of int64, shape (m,)
        Usable rows.

    Returns
    -------
    PairEmbeddings
        Float32 embeddings of the m pairs.
    """
    backbone.model.eval()
    distinct, image_index = np.unique(data.image_index[rows], return_inverse=True)
    hashtags, hashtag_index = np.unique(data.hashtag_index[rows], return_inverse=True)
    images, texts = (np.zeros((len(each), backbone.embed_dim), dtype=np.float32) for each in (distinct, hashtags))
    for part in _batches(np.arange(len(distinct))):
        images[part] = backbone.encode_images(data.images.batch(distinct[part]))
    for part in _batches(np.argsort([len(data.tokens[number]) for number in hashtags], kind="stable")):
        batch = backbone.text_batch([data.tokens[number] for number in hashtags[part]])
        texts[part] = backbone.text_embeds(*batch).cpu().numpy()
    return PairEmbeddings(parallel.gather_rows(images), parallel.gather_rows(texts), image_index, hashtag_index)


def _batches(order: Ints) -> list[Ints]:
    """The batches that this process encodes of all, which are cut as for one process so that none changes."""
    starts = range(parallel.rank() * ENCODE_BATCH, len(order), parallel.size() * ENCODE_BATCH)
    return [order[start : start + ENCODE_BATCH] for start in starts]


def draw_views(n: int, *, crop: float, flip: bool) -> Tensor | None:
    """Affine maps (n, 2, 3) onto random crops of at least `crop` of an image's area; with `flip` half are mirrored.

    None where all images stay as they are.
    """
    if crop == 1 and not flip:
        return None
    side = torch.empty(n).uniform_(crop, 1).sqrt()
    shift = (torch.rand(n, 2) * 2 - 1) * (1 - side)[:, None]
    mirror = 1 - 2 * (torch.rand(n) < 0.5 * flip).float()
    views = torch.zeros(n, 2, 3)
    views[:, 0, 0], views[:, 1, 1], views[:, :, 2] = side * mirror, side, shift
    return views


def seen(pixels: Tensor, views: Tensor) -> Tensor:
    """Resample images (n, 3, h, w) through the affine maps in `views` (n, 2, 3), at the same size."""
    grid = F.affine_grid(views.to(pixels.device), list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)


class Place(NamedTuple):
    """Position of a weight in the model. `tower` is "image", "text" or ""; `below` counts the layers above it."""

    tower: str
    depth: int  # 0 before the first layer, k in the k-th, layers + 1 after the last
    below: int


def place(model: Any, name: str) -> Place:
    tower = next((t for t, prefix in (("image", "vi"), ("text", "text_")) if name.startswith(prefix)), "")
    if not tower:
        return Place("", 1, 0)  # the scale of the contrastive loss: no gradient reaches it
    config = model.config.vision_config if tower == "image" else model.config.text_config
    top = config.num_hidden_layers + 1
    if layer := re.search(r"\blayers?\.(\d+)\.", name):
        depth = int(layer[1]) + 1
    else:
        depth = 0 if re.search("embeddings|pre_layrnorm", name) else top
    return Place(tower, depth, top - depth)


def checkpointed(model: Any) -> list[Any]:
    """The model, or those of its towers, that can compute their layers again instead of keeping what they return."""
    if model.supports_gradient_checkpointing:
        return [model]
    return [part for part in model.children() if getattr(part, "supports_gradient_checkpointing", False)]


def check_choice(model: Any, config: FinetuneConfig) -> None:
    """Check that the model supports the configured freezing and adapters.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        Model with an image and a text tower.
    config : FinetuneConfig
        Its `freeze`, `lora` and `gradient_checkpointing` are checked.

    Raises
    ------
    InputError
        If the model has too few layers to freeze, no attention to adapt, no tower that can compute its layers again, or
        peft is not installed.
    """
    if config.gradient_checkpointing and not checkpointed(model):
        raise InputError(f"{type(model).__name__} has no tower for --gradient-checkpointing: leave it out")
    deepest = max(place(model, name).depth for name, _ in model.named_parameters())
    if isinstance(config.freeze, int) and config.freeze >= deepest:
        raise InputError(
            f"freeze is {config.freeze}, but the towers have up to {deepest - 1} layers: ask for at most {deepest - 1}"
        )
    if config.lora is not None:
        try:
            import peft  # noqa: F401
        except ImportError as error:
            raise InputError(
                "lora needs the package peft, which is not here: pip install 'koclip-consistency[lora]'"
            ) from error
        adapted = {place(model, name).tower for name, _ in model.named_modules() if re.fullmatch(LORA_TARGETS, name)}
        for tower in ("image", "text"):
            if tower not in adapted:
                raise InputError(
                    f"lora finds no attention in the {tower} tower that it knows (q_proj or query, ...): "
                    "fine-tune this model without lora"
                )


def choose_weights(classifier: PairClassifier, config: FinetuneConfig) -> dict[str, nn.Parameter]:
    """Freeze weights and add adapters as configured; return the trainable parameters by name."""
    model = classifier.model
    if config.lora is not None:
        add_adapters(model, config.lora)
    for name, parameter in model.named_parameters():
        at = place(model, name)
        if config.lora is not None:
            learns = "lora_" in name
        elif isinstance(config.freeze, int):
            learns = config.freeze == 0 or at.depth > config.freeze or at.below == 0
        else:
            learns = at.tower != config.freeze
        parameter.requires_grad_(learns and at.tower != "")
    return {name: parameter for name, parameter in classifier.named_parameters() if parameter.requires_grad}


def top_rate(model: Any, config: FinetuneConfig, tower: str) -> float:
    """Learning rate of a tower's last layer.

    Without `config.lr` it is inversely proportional to the width, as in muP (Yang et al., arXiv:2203.03466).
    """
    if config.lr is not None:
        return config.lr
    width = (model.config.vision_config if tower == "image" else model.config.text_config).hidden_size
    return RATE_TIMES_WIDTH / width * (ADAPTERS_FASTER if config.lora is not None else 1)


def parameter_groups(
    classifier: PairClassifier, learning: dict[str, nn.Parameter], config: FinetuneConfig
) -> list[dict[str, Any]]:
    """Optimizer groups of the trainable parameters, by `rate` (before the schedule) and weight decay."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in learning.items():
        if name.startswith("head."):
            rate = config.head_lr
        else:
            at = place(classifier.model, name.removeprefix("model."))
            rate = top_rate(classifier.model, config, at.tower) * config.layer_decay**at.below
        spared = config.decay == "matrices" and (parameter.ndim < 2 or "position_embedding" in name)
        groups.setdefault((rate, 0.0 if spared else config.weight_decay), []).append(parameter)
    return [
        {"params": members, "rate": rate, "lr": rate, "weight_decay": decay}
        for (rate, decay), members in groups.items()
    ]


@contextmanager
def holding(learning: dict[str, nn.Parameter], values: dict[str, Tensor] | None) -> Iterator[None]:
    """Swap `values` into the classifier for the duration of the block, without copying. None changes nothing."""

    def exchange() -> None:
        for name in values or ():
            parameter = learning[name]
            parameter.data, values[name] = values[name], parameter.data  # type: ignore[index]

    exchange()
    try:
        yield
    finally:
        exchange()


def add_adapters(model: nn.Module, rank: int) -> None:
    """Add low-rank adapters to the attention projections in place (LoRA, Hu et al., arXiv:2106.09685)."""
    from peft import LoraConfig, inject_adapter_in_model

    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=LORA_TARGETS), model)


def merge_adapters(model: nn.Module) -> None:
    """Merge the adapters into the weights that they adapt, and remove them."""
    from peft.tuners.lora import LoraLayer

    for name, module in list(model.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge()
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, module.get_base_layer())
    del model.peft_config  # otherwise peft finds the model already adapted in a refit
