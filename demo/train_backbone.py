"""Trains `tiny`, a small Korean CLIP, on drawn images: python -m demo.train_backbone --out demo/tiny

The loss is contrastive, on which concepts an image shows; the scores of the demo data set are not used.
The same seed gives the same weights on one machine with one version of torch.
"""

import argparse
import math
import random
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional
from transformers import CLIPConfig, CLIPModel

from consistency.durable import make_folder, write_file, write_with_digest
from consistency.text import to_json
from demo.retrieval import Retrieval, measure
from demo.scenes import draw
from demo.tokenizer import END, PAD, START, train_tokenizer
from demo.vocabulary import CONCEPTS, GENERIC, SUFFIXES, sample_content, sample_hashtag

IMAGE_SIZE, POSITIONS, VOCABULARY = 72, 16, 1200
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # CLIP's own
LARGEST_SCALE = 5.0  # low, so that cosines spread over their range instead of crowding below 0.5
HELD_OUT = 500


@dataclass(frozen=True)
class Recipe:
    """How `tiny` is trained.

    Attributes
    ----------
    seed : int
        Random seed of images, hashtags and weights.
    images : int
        Number of training images.
    steps : int
        Number of optimiser steps.
    batch_size : int
        Images per step.
    hashtags : int
        Hashtags per concept and step.
    learning_rate : float
        Peak of the OneCycle schedule.
    weight_decay : float
        AdamW's weight decay.
    """

    seed: int = 0
    images: int = 6000
    steps: int = 1800
    batch_size: int = 32
    hashtags: int = 2
    learning_rate: float = 1.2e-3
    weight_decay: float = 0.05


def train_backbone(out: Path, recipe: Recipe) -> None:
    """Train the model, printing the loss, and save it to `out` as an ordinary Hugging Face model folder."""
    pixels, shown = draw_training_images(recipe.seed, recipe.images)
    # Every step includes every concept: with one hashtag per image, the twelve objects are learned late.
    asked = list(CONCEPTS) * recipe.hashtags
    fits = torch.tensor([[concept in concepts for concept in asked] for concepts in shown])
    tokenizer = train_tokenizer(corpus(), size=VOCABULARY)
    tokenizer.enable_truncation(POSITIONS)
    tokenizer.enable_padding(pad_id=tokenizer.token_to_id(PAD), pad_token=PAD)
    torch.manual_seed(recipe.seed)
    model = CLIPModel(configuration(tokenizer)).train()
    optimizer = torch.optim.AdamW(model.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, total_steps=recipe.steps)
    rng = random.Random(f"tiny/{recipe.seed}/hashtags")
    order = torch.empty(0, dtype=torch.int64)
    for step in range(1, recipe.steps + 1):
        if len(order) < recipe.batch_size:
            order = torch.randperm(recipe.images)
        batch, order = order[: recipe.batch_size], order[recipe.batch_size :]
        encoded = tokenizer.encode_batch([sample_hashtag(concept, rng) for concept in asked])
        output = model(
            pixel_values=augment(pixels[batch]),
            input_ids=torch.tensor([text.ids for text in encoded]),
            attention_mask=torch.tensor([text.attention_mask for text in encoded]),
        )
        loss = contrastive_loss(output.logits_per_image, fits[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=math.log(LARGEST_SCALE))
        if step % 100 == 0 or step == recipe.steps:
            print(f"step {step} of {recipe.steps}: loss {loss.item():.3f}", flush=True)
    save_backbone(out, model, tokenizer)


def draw_training_images(seed: int, images: int) -> tuple[Tensor, list[tuple[str, ...]]]:
    """Draw the training images, without camera filters.

    Returns
    -------
    pixels : (images, 3, IMAGE_SIZE, IMAGE_SIZE) uint8
        The images.
    shown : list of tuple of str
        The concepts that each image shows.
    """
    pixels = np.empty((images, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    shown = []
    for number in range(images):
        rng = random.Random(f"tiny/{seed}/image/{number}")
        content = sample_content(rng)
        shown.append(content.concepts)
        image = draw(content, rng, 2 * IMAGE_SIZE)
        pixels[number] = np.asarray(image.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC))
        if (number + 1) % 1000 == 0:
            print(f"drawn {number + 1} of {images} images", flush=True)
    return torch.from_numpy(pixels).permute(0, 3, 1, 2), shown


def corpus() -> list[str]:
    """All possible hashtags, to train the tokenizer; those without a suffix twice, so that each is learned whole."""
    words = [word for words in CONCEPTS.values() for word in words]
    plain = [*words, *GENERIC]
    return [
        *plain,
        *(f"#{word}" for word in plain),
        *(word + suffix for word in words if not word.isascii() for suffix in SUFFIXES),
    ]


def configuration(tokenizer: Tokenizer) -> CLIPConfig:
    tower = {"hidden_size": 128, "intermediate_size": 512, "num_attention_heads": 4, "projection_dim": 128}
    text = {
        "num_hidden_layers": 2,
        "vocab_size": tokenizer.get_vocab_size(),
        "max_position_embeddings": POSITIONS,
        "bos_token_id": tokenizer.token_to_id(START),
        "eos_token_id": tokenizer.token_to_id(END),
        "pad_token_id": tokenizer.token_to_id(PAD),
    }
    vision = {"num_hidden_layers": 4, "image_size": IMAGE_SIZE, "patch_size": 12}
    return CLIPConfig(text_config=tower | text, vision_config=tower | vision, projection_dim=128)


def augment(pixels: Tensor) -> Tensor:
    """Mirror half of the images, change colours slightly and normalise: (n, 3, h, w) uint8 to float32."""
    count = len(pixels)
    mirrored = torch.rand(count, 1, 1, 1) < 0.5
    images = torch.where(mirrored, pixels.flip(3), pixels) / 255
    gain = 1 + 0.2 * (torch.rand(count, 3, 1, 1) - 0.5)
    shift = 0.2 * (torch.rand(count, 1, 1, 1) - 0.5)
    images = (images * gain + shift).clamp(0, 1)
    return (images - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def contrastive_loss(logits: Tensor, fits: Tensor) -> Tensor:
    """Symmetric InfoNCE loss with any number of positives per image and hashtag.

    Parameters
    ----------
    logits : (n_images, n_hashtags) float32
        Scaled cosine similarities.
    fits : (n_images, n_hashtags) bool
        Whether the hashtag names a concept that the image shows. Rows and columns without a positive are ignored.

    Returns
    -------
    Tensor
        The loss, a scalar.
    """

    def one_way(logits: Tensor, fits: Tensor) -> Tensor:
        some = fits.any(1)
        return functional.cross_entropy(logits[some], fits[some] / fits[some].sum(1, keepdim=True))

    return (one_way(logits, fits) + one_way(logits.T, fits.T)) / 2


def save_backbone(out: Path, model: CLIPModel, tokenizer: Tokenizer) -> None:
    """Save the model in half precision (2.4 MB), with its tokenizer and preprocessing, as a Hugging Face folder."""
    make_folder(out)
    model.half()
    model.config.dtype = torch.float16
    model.config.architectures = ["CLIPModel"]
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    write_with_digest(out / "model.safetensors", save(weights, {"format": "pt"}))
    write_file(out / "config.json", model.config.to_json_string().encode())
    tokenizer.no_padding()
    tokenizer.no_truncation()
    write_file(out / "tokenizer.json", tokenizer.to_str().encode())
    specials = {"bos_token": START, "eos_token": END, "pad_token": PAD, "unk_token": END}
    settings = specials | {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": POSITIONS}
    write_file(out / "tokenizer_config.json", to_json(settings).encode())
    processor = {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": IMAGE_SIZE},
        "resample": Image.Resampling.BICUBIC,
        "do_center_crop": True,
        "crop_size": {"height": IMAGE_SIZE, "width": IMAGE_SIZE},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": MEAN,
        "image_std": STD,
    }
    write_file(out / "preprocessor_config.json", to_json(processor).encode())


def model_card(recipe: Recipe, plain: Retrieval, filtered: Retrieval) -> str:
    return f"""# tiny: a small Korean CLIP

Trained by `python -m demo.train_backbone --seed {recipe.seed}` on {recipe.images} drawn images and their hashtags:
{recipe.steps} steps of {recipe.batch_size} images and {recipe.hashtags} hashtags of every concept,
symmetric InfoNCE on which concepts an image shows (never on scores),
AdamW {recipe.learning_rate:g} with OneCycle, weight decay {recipe.weight_decay:g}.
It knows the {len(CONCEPTS)} concepts of `demo/vocabulary.py` and nothing else: it is for trying and testing.

The weights are under the licence of the code (MIT, `LICENSE`): they learned from drawings that this project makes, and
from nothing else.

Found by cosine on {HELD_OUT} fresh draws, among {sum(map(len, CONCEPTS.values()))} hashtags:

| images | AUC | precision at 1 |
|---|---|---|
| drawn as in training | {plain.auc:.3f} | {plain.precision_at_1:.3f} |
| with the demo data set's filters | {filtered.auc:.3f} | {filtered.precision_at_1:.3f} |
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the trained model")
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    given = parser.parse_args()
    torch.set_num_threads(1)  # the weights depend on the order of sums, and that on the number of threads
    recipe = Recipe(seed=given.seed)
    train_backbone(given.out, recipe)
    plain, filtered = (
        measure(given.out, seed=recipe.seed, images=HELD_OUT, filtered=choice) for choice in (False, True)
    )
    write_file(given.out / "README.md", model_card(recipe, plain, filtered).encode())
    print(f"held out, as in training: {asdict(plain)}")
    print(f"held out, with filters:   {asdict(filtered)}")


if __name__ == "__main__":
    main()
