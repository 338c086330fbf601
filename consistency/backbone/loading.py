"""Loads the parts of a resolved model with transformers: without output, from its files only, and never its code."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from transformers import MODEL_MAPPING, AutoConfig, AutoImageProcessor, AutoTokenizer
from transformers.utils import logging as transformers_logging

from consistency.backbone.model_folder import lowers_text
from consistency.backbone.quiet import quiet
from consistency.backbone.resolve import ResolvedBackbone
from consistency.backbone.state_dict import read_state_dict
from consistency.errors import BackboneError, is_out_of_memory, one_line

T = TypeVar("T")


def load_model(resolved: ResolvedBackbone, dtype: torch.dtype) -> Any:
    """Load the transformers model onto the CPU, in evaluation mode.

    Parameters
    ----------
    resolved : ResolvedBackbone
        The files to load.
    dtype : torch.dtype
        Type of the weights.

    Returns
    -------
    PreTrainedModel

    Raises
    ------
    BackboneError
        If the weights cannot be read, do not match the configuration, or are not finite.
    """
    config = _load(resolved, "configuration", AutoConfig.from_pretrained)
    model_class: Any = MODEL_MAPPING[type(config)]
    state: dict[str, torch.Tensor] = {}
    with _quiet():
        for path in resolved.weights:
            state |= read_state_dict(path)
        try:
            # The weights are passed in, so that transformers loads exactly the files that were resolved and hashed.
            model, report = model_class.from_pretrained(
                None, config=config, state_dict=state, dtype=dtype, output_loading_info=True
            )
        except (RuntimeError, ValueError, TypeError, AttributeError, KeyError, ImportError) as error:
            if is_out_of_memory(error):  # not the fault of the files
                raise
            raise BackboneError(
                f"the weights of {resolved.folder} do not match their config.json: {one_line(error)[:200]}"
            ) from error
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if report[problem]:
            some = ", ".join(sorted(map(str, report[problem]))[:3])
            raise BackboneError(
                f"{resolved.weights[0]} has {len(report[problem])} {problem.replace('_', ' ')} ({some}); "
                f"expected the weights of a whole {config.model_type} dual encoder"
            )
    check_finite(model, resolved.weights[0])
    return model.eval()


def check_finite(model: torch.nn.Module, path: Path) -> None:
    """Raise BackboneError if a weight of the model, loaded from `path`, is not finite."""
    for name, tensor in model.state_dict().items():
        if not tensor.isfinite().all():
            raise BackboneError(f"{path}: {name} contains NaN or infinity; download the model again")


def load_tokenizer(resolved: ResolvedBackbone) -> Any:
    """Load the tokenizer, which lower-cases text if the model was trained so."""
    return _load(resolved, "tokenizer", _siglip2 if lowers_text(resolved.folder) else AutoTokenizer.from_pretrained)


def _siglip2(*arguments: Any, **options: Any) -> Any:
    from transformers import Siglip2Tokenizer  # the first releases of transformers 5 lack it

    return Siglip2Tokenizer.from_pretrained(*arguments, **options)


def load_image_processor(resolved: ResolvedBackbone) -> Any:
    """Load transformers' image processor, always with Pillow: embeddings must not depend on torchvision."""
    return _load(resolved, "image processor", AutoImageProcessor.from_pretrained, backend="pil")


def _load(resolved: ResolvedBackbone, part: str, load: Callable[..., T], **options: Any) -> T:
    with _quiet():
        try:
            return load(resolved.folder, trust_remote_code=False, local_files_only=True, **options)
        except ImportError as error:
            said = one_line(error)
            extra = any(name in said.lower() for name in ("sentencepiece", "protobuf"))
            cure = "pip install 'koclip-consistency[siglip]'" if extra else said[:200]
            raise BackboneError(
                f"the {part} of {resolved.folder} needs a package that is not installed: {cure}"
            ) from error
        except Exception as error:  # transformers raises many kinds of errors for unreadable files
            if is_out_of_memory(error):
                raise
            raise BackboneError(
                f"the {part} of {resolved.folder} cannot be loaded: {one_line(error)[:200]}; download the model again"
            ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        with quiet("transformers"):
            yield
    finally:
        if bars:
            transformers_logging.enable_progress_bar()
