"""Random-weight backbones in ordinary Hugging Face format, for tests: tiny ones, or of any real shape."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import CLIPConfig, CLIPModel, Siglip2Config, Siglip2Model, SiglipConfig, SiglipModel

CORPUS = (
    "#바다 #여행 #여행스타그램 #카페 #커피 #맛집 #맛스타그램 #감성사진 #고양이 #봄 #가을 #겨울바다 #야경",
    "#夜景 #カフェ #旅行 #海 #猫 #photo #travel #daily #ootd #coffee #sunset #cat #sea ❤️🌊☕🌸✨",
)
OPENAI_MEAN, OPENAI_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class Tower(NamedTuple):
    """Shape of a transformer; its feed-forward layer is four times as wide."""

    width: int = 32
    layers: int = 2
    heads: int = 2

    def config(self) -> dict[str, int]:
        return {
            "hidden_size": self.width,
            "intermediate_size": 4 * self.width,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
        }


SMALL = Tower()


def make_clip_folder(
    path: Path,
    *,
    seed: int = 0,
    dim: int = 32,
    image_size: int = 32,
    patch_size: int = 16,
    vision: Tower = SMALL,
    text: Tower = SMALL,
    positions: int = 77,
    vocab_size: int | None = None,
    legacy_eos: bool = False,
    dtype: torch.dtype = torch.float32,
) -> Path:
    """Write a CLIPModel with its tokenizer and preprocessor into `path`, and return it.

    A ViT-B/32 is `dim=512, image_size=224, patch_size=32, vision=Tower(768, 12, 12), text=Tower(512, 12, 8),
    vocab_size=49408`. `legacy_eos` writes the `eos_token_id: 2` of old configurations, by which the end of
    a text is its largest token id.
    """
    tokenizer = clip_tokenizer()
    size = tokenizer.get_vocab_size()
    start, end = tokenizer.token_to_id("<|startoftext|>"), tokenizer.token_to_id("<|endoftext|>")
    config = CLIPConfig(
        projection_dim=dim,
        text_config=text.config()
        | {
            "vocab_size": vocab_size or size,
            "max_position_embeddings": positions,
            "bos_token_id": 0 if legacy_eos else start,
            "eos_token_id": 2 if legacy_eos else end,
            "pad_token_id": 1 if legacy_eos else end,
            "projection_dim": dim,
        },
        vision_config=vision.config() | {"image_size": image_size, "patch_size": patch_size, "projection_dim": dim},
    )
    torch.manual_seed(seed)
    _save(CLIPModel(config), path, dtype)
    specials = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    _save_tokenizer(
        tokenizer,
        path,
        specials | {"pad_token": "<|endoftext|>", "tokenizer_class": "CLIPTokenizer", "model_max_length": positions},
    )
    write_json(
        path / "preprocessor_config.json",
        {
            "image_processor_type": "CLIPImageProcessor",
            "do_convert_rgb": True,
            "do_resize": True,
            "size": {"shortest_edge": image_size},
            "resample": 3,
            "do_center_crop": True,
            "crop_size": {"height": image_size, "width": image_size},
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": OPENAI_MEAN,
            "image_std": OPENAI_STD,
        },
    )
    return path


def make_siglip_folder(
    path: Path,
    *,
    seed: int = 0,
    dim: int = 32,
    image_size: int = 32,
    patch_size: int = 16,
    layers: int = 2,
    heads: int = 2,
    positions: int = 16,
    vocab_size: int | None = None,
) -> Path:
    """Write a SiglipModel (its embeddings are as wide as its towers: `dim`) into `path`, and return it."""
    tokenizer = siglip_tokenizer()
    tower = Tower(dim, layers, heads)
    end = tokenizer.token_to_id("</s>")
    config = SiglipConfig(
        text_config=tower.config()
        | {
            "vocab_size": vocab_size or tokenizer.get_vocab_size(),
            "max_position_embeddings": positions,
            "projection_size": dim,
            "bos_token_id": end,
            "eos_token_id": end,
            "pad_token_id": end,
        },
        vision_config=tower.config() | {"image_size": image_size, "patch_size": patch_size},
    )
    torch.manual_seed(seed)
    _save(SiglipModel(config), path, torch.float32)
    _save_tokenizer(
        tokenizer,
        path,
        {
            "eos_token": "</s>",
            "pad_token": "</s>",
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": positions,
            "model_input_names": ["input_ids"],
        },
    )
    write_json(
        path / "preprocessor_config.json",
        {
            "image_processor_type": "SiglipImageProcessor",
            "do_resize": True,
            "size": {"height": image_size, "width": image_size},
            "resample": 3,
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": [0.5] * 3,
            "image_std": [0.5] * 3,
        },
    )
    return path


def make_siglip2_folder(path: Path, *, flexible: bool = False, patches: int = 16) -> Path:
    """SigLIP 2 as published: of fixed resolution, which has the classes of SigLIP, or NaFlex; Gemma's tokenizer."""
    make_siglip_folder(path)
    tokenizer = gemma_tokenizer()
    _save_tokenizer(
        tokenizer,
        path,
        {
            "tokenizer_class": "GemmaTokenizer",
            "do_lower_case": True,  # GemmaTokenizer ignores it
            "add_bos_token": False,
            "add_eos_token": True,
            "pad_token": "<pad>",
            "eos_token": "<eos>",
            "bos_token": "<bos>",
            "unk_token": "<unk>",
            "padding_side": "right",
            "model_input_names": ["input_ids"],
        },
    )
    texts = Tower().config() | {"vocab_size": tokenizer.get_vocab_size(), "max_position_embeddings": 16}
    texts |= {"projection_size": 32, "bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0}
    images: dict[str, Any] = Tower().config() | {"patch_size": 16}
    torch.manual_seed(2)
    if flexible:
        images["num_patches"] = patches
        _save(Siglip2Model(Siglip2Config(text_config=texts, vision_config=images)), path, torch.float32)
        write_json(
            path / "preprocessor_config.json",
            {"image_processor_type": "Siglip2ImageProcessor", "patch_size": 16, "max_num_patches": patches}
            | {"do_resize": True, "do_rescale": True, "do_normalize": True, "resample": 2, "rescale_factor": 1 / 255}
            | {"image_mean": [0.5] * 3, "image_std": [0.5] * 3},
        )
    else:
        images["image_size"] = 32
        _save(SiglipModel(SiglipConfig(text_config=texts, vision_config=images)), path, torch.float32)
    return path


def make_other_folder(path: Path, kind: str) -> Path:
    """A dual encoder of `kind` with the tokenizer and preprocessing of our small CLIP."""
    make_clip_folder(path)
    end = transformers.AutoTokenizer.from_pretrained(path).eos_token_id
    texts: dict[str, Any] = Tower().config() | {"vocab_size": 1000, "pad_token_id": 1, "max_position_embeddings": 77}
    pictures: dict[str, Any] = Tower().config() | {"image_size": 32, "patch_size": 16}
    config: Any
    if kind in ("vision-text-dual-encoder", "roberta", "vit"):
        towers = (
            transformers.ViTConfig(**pictures | {"image_size": [32, 32]})
            if kind == "vit"
            else transformers.CLIPVisionConfig(**pictures),
            transformers.RobertaConfig(**texts) if kind == "roberta" else transformers.BertConfig(**texts),
        )
        config = transformers.VisionTextDualEncoderConfig.from_vision_text_configs(*towers, projection_dim=32)
    else:
        texts |= {"metaclip_2": {"eos_token_id": end}, "altclip": {"project_dim": 32}}.get(kind, {})
        if kind == "altclip":
            texts["max_position_embeddings"] += 2  # its positions start behind that of the padding token
        config_class: Any = transformers.CONFIG_MAPPING[kind]
        config = config_class(projection_dim=32, text_config=texts, vision_config=pictures)
    torch.manual_seed(1)
    model: Any = transformers.AutoModel.from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and "projection" not in name:
                parameter.mul_(8)  # else a random BERT gives nearly one vector to all texts
    model.save_pretrained(path)
    return path


KINDS: dict[str, Callable[[Path], Path]] = {
    "clip": make_clip_folder,
    "clip, old end of text": lambda path: make_clip_folder(path, legacy_eos=True),
    "clip, oblong": lambda path: make_clip_folder(path, dim=16, vision=Tower(48, 1, 3), text=Tower(24, 3, 4)),
    "siglip": make_siglip_folder,
    "siglip 2": make_siglip2_folder,
    "siglip 2, naflex": lambda path: make_siglip2_folder(path, flexible=True),
    **{
        kind: lambda path, kind=kind: make_other_folder(path, kind)  # type: ignore[misc]
        for kind in ("metaclip_2", "altclip", "chinese_clip", "vision-text-dual-encoder")
    },
}


def clip_tokenizer() -> Tokenizer:
    """CLIP's byte-level BPE over a small vocabulary: every text tokenizes, and the end token has the highest id."""
    normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    splitter = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    # Merges that spell the corpus out word by word: the library's trainer breaks ties differently in every run.
    merges: list[tuple[str, str]] = []
    for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(" ".join(CORPUS))):
        spelt = ""
        for symbol in [*word[:-1], word[-1] + "</w>"]:
            if spelt and (spelt, symbol) not in merges:
                merges.append((spelt, symbol))
            spelt += symbol
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    # Every byte within and at the end of a word, then the merges: the order of CLIP's own vocabulary.
    tokens = [*letters, *(letter + "</w>" for letter in letters), *("".join(pair) for pair in merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, end_of_word_suffix="</w>", unk_token="<|endoftext|>"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|startoftext|>", "<|endoftext|>"])
    tokenizer.post_processor = processors.RobertaProcessing(
        ("<|endoftext|>", vocabulary["<|endoftext|>"]), ("<|startoftext|>", vocabulary["<|startoftext|>"])
    )
    return tokenizer


def siglip_tokenizer() -> Tokenizer:
    """A byte-level BPE that, like SigLIP's, ends a text with `</s>` and starts it with nothing."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(
            vocab_size=700,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            special_tokens=["</s>"],
            show_progress=False,
        ),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", tokenizer.token_to_id("</s>"))]
    )
    return tokenizer


def gemma_tokenizer() -> Tokenizer:
    """Like Gemma's: BPE that keeps case, writes spaces as marks, falls back to bytes, and ends a text with `<eos>`."""
    specials = ["<pad>", "<eos>", "<bos>", "<unk>"]
    letters = sorted(set("".join(CORPUS)) - {" "}) + ["▁"]
    tokens = [*specials, *(f"<0x{byte:02X}>" for byte in range(256)), *letters, "ca", "fe", "바다", "여행"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    merges = [("c", "a"), ("f", "e"), ("바", "다"), ("여", "행")]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens(specials)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    return tokenizer


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2), encoding="utf-8")


def change_json(path: Path, **values: Any) -> None:
    write_json(path, json.loads(path.read_text(encoding="utf-8")) | values)


def _save(model: CLIPModel | SiglipModel | Siglip2Model, path: Path, dtype: torch.dtype) -> None:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "position_embedding" in name or "token_embedding" in name:
                parameter.mul_(10)  # else the embeddings of any two texts of a small random model nearly coincide
    path.mkdir(parents=True, exist_ok=True)
    torch.nn.Module.to(model, dtype)
    model.save_pretrained(path)


def _save_tokenizer(tokenizer: Tokenizer, path: Path, config: dict[str, Any]) -> None:
    tokenizer.save(str(path / "tokenizer.json"))
    write_json(path / "tokenizer_config.json", config)
