"""Training of `tiny` repeats to the byte, and what is shipped is an ordinary, small CLIP."""

import hashlib
import random
import re
import unicodedata
from pathlib import Path

import numpy as np
import torch
from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel

from demo.retrieval import Retrieval
from demo.scenes import draw
from demo.train_backbone import (
    IMAGE_SIZE,
    Recipe,
    augment,
    contrastive_loss,
    corpus,
    draw_training_images,
    model_card,
    train_backbone,
)
from demo.vocabulary import Content, sample_content

TINY = Path(__file__).parents[2] / "demo" / "tiny"


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_tiny_is_small_and_its_digest_holds() -> None:
    assert sum(path.stat().st_size for path in TINY.iterdir()) < 4_000_000
    digest, name = (TINY / "model.safetensors.sha256").read_text().split()
    assert digest == hashlib.sha256((TINY / name).read_bytes()).hexdigest()


def test_tiny_embeds_as_any_clip_does() -> None:
    model = CLIPModel.from_pretrained(TINY, dtype=torch.float32).eval()
    assert model.config.text_config.eos_token_id == model.config.text_config.vocab_size - 1
    tokenizer = AutoTokenizer.from_pretrained(TINY)
    assert tokenizer.eos_token_id == model.config.text_config.eos_token_id
    long = "#" + "가나다라마바사아자차카타파하" * 3
    tokens = tokenizer(["#바다", "夜景🌙", long], padding=True, truncation=True, return_tensors="pt")
    assert tokens.input_ids.shape == (3, 16)
    assert tokens.input_ids[2, -1] == tokenizer.eos_token_id
    assert tokenizer(unicodedata.normalize("NFD", "#바다")).input_ids == tokenizer("#바다").input_ids
    image = draw(Content("sea", "summer", ()), random.Random(5), 100)
    pixels = AutoImageProcessor.from_pretrained(TINY, backend="pil")(image, return_tensors="pt")
    assert pixels.pixel_values.shape == (1, 3, 72, 72)
    with torch.inference_mode():
        output = model(**pixels, input_ids=tokens.input_ids, attention_mask=tokens.attention_mask)
        alone = model.get_text_features(**tokenizer(["#바다"], return_tensors="pt")).pooler_output
    assert output.image_embeds.shape == (1, 128)
    torch.testing.assert_close(output.text_embeds.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(alone / alone.norm(), output.text_embeds[:1])  # padding changes nothing


def test_training_repeats_to_the_byte(tmp_path: Path) -> None:
    recipe = Recipe(seed=5, images=24, steps=3, batch_size=8)
    for name in ("one", "again"):
        train_backbone(tmp_path / name, recipe)
    assert digests(tmp_path / "one") == digests(tmp_path / "again")
    train_backbone(tmp_path / "other", Recipe(seed=6, images=24, steps=3, batch_size=8))
    weights = "model.safetensors"
    assert digests(tmp_path / "one")[weights] != digests(tmp_path / "other")[weights]
    # What is shipped is what the script writes, besides the licence, and the card that is written after measuring.
    assert set(digests(tmp_path / "one")) == set(digests(TINY)) - {"README.md", "LICENSE"}
    for name in ("tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"):
        assert (tmp_path / "one" / name).read_bytes() == (TINY / name).read_bytes()


def test_the_loss_is_least_where_every_fitting_hashtag_is_near() -> None:
    fits = torch.tensor([[True, True, False], [True, True, False], [False, False, True]])
    near = contrastive_loss(20.0 * fits, fits)
    torch.testing.assert_close(near, torch.tensor(2 / 3 * 0.6931), atol=1e-3, rtol=0)
    assert contrastive_loss(20.0 * torch.eye(3), fits) > near
    lonely = torch.cat([fits, torch.zeros(3, 1, dtype=torch.bool)], dim=1)  # a hashtag that no image fits
    assert torch.isfinite(contrastive_loss(20.0 * lonely, lonely))


def test_the_loss_of_one_positive_each_is_infonce() -> None:
    logits = torch.randn(5, 5, generator=torch.Generator().manual_seed(1))
    expected = -(logits.log_softmax(0).diagonal().mean() + logits.log_softmax(1).diagonal().mean()) / 2
    torch.testing.assert_close(contrastive_loss(logits, torch.eye(5, dtype=torch.bool)), expected)


def test_the_card_that_is_shipped_is_the_one_that_the_script_writes() -> None:
    shipped = (TINY / "README.md").read_text(encoding="utf-8")
    auc, precision, filtered_auc, filtered_precision = (
        float(figure) for figure in re.findall(r"\| (0\.\d{3}) ", shipped)
    )
    card = model_card(Recipe(), Retrieval(auc, precision), Retrieval(filtered_auc, filtered_precision))
    assert card == shipped


def test_training_images_follow_the_seed() -> None:
    pixels, shown = draw_training_images(1, 3)
    assert (pixels.shape, pixels.dtype) == ((3, 3, IMAGE_SIZE, IMAGE_SIZE), torch.uint8)
    assert shown == [sample_content(random.Random(f"tiny/1/image/{number}")).concepts for number in range(3)]
    assert torch.equal(draw_training_images(1, 3)[0], pixels)
    assert not torch.equal(draw_training_images(2, 3)[0], pixels)


def test_augmented_pixels_stay_in_the_range_of_normalised_ones() -> None:
    torch.manual_seed(0)
    pixels = torch.randint(0, 256, (64, 3, 8, 8), dtype=torch.uint8)
    images = augment(pixels).numpy()
    assert images.dtype == np.float32
    assert -1.8 < images.min() < images.max() < 2.7
    # Half are mirrored: each correlates with its own image, or with that image mirrored.
    turned = 0
    for ours, theirs in zip(images, pixels.float().numpy(), strict=True):
        plain, mirrored = (np.corrcoef(ours.ravel(), each.ravel())[0, 1] for each in (theirs, theirs[..., ::-1]))
        assert max(plain, mirrored) > 0.8
        turned += mirrored > plain
    assert 16 < turned < 48


def test_the_corpus_holds_every_word_with_and_without_a_hash_sign() -> None:
    texts = corpus()
    for text in ("바다", "#바다", "바다여행", "ocean", "#ocean", "일상", "#일상"):
        assert text in texts
    assert "ocean여행" not in texts
    assert "일상여행" not in texts
