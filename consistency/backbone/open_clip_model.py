"""A dual encoder of open_clip: CLIP, SigLIP, CoCa, and text towers such as NLLB and XLM-RoBERTa."""

import logging
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from consistency.backbone.base import DTYPES, Backbone, unit
from consistency.backbone.loading import check_finite
from consistency.backbone.open_clip_folder import CONFIG, model_config
from consistency.backbone.quiet import quiet
from consistency.backbone.resolve import ResolvedBackbone
from consistency.errors import BackboneError, is_out_of_memory, one_line

PRECISIONS = {"fp32": "fp32", "bf16": "pure_bf16", "fp16": "pure_fp16"}  # open_clip's names
# NLLB's codes of languages by script.
KOREAN, JAPANESE = "kor_Hang", "jpn_Jpan"
LANGUAGES = {"HANGUL": KOREAN, "HIRAGANA": JAPANESE, "KATAKANA": JAPANESE, "CJK": "zho_Hans", "LATIN": "eng_Latn"}


class OpenClipBackbone(Backbone):
    """A dual encoder whose embeddings equal those of open_clip's `encode_image` and `encode_text`, with unit norm."""

    def __init__(self, resolved: ResolvedBackbone, device: str, precision: str, decode: str) -> None:
        super().__init__(resolved, device, precision, decode)
        with _loading(resolved):
            from open_clip import factory, transform

            place = f"local-dir:{resolved.folder}"
            text = dict(model_config(resolved.folder)["text_cfg"])
            if resolved.text_tower is not None:
                # Otherwise open_clip would ask the hub for the configuration, and for weights that are replaced anyway.
                text |= {"hf_model_name": str(resolved.text_tower), "hf_model_pretrained": False}
            self.model = factory.create_model(
                place, precision=PRECISIONS[precision], load_weights=False, pretrained_text=False, text_cfg=text
            )
            # The file is passed in, so that open_clip loads exactly the one that was resolved and hashed.
            factory.load_checkpoint(self.model, str(resolved.weights[0]))
            self._transform = transform.image_transform_v2(
                transform.PreprocessCfg(**self.model.visual.preprocess_cfg), is_train=False
            )
            self._tokenizer = factory.get_tokenizer(place)
        check_finite(self.model, resolved.weights[0])
        self.model.eval().to(device)
        self._dtype = DTYPES[precision]
        self.text_length = self._tokenizer.context_length
        # Text towers of transformers mask their padding, so that it can be left out; open_clip's own need all of it.
        own = getattr(self._tokenizer, "tokenizer", None)
        self._padding = own.pad_token_id if own is not None and resolved.text_tower is not None else None
        self._by_language = callable(getattr(own, "set_src_lang_special_tokens", None))
        try:
            self.embed_dim = self.encode_texts(["a"]).shape[1]
        except IndexError as error:
            raise BackboneError(
                f"{resolved.folder} has the tokenizer of another model: its ids exceed the vocabulary"
            ) from error

    def _shape(self) -> tuple[int, int, int]:
        images = self.model.visual
        texts = getattr(self.model, "text", None) or self.model.transformer
        embedding = getattr(getattr(images, "trunk", None), "patch_embed", None)
        sides = np.broadcast_to(images.image_size, 2) // np.broadcast_to(getattr(images, "patch_size", 32), 2)
        return int(getattr(embedding, "num_patches", sides.prod())) + 1, _widest(images), _widest(texts)

    def _prepare(self, image: Image.Image) -> npt.NDArray[np.float32]:
        return self._transform(image).numpy()

    def token_ids(self, texts: Iterable[str]) -> list[list[int]]:
        """Tokenize texts as open_clip does, each in its own language if the tokenizer distinguishes these (NLLB)."""
        ids = self._ids(list(texts), self.text_length)
        if self._padding is None:
            return ids
        return [row[: max((at for at, each in enumerate(row, 1) if each != self._padding), default=1)] for row in ids]

    def truncated(self, texts: Iterable[str]) -> list[str]:
        texts = list(texts)
        pairs = zip(self._ids(texts, self.text_length), self._ids(texts, self.text_length + 1), strict=True)
        return [text for text, (ids, more) in zip(texts, pairs, strict=True) if more[:-1] != ids]

    def _ids(self, texts: list[str], length: int) -> list[list[int]]:
        if not self._by_language:
            return self._tokenizer(texts, context_length=length).tolist() if texts else []
        rows: dict[int, list[int]] = {}
        for language in set(map(language_of, texts)):
            places = [at for at, text in enumerate(texts) if language_of(text) == language]
            self._tokenizer.set_language(language)
            ids = self._tokenizer([texts[at] for at in places], context_length=length).tolist()
            rows.update(zip(places, ids, strict=True))
        return [rows[at] for at in range(len(texts))]

    def text_batch(self, ids: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        length = max(map(len, ids))
        padding = 0 if self._padding is None else self._padding
        rows = [[*row, *[padding] * (length - len(row))] for row in ids]
        tokens = torch.tensor(rows, device=self.device)
        return tokens, torch.ones_like(tokens)  # open_clip makes the mask itself

    def image_embeds(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return unit(self.model.encode_image(pixel_values.to(self._dtype)))

    def text_embeds(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return unit(self.model.encode_text(input_ids))


def language_of(text: str) -> str:
    """NLLB's code of the language of a text, by script: Korean or Japanese if one letter is, Korean if none tells."""
    scripts = [unicodedata.name(letter, "").partition(" ")[0] for letter in unicodedata.normalize("NFKC", text)]
    found = [LANGUAGES[script] for script in scripts if script in LANGUAGES]
    return next((language for language in (KOREAN, JAPANESE) if language in found), next(iter(found), KOREAN))


def _widest(tower: torch.nn.Module) -> int:
    return max((layer.out_features for layer in tower.modules() if isinstance(layer, torch.nn.Linear)), default=4096)


@contextmanager
def _loading(resolved: ResolvedBackbone) -> Iterator[None]:
    """Turn open_clip's errors into one line, and keep its log lines to itself; it writes them to the root logger."""
    root = logging.getLogger()
    handlers = list(root.handlers)
    try:
        with quiet(""), quiet("transformers"):
            yield
    except ImportError as error:
        raise BackboneError(
            f"{resolved.folder} is a model of open_clip, which is not installed ({one_line(error)[:120]}): "
            "pip install 'koclip-consistency[openclip]'"
        ) from error
    except Exception as error:  # open_clip raises many kinds of errors for unreadable files
        if is_out_of_memory(error):
            raise
        said = one_line(error)[:200]
        if "torchvision" in said:
            raise BackboneError(
                f"open_clip cannot be imported, since torchvision does not fit torch {torch.__version__} ({said}): "
                "install the torchvision that belongs to it, from where torch was installed"
            ) from error
        raise BackboneError(
            f"{resolved.weights[0]} cannot be loaded as {resolved.folder / CONFIG} describes it: {said}"
        ) from error
    finally:
        root.handlers[:] = handlers
