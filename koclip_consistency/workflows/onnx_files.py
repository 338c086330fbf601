"""ONNX files of an exported system: image tower, text tower and head, each checked with onnxruntime."""

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.numpy import load as load_arrays
from torch import Tensor, nn

from consistency.backbone.quiet import quiet
from consistency.durable import make_folder, write_file
from consistency.errors import InputError, RunError, one_line
from consistency.options import ImageLimits
from consistency.scale import SCORES
from heads.load import AnyHead
from heads.losses import log_probabilities
from heads.model import HeadEnsemble, TrainedHead, pair_features
from heads.similarity import SimilarityModel
from koclip_consistency.scoring.encoder import WarmEncoder
from koclip_consistency.scoring.exported import REFERENCE
from koclip_consistency.scoring.images import read_image

if TYPE_CHECKING:
    from consistency.backbone.model import Backbone

FOLDER, TOLERANCE = "onnx", 1e-4  # largest difference of two numbers, of vectors or of probabilities
PACKAGES = ("onnx", "onnxscript", "onnxruntime")
PAIRS = 256  # random pairs on which a head is checked

Arrays = Mapping[str, npt.NDArray[Any]]
Decider = AnyHead | SimilarityModel


class _Tower(nn.Module):
    """A tower with its normalisation."""

    def __init__(self, backbone: "Backbone", kind: str) -> None:
        super().__init__()
        self.model, self.backbone, self.kind = backbone.model, backbone, kind

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.backbone.image_embeds(*inputs) if self.kind == "image" else self.backbone.text_embeds(*inputs)


class _Head(nn.Module):
    """Mean probabilities of one or several heads, (n, 5), and the expected score, (n,)."""

    scores: Tensor

    def __init__(self, members: Sequence[TrainedHead]) -> None:
        super().__init__()
        self.heads = nn.ModuleList([member.head for member in members])
        self.members = members
        self.register_buffer("scores", torch.tensor(SCORES, dtype=torch.float32))

    def forward(self, image: Tensor, hashtag: Tensor) -> tuple[Tensor, Tensor]:
        chances = []
        for member, head in zip(self.members, self.heads, strict=True):
            outputs = head(pair_features(member.config.features, image, hashtag)) / member.temperature
            chances.append(log_probabilities(member.config.loss, outputs).exp())
        mean = torch.stack(chances).mean(dim=0)
        return mean, mean @ self.scores


class _Cut(nn.Module):
    """The cosine, (n,), and the score that it is cut into, (n,)."""

    thresholds: Tensor

    def __init__(self, model: SimilarityModel) -> None:
        super().__init__()
        self.register_buffer("thresholds", torch.tensor(model.thresholds, dtype=torch.float32))

    def forward(self, image: Tensor, hashtag: Tensor) -> tuple[Tensor, Tensor]:
        cosine = (image * hashtag).sum(dim=1)
        return cosine, (cosine[:, None] >= self.thresholds).sum(dim=1) + 1


def check_onnx(head: Decider, library: str) -> None:
    """Check that a system can be written as ONNX, before any work.

    Raises
    ------
    InputError
        If a package is missing, or the head or the library of the backbone is none that can be exported.
    """
    for package in PACKAGES:
        if find_spec(package) is None:
            raise InputError(f"{package} is not installed: pip install 'koclip-consistency[onnx]'")
    if library != "transformers":
        raise InputError(f"models of {library} cannot be written as ONNX: export without --onnx")
    known = isinstance(head, TrainedHead | HeadEnsemble | SimilarityModel)
    if not known or (not isinstance(head, SimilarityModel) and any(m.config.reads_post for m in _members(head))):
        raise InputError("a head that reads the whole post cannot be written as ONNX: export without --onnx")


def write_onnx(folder: Path, backbone: "Backbone", head: Decider) -> str:
    """Write onnx/image.onnx, onnx/text.onnx, onnx/head.onnx and onnx/README.md into an exported folder.

    Parameters
    ----------
    folder : Path
        The folder, with its reference.
    backbone : Backbone
        Its backbone in fp32 on the CPU, not rewritten to be faster.
    head : TrainedHead, HeadEnsemble or SimilarityModel
        What makes scores of vectors.

    Returns
    -------
    str
        What was measured, for the card.

    Raises
    ------
    InputError
        If a tower cannot be exported.
    RunError
        If a file gives other numbers than the original.
    """
    out = folder / FOLDER
    make_folder(out)
    images, texts = _reference(folder, backbone)
    largest = write_tower(out / "image.onnx", backbone, "image", images)
    largest = max(largest, write_tower(out / "text.onnx", backbone, "text", texts))
    of_head = write_head(out / "head.onnx", head, backbone.embed_dim)
    write_file(out / "README.md", _readme(backbone, head).encode())
    return (
        f"checked with onnxruntime, embeddings differ from the original by at most {largest:.1g} and answers by at "
        f"most {of_head:.1g} (allowed: {TOLERANCE:g})"
    )


def write_tower(path: Path, backbone: "Backbone", kind: str, samples: Sequence[tuple[Tensor, ...]]) -> float:
    """Write a tower, and return the largest difference of its vectors of `samples` to those of the original."""
    names = ["pixel_values"] if kind == "image" else ["input_ids", "attention_mask"]
    batch = torch.export.Dim("batch")
    axes: dict[int, Any] = {0: batch}
    if kind == "text" and samples[0][0].shape != samples[-1][0].shape:  # otherwise padded to one length
        axes[1] = torch.export.Dim("length", min=2)
    example = tuple(torch.cat([part, part]) for part in samples[0])
    _export(_Tower(backbone, kind).eval(), example, names, [f"{kind}_vector"], (tuple(axes for _ in names),), path)
    wanted = []
    with torch.inference_mode():
        for sample in samples:
            found = backbone.image_embeds(*sample) if kind == "image" else backbone.text_embeds(*sample)
            wanted.append({f"{kind}_vector": found.numpy()})
    asked = [dict(zip(names, (part.numpy() for part in sample), strict=True)) for sample in samples]
    return _compare(path, asked, wanted)


def write_head(path: Path, head: Decider, dim: int) -> float:
    """Write a head or thresholds, and return the largest difference of its answers to those of the original."""
    from consistency.backbone.embeddings import PairEmbeddings

    vectors = np.random.default_rng(0).normal(size=(2, PAIRS, dim)).astype(np.float32)
    vectors[1, ::2] += vectors[0, ::2]  # some alike
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    own = np.arange(PAIRS)
    pairs = PairEmbeddings(vectors[0], vectors[1], own, own)
    wanted: Arrays
    if isinstance(head, SimilarityModel):
        module: nn.Module = _Cut(head)
        wanted = {"cosine": pairs.cosine(), "score": head.predict(pairs.cosine()) + 1}
        near = np.abs(pairs.cosine()[:, None] - np.array(head.thresholds)).min(axis=1) < TOLERANCE
        wanted["score"][near] = -1  # rounding decides
    else:
        assert isinstance(head, TrainedHead | HeadEnsemble)
        module = _Head(_members(head))
        probabilities = head.predict_proba(pairs)
        wanted = {"probabilities": probabilities, "expected_score": probabilities @ SCORES}
    axes = {0: torch.export.Dim("batch")}
    example = tuple(torch.from_numpy(part[:2]) for part in vectors)
    _export(module.eval(), example, ["image_vector", "hashtag_vector"], list(wanted), (axes, axes), path)
    return _compare(path, [{"image_vector": vectors[0], "hashtag_vector": vectors[1]}], [wanted])


def _members(head: AnyHead) -> tuple[TrainedHead, ...]:
    if isinstance(head, HeadEnsemble):
        return head.members
    return (head,) if isinstance(head, TrainedHead) else ()


def _export(
    module: nn.Module, example: tuple[Tensor, ...], inputs: list[str], outputs: list[str], axes: Any, path: Path
) -> None:
    with _silent():
        try:
            program = torch.onnx.export(
                module,
                example,
                dynamo=True,
                input_names=inputs,
                output_names=outputs,
                dynamic_shapes=axes,
                verbose=False,
            )
            assert program is not None
            program.save(path)
        except Exception as error:  # the exporter raises many kinds of errors for what it does not know
            raise InputError(
                f"{path.stem} cannot be written as ONNX ({one_line(error)[:160]}): export without --onnx"
            ) from error


def _compare(path: Path, asked: Sequence[Arrays], wanted: Sequence[Arrays]) -> float:
    """The largest difference of what a file answers to what is wanted; cells of -1 are not compared."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    largest = 0.0
    for inputs, expected in zip(asked, wanted, strict=True):
        for name, found in zip(expected, session.run(list(expected), dict(inputs)), strict=True):
            gaps = np.where(expected[name] == -1, 0, np.abs(found - expected[name]))
            largest = max(largest, float(np.nan_to_num(gaps, nan=np.inf).max()))
    if largest > TOLERANCE:
        raise RunError(
            f"{path.name} differs from the original by {largest:.2g}, more than {TOLERANCE:g}: export without --onnx"
        )
    return largest


def _reference(folder: Path, backbone: "Backbone") -> tuple[list[tuple[Tensor, ...]], list[tuple[Tensor, ...]]]:
    """The inputs of the towers for the images and texts of the reference."""
    arrays = load_arrays((folder / REFERENCE).read_bytes())
    encoder = WarmEncoder(lambda: backbone)
    images, texts = list[tuple[Tensor, ...]](), list[tuple[Tensor, ...]]()
    for name in sorted(arrays):
        if name.startswith("image-"):
            pixels = encoder.pixels(read_image(arrays[name].tobytes()), ImageLimits())
            images.append((backbone.pixels(pixels[None]),))
        elif name.startswith("text-"):
            texts.append(backbone.text_batch(backbone.token_ids([arrays[name].tobytes().decode()])))
    return images, sorted(texts, key=lambda batch: batch[0].shape[1])


def _readme(backbone: "Backbone", head: Decider) -> str:
    if isinstance(head, SimilarityModel):
        answers, decides = "`cosine` (n,) and `score` (n,), 1 to 5", "The score is `score`."
    else:
        answers = "`probabilities` (n, 5) of the scores 1 to 5, and `expected_score` (n,)"
        decides = _decides(head)
    return f"""# ONNX files

| file | inputs | outputs |
| --- | --- | --- |
| `image.onnx` | `pixel_values`, float32, as `../preprocessor_config.json` describes it | `image_vector` (n, {backbone.embed_dim}) of unit norm |
| `text.onnx` | `input_ids` and `attention_mask`, int64 (m, length), from `../tokenizer.json`, at most {backbone.text_length} | `text_vector` (m, {backbone.embed_dim}) of unit norm |
| `head.onnx` | `image_vector` and `hashtag_vector` (n, {backbone.embed_dim}), row i of both is pair i | {answers} |

`hashtag_vector` is the `text_vector` of a hashtag; if `encoding` in `../export.json` has templates, the normalised mean
of the vectors of their texts. {decides}
"""  # noqa: E501


def _decides(head: Decider) -> str:
    thresholds = head.thresholds if isinstance(head, TrainedHead) else None
    if thresholds is not None:
        cuts = ", ".join(f"{cut:.6g}" for cut in thresholds)
        return f"The score is 1 plus the number of these thresholds that `expected_score` reaches: {cuts}."
    power = getattr(head, "power", 0.0)
    if power == 0:
        return "The score is the most probable one."
    return f"The score is the one with the least expected |error| to the power {power:g}, under `probabilities`."


@contextmanager
def _silent() -> Iterator[None]:
    """Keep the exporter's progress and its remarks about packages that it does not need off the screen."""
    nowhere = io.StringIO()
    with quiet("torch.onnx"), quiet("onnxscript"), quiet("onnx_ir"), redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield
