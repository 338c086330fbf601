"""Speed and memory of backbones, with random weights of their real architecture.

`python -m benchmarks.backbones [--images 32] [NAME ...]` makes each folder, encodes drawn images and their hashtags on
the CPU in a process of its own, and prints a Markdown table. The weights are random: their values change no time.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tests.builders.cpu_torchvision  # noqa: F401 - before what imports torchvision

# isort: split
import torch
import transformers

from demo.dataset import write_demo
from tests.builders.models import (
    Tower,
    change_json,
    make_clip_folder,
    make_other_folder,
    make_siglip2_folder,
    make_siglip_folder,
)

BASE, LARGE, SHAPE = Tower(768, 12, 12), Tower(1024, 24, 16), Tower(512, 12, 8)


def enlarge(folder: Path, texts: dict[str, Any], images: dict[str, Any], **more: Any) -> Path:
    """Give a small model folder of a test the shape of a real one; tokenizer and preprocessing stay."""
    config = transformers.AutoConfig.from_pretrained(folder)
    for part, values in ((config.text_config, texts), (config.vision_config, images), (config, more)):
        for name, value in values.items():
            setattr(part, name, value)
    torch.manual_seed(0)
    transformers.AutoModel.from_config(config).save_pretrained(folder)
    if side := images.get("image_size"):
        preprocessor = folder / "preprocessor_config.json"
        square = {"height": side, "width": side}
        crops = "crop_size" in json.loads(preprocessor.read_text())
        change_json(
            preprocessor, **({"size": {"shortest_edge": side}, "crop_size": square} if crops else {"size": square})
        )
    return folder


def make_xlm_roberta(path: Path) -> Path:
    """ViT-B/32 and XLM-RoBERTa base in open_clip's format; needs its packages, which `make test-openclip` installs."""
    from tests.builders.open_clip import hugging_face_text, make_open_clip_folder

    def shape(tower: Path) -> dict[str, Any]:
        texts = transformers.XLMRobertaConfig(vocab_size=250_002, max_position_embeddings=514, **BASE.config())
        text = hugging_face_text(tower, texts, hf_proj_type="mlp", hf_pooler_type="mean_pooler")
        vision = {"image_size": 224, "patch_size": 32, "layers": 12, "width": 768}
        return {"embed_dim": 512, "vision_cfg": vision, "text_cfg": text}

    return make_open_clip_folder(path, "XLM-RoBERTa", shape)


def make_nllb(path: Path) -> Path:
    """ViT-B/16 of SigLIP and the encoder of NLLB 600M in open_clip's format, likewise."""
    from tests.builders.open_clip import hugging_face_text, make_open_clip_folder

    def shape(tower: Path) -> dict[str, Any]:
        texts = transformers.M2M100Config(
            vocab_size=256_206, d_model=1024, encoder_layers=12, decoder_layers=1, encoder_attention_heads=16,
            decoder_attention_heads=16, encoder_ffn_dim=4096, decoder_ffn_dim=4096, max_position_embeddings=1024,
        )  # fmt: skip
        text = hugging_face_text(tower, texts, hf_proj_type="linear", hf_pooler_type="cls_pooler")
        vision = {"image_size": 224, "timm_model_name": "vit_base_patch16_siglip_224"}
        vision |= {"timm_pool": "map", "timm_proj": "none"}
        return {"embed_dim": 768, "custom_text": True, "init_logit_bias": -10, "vision_cfg": vision, "text_cfg": text}

    return make_open_clip_folder(path, "NLLB-CLIP", shape)


GEMMA = {"vocab_size": 256_000, "max_position_embeddings": 64}
SO400M = {"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16}
MODELS: dict[str, Callable[[Path], Path]] = {
    "tiny": lambda path: Path(__file__).resolve().parent.parent / "demo" / "tiny",
    "clip": lambda path: make_clip_folder(
        path, dim=512, image_size=224, patch_size=32, vision=BASE, text=SHAPE, vocab_size=49_408
    ),
    "metaclip2": lambda path: enlarge(
        make_other_folder(path, "metaclip_2"),
        SHAPE.config() | {"vocab_size": 901_629},
        BASE.config() | {"image_size": 224, "patch_size": 32},
        projection_dim=512,
    ),
    "siglip2": lambda path: make_siglip_folder(
        path, dim=768, image_size=224, patch_size=16, layers=12, heads=12, positions=64, vocab_size=256_000
    ),
    "siglip2-naflex": lambda path: enlarge(
        make_siglip2_folder(path, flexible=True, patches=256),
        BASE.config() | GEMMA | {"projection_size": 768},
        BASE.config() | {"num_patches": 256},
    ),
    "siglip2-so400m": lambda path: enlarge(
        make_siglip2_folder(path),
        SO400M | GEMMA | {"projection_size": 1152},
        SO400M | {"image_size": 384, "patch_size": 14},
    ),
    "koclip": lambda path: make_clip_folder(
        path, dim=768, image_size=224, patch_size=14, vision=LARGE, text=Tower(768, 12, 12), vocab_size=49_408
    ),
    "xlmr": make_xlm_roberta,
    "nllb-clip": make_nllb,
}
ENCODE = """
import tests.builders.cpu_torchvision
import json, sys
from pathlib import Path
from consistency.data.inputs import read_inputs
from consistency.options import Encoding, Source
from koclip_consistency.workflows.encode import encode_pairs
data, model, cache, threads = sys.argv[1:]
source = Source(data=Path(data) / "combined_data.csv", images=Path(data) / "image")
encoding = Encoding(backbone=model, cache=Path(cache), device="cpu", threads=int(threads))
print(json.dumps(encode_pairs(read_inputs(source), encoding, source).report.as_dict()))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(MODELS)}; all if none is given")
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    print(f"torch {torch.__version__}, {given.threads} threads, load {os.getloadavg()[0]:.1f}\n")
    print("| backbone | parameters | images/s | batch | peak MB |\n| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        write_demo(data, seed=0, images=given.images)
        for name in given.names or MODELS:
            model = MODELS[name](Path(folder) / name)
            size = sum(file.stat().st_size for file in model.glob("*.safetensors")) / 4e9
            command = [sys.executable, "-c", ENCODE, str(data), str(model), f"{folder}/cache", str(given.threads)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            report = json.loads(done.stdout.splitlines()[-1])
            cells = f"{size:.2f} B", f"{report['images_per_second']:.2f}", report["batch_size"]
            print("|", " | ".join(map(str, (name, *cells, f"{report['peak_megabytes']:.0f}"))), "|", flush=True)


if __name__ == "__main__":
    main()
