"""The other libraries that encode images and hashtags, and how each is called."""

import multiprocessing
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

if find_spec("torchvision"):  # it may be one for CUDA, which must be known before anything imports it
    import_module("tests.builders.cpu_torchvision")

LIBRARIES = {  # by name, the module
    "sentence-transformers": "sentence_transformers",
    "open_clip": "open_clip",
    "clip-retrieval": "clip_retrieval",
}
Encoders = tuple[Callable[..., Any], Callable[..., Any]]  # of a list of paths of images, and of a list of hashtags


def encoders(folder: Path, architecture: str) -> dict[str, Encoders]:
    """By name, the libraries that are installed.

    sentence-transformers reads the model in `folder`; the others have random weights of `architecture`, as open_clip
    calls it.
    """
    import torch
    from PIL import Image

    found: dict[str, Encoders] = {}
    for name, module in LIBRARIES.items():
        if find_spec(module) is None:
            print(f"{name} is not installed and left out")
    if find_spec("sentence_transformers"):
        from sentence_transformers import SentenceTransformer

        sentences = SentenceTransformer(str(folder), device="cpu")

        def encode(items: Sequence[Any]) -> Any:
            return sentences.encode(items, batch_size=32, normalize_embeddings=True, show_progress_bar=False)

        found["sentence-transformers"] = (lambda paths: encode([Image.open(path) for path in paths]), encode)
    if find_spec("open_clip"):
        import open_clip

        model, _, transform = open_clip.create_model_and_transforms(architecture, pretrained=None)
        model.eval()
        tokenize = open_clip.get_tokenizer(architecture)

        @torch.inference_mode()
        def images(paths: Sequence[Path]) -> Any:
            parts = [paths[start : start + 32] for start in range(0, len(paths), 32)]
            batches = (torch.stack([transform(Image.open(path)) for path in part]) for part in parts)
            return [model.encode_image(batch, normalize=True) for batch in batches]

        @torch.inference_mode()
        def texts(hashtags: Sequence[str]) -> Any:
            parts = [hashtags[start : start + 32] for start in range(0, len(hashtags), 32)]
            return [model.encode_text(tokenize(part), normalize=True) for part in parts]

        found["open_clip"] = images, texts
        if find_spec("clip_retrieval"):
            found["clip-retrieval"] = _clip_retrieval(model, transform, tokenize)
    return found


def _clip_retrieval(model: Any, transform: Any, tokenize: Any) -> Encoders:
    """Its reader and its mapper, with the numbers of its own defaults, around a model of open_clip.

    The rest of the package, which its `__init__` imports, needs an older numpy than we have.
    """
    spec = find_spec("clip_retrieval")
    assert spec is not None
    (place,) = spec.submodule_search_locations or ()
    for name, folder in (("clip_retrieval", place), ("clip_retrieval.clip_inference", f"{place}/clip_inference")):
        sys.modules[name] = ModuleType(name)
        sys.modules[name].__path__ = [folder]
    sys.modules["all_clip"] = loader = ModuleType("all_clip")
    loader.load_clip = lambda **_: (model, transform, tokenize)  # type: ignore[attr-defined]
    multiprocessing.set_start_method("fork", force=True)  # which it relies on
    reader, mapper = (import_module(f"clip_retrieval.clip_inference.{name}") for name in ("reader", "mapper"))

    def run(folder: Path, *, text: bool) -> Any:
        parts = {"enable_text": text, "enable_image": not text}
        batches = reader.FilesReader(lambda keys: keys, transform, tokenize, folder, 256, 4, **parts)
        encode = mapper.ClipMapper(
            enable_metadata=False, use_mclip=False, clip_model="", use_jit=False, mclip_model="", **parts
        )
        return [encode(batch) for batch in batches]

    def texts(hashtags: Sequence[str]) -> Any:
        with tempfile.TemporaryDirectory() as name:
            for number, hashtag in enumerate(hashtags):
                Path(name, f"{number}.txt").write_text(hashtag, encoding="utf-8")
            return run(Path(name), text=True)

    return lambda paths: run(paths[0].parent, text=False), texts
