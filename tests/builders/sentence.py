"""Small models with random weights in sentence-transformers' own format, and what the library gives for them.

This module can be imported where sentence-transformers is installed.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from tests.builders.models import gemma_tokenizer, make_clip_folder, write_json

CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}<|endoftext|>"
)


def make_legacy_clip(path: Path, **shape: Any) -> Path:
    """A CLIP as `clip-ViT-B-32` is published: one module in a folder of its own, with the class name of version 2."""
    make_clip_folder(path / "0_CLIPModel", **shape)
    module = {"idx": 0, "name": "0", "path": "0_CLIPModel", "type": "sentence_transformers.models.CLIPModel"}
    (path / "modules.json").write_text(json.dumps([module]))
    write_json(path / "config_sentence_transformers.json", {"__version__": {"sentence_transformers": "2.0.0"}})
    return path


def make_student(path: Path, *, dim: int = 32) -> Path:
    """A student of CLIP's text tower as `clip-ViT-B-32-multilingual-v1`: DistilBERT, mean pooling and a projection."""
    part = path.with_name(path.name + "-part")
    config = transformers.DistilBertConfig(
        vocab_size=600, dim=48, hidden_dim=96, n_layers=2, n_heads=2, max_position_embeddings=64, pad_token_id=0
    )
    torch.manual_seed(5)
    tower = transformers.DistilBertModel(config)
    with torch.no_grad():
        for weights in tower.parameters():
            if weights.ndim > 1:
                weights.mul_(8)  # otherwise the embeddings of any two texts nearly coincide
    tower.save_pretrained(part)
    _tokenizer().save_pretrained(part)
    reader = Transformer(str(part), max_seq_length=24)
    projection = Dense(48, dim, bias=False, activation_function=torch.nn.Identity())
    SentenceTransformer(modules=[reader, Pooling(48), projection], device="cpu").save(str(path))
    shutil.rmtree(part)
    return path


def make_projected_clip(path: Path) -> Path:
    """A CLIP with a projection behind it, which transformers alone would not apply."""
    part = make_clip_folder(path.with_name(path.name + "-part"))
    torch.manual_seed(6)
    projection = Dense(32, 16, activation_function=torch.nn.Tanh())
    SentenceTransformer(modules=[Transformer(str(part)), projection], device="cpu").save(str(path))
    shutil.rmtree(part)
    return path


def make_qwen(path: Path) -> Path:
    """A Qwen3-VL-Embedding: images and texts in a chat template, a default prompt, the last token's vector.

    transformers needs torchvision for its processor.
    """
    part = path.with_name(path.name + "-part")
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"]
    specials += ["<|image_pad|>", "<|video_pad|>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    ids = {token: number for number, token in enumerate([*letters, *specials])}
    tokenizer = Tokenizer(models.BPE(ids, []))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer.add_special_tokens(specials)
    steps = {"patch_size": 16, "temporal_patch_size": 2, "merge_size": 2}
    size, half = {"shortest_edge": 32**2, "longest_edge": 128**2}, [0.5] * 3
    processor = transformers.Qwen3VLProcessor(
        image_processor=transformers.Qwen2VLImageProcessorPil(**steps, size=size, image_mean=half, image_std=half),
        tokenizer=transformers.PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>", padding_side="left",
            model_max_length=128,
        ),
        video_processor=transformers.Qwen3VLVideoProcessor(**steps),
        chat_template=CHAT,
    )  # fmt: skip
    text = {"vocab_size": 300, "num_key_value_heads": 1, "head_dim": 16, "max_position_embeddings": 1024}
    text |= {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    text |= {"rope_scaling": {"mrope_interleaved": True, "mrope_section": [4, 2, 2], "rope_type": "default"}}
    vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 32}
    vision |= {"deepstack_visual_indexes": [0], "num_position_embeddings": 64, "patch_size": 16}
    names = {"image_token_id": 5, "video_token_id": 6, "vision_start_token_id": 3, "vision_end_token_id": 4}
    numbers = {name: len(letters) + place for name, place in names.items()}
    torch.manual_seed(4)
    model = transformers.Qwen3VLModel(transformers.Qwen3VLConfig(text_config=text, vision_config=vision, **numbers))
    with torch.no_grad():
        for weights in model.parameters():
            if weights.ndim > 1:
                weights.mul_(4)
    model.save_pretrained(part)
    processor.save_pretrained(part)
    told = {"prompts": {"default": "Represent the user's input."}, "default_prompt_name": "default"}
    reader = [Transformer(str(part)), Pooling(32, pooling_mode="lasttoken"), Normalize()]
    SentenceTransformer(modules=reader, device="cpu", **told).save(str(path))
    shutil.rmtree(part)
    return path


def _tokenizer() -> Any:
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=gemma_tokenizer(), pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )


def expected(folder: Path, inputs: Sequence[str | Image.Image]) -> np.ndarray:
    """Embeddings of unit norm by the library's own `encode`."""
    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    if model.supports("image"):  # as everywhere here: with Pillow, even if torchvision is installed
        reader = next(path.parent for path in folder.rglob("*processor_config.json"))
        model[0].processor.image_processor = transformers.AutoImageProcessor.from_pretrained(reader, backend="pil")
    return np.asarray(model.encode(list(inputs), normalize_embeddings=True))
