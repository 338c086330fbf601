"""Measures how well a backbone retrieves the hashtags of unseen images by cosine similarity alone."""

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
from demo.vocabulary import CONCEPTS, Content, sample_content


@dataclass(frozen=True)
class Retrieval:
    """How well hashtags are retrieved.

    Attributes
    ----------
    auc : float
        Area under the ROC curve of the cosine over all pairs of image and hashtag; a pair is positive if the image
        shows the hashtag's concept.
    precision_at_1 : float
        Share of images whose nearest hashtag names a concept that the image shows.
    """

    auc: float
    precision_at_1: float


def measure(folder: Path, *, seed: int, images: int, filtered: bool) -> Retrieval:
    """Measure the CLIP model in `folder` on freshly drawn images.

    Parameters
    ----------
    folder : Path
        Hugging Face model folder.
    seed : int
        Random seed of the images.
    images : int
        Number of images.
    filtered : bool
        Whether to apply the camera filters of the demo data set.

    Returns
    -------
    Retrieval
    """
    contents, drawn = fresh_draws(seed, images, filtered=filtered)
    tags = [(tag, concept) for concept, tags in CONCEPTS.items() for tag in tags]
    shown = np.array([[concept in content.concepts for _, concept in tags] for content in contents])
    cosine = similarities(folder, drawn, [tag for tag, _ in tags])
    nearest = cosine.argmax(1)
    return Retrieval(
        auc=float(roc_auc_score(shown.ravel(), cosine.ravel())),
        precision_at_1=float(shown[np.arange(len(contents)), nearest].mean()),
    )


def fresh_draws(seed: int, images: int, *, filtered: bool) -> tuple[list[Content], list[Image.Image]]:
    contents, drawn = [], []
    for number in range(images):
        rng = random.Random(f"held out/{seed}/{number}")
        contents.append(sample_content(rng))
        image = draw(contents[-1], rng, SIDE)
        drawn.append(photograph(image, rng) if filtered else image)
    return contents, drawn


def similarities(folder: Path, images: list[Image.Image], texts: list[str]) -> np.ndarray:
    """Cosine similarities, (n_images, n_texts) float32, computed with transformers alone."""
    model = CLIPModel.from_pretrained(folder, dtype=torch.float32).eval()
    pixels = AutoImageProcessor.from_pretrained(folder, backend="pil")(images, return_tensors="pt")
    tokens = AutoTokenizer.from_pretrained(folder)(texts, padding=True, truncation=True, return_tensors="pt")
    with torch.inference_mode():
        output = model(**pixels, input_ids=tokens.input_ids, attention_mask=tokens.attention_mask)
        return (output.image_embeds @ output.text_embeds.T).numpy()
