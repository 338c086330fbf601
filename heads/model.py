"""Heads, from the features of a pair to five classes: the network, how a trained head decides, how it is stored."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save as save_tensors
from scipy.optimize import minimize_scalar
from torch import Tensor, nn

from consistency.backbone.embeddings import PairEmbeddings
from consistency.durable import make_folder, write_file, write_with_digest
from consistency.errors import InputError
from consistency.scale import DISTANCE, SCORES, Floats, Ints
from heads.config import PARTS, POST, feature_dim, part_width
from heads.config import HeadConfig as HeadConfig
from heads.losses import OUTPUTS, log_probabilities, output_bias
from heads.post import CONTEXT
from heads.thresholds import apply_thresholds

FORMAT = 1


def pair_features(kind: str, images: Tensor, hashtags: Tensor, context: Tensor | None = None) -> Tensor:
    """Compute the features of pairs.

    Parameters
    ----------
    kind : str
        One of `heads.config.PARTS`.
    images, hashtags : (n, embed_dim) float
        Embeddings; row i of both is pair i.
    context : (n, len(POST)) float, optional
        The part "post" of each pair: see `post_context`. Kinds without that part do not need it.

    Returns
    -------
    (n, feature_dim) float
        Features.
    """
    return torch.cat([_part(part, images, hashtags, context) for part in PARTS[kind]], dim=1)


def post_context(pairs: PairEmbeddings) -> Floats:
    """Return the part "post" of pairs, (n, len(POST)) float64.

    Raises
    ------
    InputError
        If the pairs have no context.
    """
    if pairs.context is None:
        raise InputError("this head reads the whole post: give it pairs with the context of their posts")
    return pairs.context[:, [CONTEXT.index(column) for column in POST]]


def _part(part: str, images: Tensor, hashtags: Tensor, context: Tensor | None) -> Tensor:
    if part == "post":
        assert context is not None
        return context
    if part == "image":
        return images
    if part == "text":
        return hashtags
    if part == "difference":
        return (images - hashtags).abs()
    product = images * hashtags
    return product.sum(dim=1, keepdim=True) if part == "cosine" else product


class Output(nn.Module):
    """The last layer. The loss determines the shapes of weight and bias: see `heads.losses.OUTPUTS`."""

    def __init__(self, loss: str, width: int) -> None:
        super().__init__()
        self.loss = loss
        rows, biases = OUTPUTS[loss]
        self.weight = nn.Parameter(torch.empty(rows, width))
        self.bias = nn.Parameter(torch.empty(biases))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.T + output_bias(self.loss, self.bias)


class Head(nn.Sequential):
    """[Linear, ReLU, Dropout] for each hidden layer, then the output. One hidden layer is the published `classifier`.

    Parameters
    ----------
    config : HeadConfig
        The features, widths, dropout and loss.
    embed_dim : int
        Width of the embeddings.
    seed : int or None, default 0
        Weights and biases are drawn uniformly within 1 / sqrt(fan in), torch's default for linear layers. With None
        they are not initialised, so that they can be loaded.
    """

    def __init__(self, config: HeadConfig, embed_dim: int, *, seed: int | None = 0) -> None:
        width, layers = feature_dim(config.features, embed_dim), list[nn.Module]()
        for hidden in config.hidden:
            layers += [nn.utils.skip_init(nn.Linear, width, hidden), nn.ReLU(), nn.Dropout(config.dropout)]
            width = hidden
        super().__init__(*layers, Output(config.loss, width))
        self.features = config.features
        if seed is None:
            return
        rng = np.random.default_rng([seed, 0])
        with torch.no_grad():
            for layer in self.affine():
                bound = layer.weight.shape[1] ** -0.5
                for parameter in (layer.weight, layer.bias):
                    parameter.copy_(torch.from_numpy(rng.uniform(-bound, bound, tuple(parameter.shape))))

    @classmethod
    def of(cls, config: HeadConfig, embed_dim: int, parameters: Sequence[Tensor]) -> "Head":
        """Build a head for inference on a CPU from weights and biases in the order of the layers."""
        head = cls(config, embed_dim, seed=None)
        for own, given in zip(head.parameters(), parameters, strict=True):
            own.data = given.detach().cpu().clone(memory_format=torch.contiguous_format)
        return head.eval()

    def affine(self) -> list[Any]:
        """The layers that have weights, in order."""
        return [layer for layer in self if isinstance(layer, nn.Linear | Output)]

    def of_pairs(self, images: Tensor, hashtags: Tensor) -> Callable[..., Tensor]:
        """Prepare to answer pairs of rows of two tables.

        W[x; y] = Wa x + Wb y, so each image and hashtag passes the first layer once; only products and differences
        are multiplied for each pair.

        Parameters
        ----------
        images : (n_images, embed_dim) float
            Embeddings of images.
        hashtags : (n_hashtags, embed_dim) float
            Embeddings of hashtags.

        Returns
        -------
        callable
            From indices into the two tables, (n,) int64 each, and the part "post" of the pairs, to outputs (n, k).
        """
        first, *others = list[Any](self)
        tables, pairwise, weights, start = [], [], [], 0
        for part in PARTS[self.features]:
            width = part_width(part, images.shape[1])
            weight = first.weight[:, start : start + width]
            start += width
            if part in ("image", "text"):
                tables.append((part == "image", (images if part == "image" else hashtags) @ weight.T))
            else:
                pairwise.append(part)
                weights.append(weight)

        def answer(i: Tensor, j: Tensor, context: Tensor | None = None) -> Tensor:
            x = output_bias(first.loss, first.bias) if isinstance(first, Output) else first.bias
            for of_image, table in tables:
                x = x + table[i if of_image else j]
            if pairwise:
                features = torch.cat([_part(part, images[i], hashtags[j], context) for part in pairwise], dim=1)
                x = x + features @ torch.cat(weights, dim=1).T
            for layer in others:
                x = layer(x)
            return x

        return answer


@dataclass(frozen=True, eq=False)
class Decision:
    """What a head says about n pairs.

    Attributes
    ----------
    predicted : (n,) int64
        Classes, 0 to 4.
    values : (n,) float64
        Expected scores, from 1 to 5.
    probabilities : (n, 5) float64
        Probabilities of the classes.
    """

    predicted: Ints
    values: Floats
    probabilities: Floats

    @classmethod
    def of(cls, probabilities: Floats, *, power: float = 0.0, thresholds: Sequence[float] | None = None) -> "Decision":
        """Decide on classes from probabilities.

        Parameters
        ----------
        probabilities : (n, 5) float64
            Probabilities of the classes.
        power : float, default 0
            Decide on the class with the least expected |error| ** power: 0 gives the most probable class, 1 the
            median, 2 the class nearest to the mean.
        thresholds : four ascending floats, optional
            Cut the expected scores at these thresholds instead.

        Returns
        -------
        Decision
            The classes, with expected scores and probabilities.
        """
        values = probabilities @ SCORES
        if thresholds is not None:
            return cls(apply_thresholds(values, thresholds), values, probabilities)
        costs = np.where(DISTANCE > 0, DISTANCE.astype(np.float64) ** power, 0)
        return cls((probabilities @ costs).argmin(axis=1), values, probabilities)


@dataclass(frozen=True, eq=False)
class TrainedHead:
    """A trained head and its decision rule.

    Attributes
    ----------
    config : HeadConfig
        Its configuration.
    head : Head
        The network.
    embed_dim : int
        Width of the embeddings that it reads.
    seed : int
        Random seed of its training.
    power, thresholds
        How probabilities become classes: see `Decision.of`.
    temperature : float
        The outputs are divided by it before they become probabilities.
    fingerprint : str or None
        Fingerprint of the embeddings that it was trained on.
    """

    config: HeadConfig
    head: Head
    embed_dim: int
    seed: int
    power: float = 0.0
    thresholds: tuple[float, ...] | None = None
    temperature: float = 1.0
    fingerprint: str | None = None

    def outputs(self, embeddings: PairEmbeddings) -> Tensor:
        """Compute the outputs of the last layer, before the temperature.

        Returns
        -------
        (n, k) float64
            Outputs as described in `heads.losses`.

        Raises
        ------
        InputError
            If the embeddings have another width than those of the training, or lack the context that it reads.
        """
        embeddings.check_dim(self.embed_dim)
        images, hashtags = torch.from_numpy(embeddings.images), torch.from_numpy(embeddings.hashtags)
        of_pairs: tuple[Tensor, ...] = (
            torch.from_numpy(embeddings.image_index),
            torch.from_numpy(embeddings.hashtag_index),
        )
        context = post_context(embeddings) if self.config.reads_post else None
        if context is not None:
            of_pairs += (torch.from_numpy(context).to(images.dtype),)
        with torch.inference_mode():
            answer = self.head.of_pairs(images, hashtags)
            parts = [answer(*part).double() for part in zip(*(values.split(8192) for values in of_pairs), strict=True)]
        return torch.cat(parts)

    def decide(self, outputs: Tensor) -> Decision:
        """Turn outputs, (n, k), into probabilities and classes."""
        probabilities = log_probabilities(self.config.loss, outputs / self.temperature).exp().numpy()
        return Decision.of(probabilities, power=self.power, thresholds=self.thresholds)

    def calibrated(self, outputs: Tensor, labels: Ints) -> "TrainedHead":
        """Return this head with the temperature that minimises the log loss.

        Parameters
        ----------
        outputs : (n, k) float64
            Outputs for rows that the head was not trained on.
        labels : (n,) int64
            Classes of those rows, 0 to 4.

        References
        ----------
        Guo, Pleiss, Sun & Weinberger, On Calibration of Modern Neural Networks, ICML 2017.
        """
        rows = torch.from_numpy(labels)[:, None]

        def log_loss(log_temperature: float) -> float:
            chances = log_probabilities(self.config.loss, outputs / np.exp(log_temperature))
            return -float(chances.gather(1, rows).mean())

        best = minimize_scalar(log_loss, bounds=(-3, 3), method="bounded", options={"xatol": 1e-4})
        return replace(self, temperature=float(np.exp(best.x)))

    def predict(self, embeddings: PairEmbeddings) -> Decision:
        """Decide on the classes of pairs."""
        return self.decide(self.outputs(embeddings))

    def predict_proba(self, embeddings: PairEmbeddings) -> Floats:
        """Probabilities of the five classes, (n, 5) float64."""
        return self.predict(embeddings).probabilities

    def save(self, folder: Path) -> None:
        """Write head.safetensors with its digest, then head.json, without which the head counts as unfinished."""
        tensors = {name: value.contiguous() for name, value in self.head.state_dict().items()}
        description = {
            "format": FORMAT,
            "config": self.config.as_dict(),
            "embed_dim": self.embed_dim,
            "seed": self.seed,
            "power": self.power,
            "thresholds": None if self.thresholds is None else list(self.thresholds),
            "temperature": self.temperature,
            "fingerprint": self.fingerprint,
        }
        write_with_digest(folder / "head.safetensors", save_tensors(tensors))
        write_file(folder / "head.json", (json.dumps(description, indent=2) + "\n").encode())


@dataclass(frozen=True, eq=False)
class HeadEnsemble:
    """Heads whose mean probabilities decide.

    Attributes
    ----------
    members : tuple of TrainedHead
        The heads, the best one first.
    power : float
        How mean probabilities become classes: see `Decision.of`.
    """

    members: tuple[TrainedHead, ...]
    power: float = 0.0

    @property
    def config(self) -> HeadConfig:
        """Configuration of the first member, the best one."""
        return self.members[0].config

    def predict(self, embeddings: PairEmbeddings) -> Decision:
        """Decide on the classes of pairs."""
        together = np.mean([member.predict_proba(embeddings) for member in self.members], axis=0)
        return Decision.of(together, power=self.power)

    def predict_proba(self, embeddings: PairEmbeddings) -> Floats:
        """Probabilities of the five classes, (n, 5) float64."""
        return self.predict(embeddings).probabilities

    def save(self, folder: Path) -> None:
        """Write each member into its own folder, then head.json, which names them."""
        names = [f"head-{number}" for number in range(1, len(self.members) + 1)]
        for name, member in zip(names, self.members, strict=True):
            make_folder(folder / name)
            member.save(folder / name)
        description = {"format": FORMAT, "members": names, "power": self.power}
        write_file(folder / "head.json", (json.dumps(description, indent=2) + "\n").encode())
