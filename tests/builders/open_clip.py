"""Random-weight models in open_clip's own format, made by open_clip, and what they give when open_clip loads them.

This module can be imported where open_clip is installed, which is an extra of its own: `make test-openclip`.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
import transformers
from open_clip.push_to_hf_hub import save_config_for_hf
from PIL import Image
from safetensors.torch import save_file

from consistency.backbone.open_clip_model import language_of
from tests.builders.models import CORPUS, Tower, gemma_tokenizer

VISION = {"image_size": 32, "patch_size": 16, "layers": 2, "width": 32, "head_width": 16}
TIMM = {"image_size": 32, "timm_model_name": "test_vit", "timm_pool": "map", "timm_proj": "none"}
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
OF_FOLDER = {"hf_tokenizer_name": "in the folder"}


def make_open_clip_folder(path: Path, kind: str, shape: Callable[[Path], dict[str, Any]] | None = None) -> Path:
    """Write a small model of one of KINDS into `path`; the configuration of a text tower goes beside it.

    `shape` makes a configuration of another size.
    """
    tower = path.with_name(path.name + "-text")
    config: dict[str, Any] = (shape or KINDS[kind])(tower)
    path.mkdir(parents=True)
    (path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    torch.manual_seed(3)
    model = open_clip.create_model(f"local-dir:{path}", load_weights=False, pretrained_text=False)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if weights.ndim > 1 and "visual" not in name and ("embed" in name or "text.transformer" in name):
                weights.mul_(8)  # otherwise the embeddings of any two texts nearly coincide
    model.visual.preprocess_cfg["resize_mode"] = "squash" if "timm_model_name" in config["vision_cfg"] else "shortest"
    save_file(model.state_dict(), path / "open_clip_model.safetensors")
    save_config_for_hf(model, path / "open_clip_config.json", config)
    if kind in TOKENIZERS:  # the others have open_clip's own, which is in the library
        TOKENIZERS[kind]().save_pretrained(path)
    return path


def hugging_face_text(tower: Path, config: transformers.PreTrainedConfig, **more: Any) -> dict[str, Any]:
    config.save_pretrained(tower)
    return OF_FOLDER | {"hf_model_name": str(tower), "context_length": 24} | more


def _nllb(tower: Path) -> dict[str, Any]:
    texts = transformers.M2M100Config(
        vocab_size=600, d_model=32, encoder_layers=2, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=64, decoder_ffn_dim=64, max_position_embeddings=64,
    )  # fmt: skip
    text = hugging_face_text(tower, texts, hf_proj_type="linear", hf_pooler_type="cls_pooler")
    return {"embed_dim": 64, "custom_text": True, "init_logit_bias": -10, "vision_cfg": TIMM, "text_cfg": text}


def _xlm_roberta(tower: Path) -> dict[str, Any]:
    texts = transformers.XLMRobertaConfig(
        vocab_size=600, max_position_embeddings=64, pad_token_id=1, bos_token_id=0, eos_token_id=2, **Tower().config()
    )
    text = hugging_face_text(tower, texts, hf_proj_type="mlp", hf_pooler_type="mean_pooler")
    return {"embed_dim": 48, "vision_cfg": VISION, "text_cfg": text}


def _siglip(tower: Path) -> dict[str, Any]:
    text = TEXT | OF_FOLDER | {"context_length": 16, "vocab_size": 600, "width": 64, "pool_type": "last"}
    text |= {"no_causal_mask": True, "proj_bias": True, "tokenizer_kwargs": {"clean": "canonicalize"}}
    return {"embed_dim": 64, "custom_text": True, "init_logit_bias": -10, "vision_cfg": TIMM, "text_cfg": text}


def _coca(tower: Path) -> dict[str, Any]:
    texts = TEXT | {"context_length": 76, "embed_cls": True, "output_tokens": True}
    images = VISION | {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True}
    both = TEXT | {"context_length": 76, "attn_pooler_heads": 2}
    return {"embed_dim": 32, "custom_text": True, "vision_cfg": images, "text_cfg": texts, "multimodal_cfg": both}


KINDS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "CLIP": lambda tower: {"embed_dim": 32, "vision_cfg": VISION, "text_cfg": TEXT},
    "SigLIP": _siglip,
    "NLLB-CLIP": _nllb,
    "XLM-RoBERTa": _xlm_roberta,
    "CoCa": _coca,
}


def _pieces() -> list[str]:
    """Words of the corpus as sentencepiece writes them, then every letter."""
    words = [f"▁{word}" for text in CORPUS for word in text.split()]
    return list(dict.fromkeys([*words, *sorted(set("".join(words)) | set("ctfeaOTD"))]))


def _nllb_tokenizer() -> Any:
    letters = [piece for piece in _pieces() if len(piece) == 1]
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *letters]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return transformers.NllbTokenizer(
        vocab=vocabulary, merges=[], additional_special_tokens=["eng_Latn", "jpn_Jpan", "kor_Hang", "zho_Hans"]
    )


def _xlm_roberta_tokenizer() -> Any:
    pieces = ["<s>", "<pad>", "</s>", "<unk>", *_pieces(), "<mask>"]
    return transformers.XLMRobertaTokenizer(vocab=[(piece, -float(at > 3)) for at, piece in enumerate(pieces)])


def _siglip_tokenizer() -> Any:
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=gemma_tokenizer(), pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )


TOKENIZERS: dict[str, Callable[[], Any]] = {
    "SigLIP": _siglip_tokenizer,
    "NLLB-CLIP": _nllb_tokenizer,
    "XLM-RoBERTa": _xlm_roberta_tokenizer,
}


def expected(folder: Path, photos: Sequence[Image.Image], texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of unit norm by open_clip alone, image by image and text by text, each in its own language."""
    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    texts_embedded = []
    with torch.inference_mode():
        images = [model.eval().encode_image(preprocess(photo)[None], normalize=True) for photo in photos]
        for text in texts:
            if "Nllb" in type(getattr(tokenizer, "tokenizer", None)).__name__:
                tokenizer.set_language(language_of(text))
            texts_embedded.append(model.encode_text(tokenizer([text]), normalize=True))
    return torch.cat(images).numpy(), torch.cat(texts_embedded).numpy()
