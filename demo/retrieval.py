"""How well a backbone finds the hashtags of images it has not seen, by cosine alone."""

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score
from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel

from demo.dataset import SIDE, photograph
from demo.scenes import draw
from demo.vocabulary import CONCEPTS, Picture, sample_picture


@dataclass(frozen=True)
class Retrieval:
    """auc: of the cosine over all pairs of an image and a hashtag, as to whether the hashtag's concept is shown.

    precision_at_1: share of images whose nearest hashtag is of a concept they show.
    """

    auc: float
    precision_at_1: float


def measure(folder: Path, *, seed: int, images: int, filtered: bool) -> Retrieval:
    """The figures of the CLIP model in `folder` on fresh draws; `filtered` as the demo data set's images are."""
    pictures, drawn = fresh_draws(seed, images, filtered=filtered)
    tags = [(tag, concept) for concept, tags in CONCEPTS.items() for tag in tags]
    shown = np.array([[concept in picture.concepts for _, concept in tags] for picture in pictures])
    cosine = similarities(folder, drawn, [tag for tag, _ in tags])
    nearest = cosine.argmax(1)
    return Retrieval(
        auc=float(roc_auc_score(shown.ravel(), cosine.ravel())),
        precision_at_1=float(shown[np.arange(len(pictures)), nearest].mean()),
    )


def fresh_draws(seed: int, images: int, *, filtered: bool) -> tuple[list[Picture], list[Image.Image]]:
    pictures, drawn = [], []
    for number in range(images):
        rng = random.Random(f"held out/{seed}/{number}")
        pictures.append(sample_picture(rng))
        image = draw(pictures[-1], rng, SIDE)
        drawn.append(photograph(image, rng) if filtered else image)
    return pictures, drawn


def similarities(folder: Path, images: list[Image.Image], texts: list[str]) -> np.ndarray:
    """(n_images, n_texts) float32 cosines, by nothing but transformers."""
    model = CLIPModel.from_pretrained(folder, dtype=torch.float32).eval()
    pixels = AutoImageProcessor.from_pretrained(folder, backend="pil")(images, return_tensors="pt")
    tokens = AutoTokenizer.from_pretrained(folder)(texts, padding=True, truncation=True, return_tensors="pt")
    with torch.inference_mode():
        output = model(**pixels, input_ids=tokens.input_ids, attention_mask=tokens.attention_mask)
        return (output.image_embeds @ output.text_embeds.T).numpy()
