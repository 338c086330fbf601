"""Masks of dropout that follow the row: the same for any division of rows, and as random as torch's."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from consistency.backbone.model import Backbone, load_backbone
from consistency.backbone.resolve import resolve_backbone
from finetune.classifier import checkpointed
from finetune.row_dropout import RowDropout, checkpointing_contexts
from tests.builders.models import make_other_folder

TEXTS = ["바다", "a much longer hashtag", "여행 사진", "봄"]


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_masks_are_as_random_as_torchs(p: float) -> None:
    with RowDropout(7, np.arange(2000)) as draws:
        one, other = F.dropout(torch.ones(2000, 50), p), nn.Dropout(p)(torch.ones(2000, 50))
    with RowDropout(8, np.arange(2000)):
        reseeded = F.dropout(torch.ones(2000, 50), p)
    assert draws.calls == 2
    torch.testing.assert_close(one.unique(), torch.tensor([0, 1 / (1 - p)]))
    dropped = (one == 0).double()
    assert dropped.mean() == pytest.approx(p, abs=0.005)
    # The counts of each row and column are binomial: their variance is that of independent draws.
    assert float(dropped.sum(1).var()) == pytest.approx(50 * p * (1 - p), rel=0.15)
    assert float(dropped.sum(0).var()) == pytest.approx(2000 * p * (1 - p), rel=0.6)
    for second in (other, reseeded):  # another call, and another seed
        assert ((one == 0) == (second == 0)).double().mean() == pytest.approx(p**2 + (1 - p) ** 2, abs=0.01)


def test_none_is_dropped_outside_training_and_all_at_one() -> None:
    values = torch.ones(3, 4)
    with RowDropout(1, np.arange(3)):
        assert torch.equal(F.dropout(values, 0.5, training=False), values)
        assert torch.equal(nn.Dropout(0.5).eval()(values), values)
        assert torch.equal(F.dropout(values, 1.0), torch.zeros(3, 4))


def test_a_row_meets_the_same_masks_in_any_batch_and_with_any_padding() -> None:
    rows = np.array([4, 9, 2])
    with RowDropout(3, rows):
        whole = F.dropout(torch.ones(3, 2, 5, 5), 0.4)
    with RowDropout(3, rows[[2, 0]]):
        part = F.dropout(torch.ones(2, 2, 7, 7), 0.4)
    assert torch.equal(part[:, :, :5, :5], whole[[2, 0]])


@pytest.mark.parametrize("form", ["plain", "causal", "bool", "added"])
def test_attention_is_torchs_own_with_a_mask_of_ours(form: str) -> None:
    query, key, value = torch.randn(3, 4, 2, 6, 8, generator=torch.Generator().manual_seed(0)).unbind()
    shown = torch.tensor([True, True, False, True, True, False]).expand(6, 6)
    masks = {"bool": shown, "added": torch.zeros(6, 6).masked_fill(~shown, -torch.inf)}
    options = {"is_causal": form == "causal", "attn_mask": masks.get(form)}
    without = F.scaled_dot_product_attention(query, key, value, **options)
    with RowDropout(3, np.arange(4)) as draws:
        # So few are dropped that none is: what remains is attention itself.
        torch.testing.assert_close(
            F.scaled_dot_product_attention(query, key, value, dropout_p=1e-9, **options), without
        )
        assert draws.calls == 1
        dropped = F.scaled_dot_product_attention(query, key, value, dropout_p=0.5, **options)
    assert not torch.allclose(dropped, without, atol=0.05)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    folder = make_other_folder(tmp_path_factory.mktemp("roberta") / "model", "roberta")
    backbone = load_backbone(resolve_backbone(str(folder)), device="cpu", precision="fp32", trainable=True)
    config = backbone.model.config.text_config
    assert config.hidden_dropout_prob == config.attention_probs_dropout_prob == 0.1
    return backbone


def gradient(backbone: Backbone, parts: list[list[int]], *, keyed: bool = True) -> list[torch.Tensor]:
    """The gradient of the sum of all entries, whose texts are encoded in these parts."""
    model = backbone.model.train()
    model.zero_grad()
    torch.manual_seed(1)
    ids = backbone.token_ids(TEXTS)
    for part in parts:
        batch = backbone.text_batch([ids[number] for number in part])
        with RowDropout(5, np.array(part)) if keyed else nullcontext():
            vectors = backbone.text_embeds(*batch)
        (vectors * torch.arange(vectors.shape[1])).sum().backward()
    return [p.grad.clone() for p in model.text_model.parameters() if p.grad is not None]


def far(one: list[torch.Tensor], other: list[torch.Tensor]) -> float:
    return max(float((a - b).abs().max() / (1e-3 + b.abs().max())) for a, b in zip(one, other, strict=True))


def test_gradients_of_a_real_tower_do_not_depend_on_how_rows_are_divided(backbone: Backbone) -> None:
    whole = gradient(backbone, [[0, 1, 2, 3]])
    divided = [[0, 1], [2, 3]], [[3], [1, 2], [0]]
    for parts in divided:
        assert far(gradient(backbone, parts), whole) < 1e-3
    # The test can fail: torch's own masks do depend on it.
    plain = gradient(backbone, [[0, 1, 2, 3]], keyed=False)
    assert far(gradient(backbone, divided[0], keyed=False), plain) > 0.1
    for tower in checkpointed(backbone.model):
        tower.activation_checkpointing_enable({"use_reentrant": False, "context_fn": checkpointing_contexts})
    for parts in divided:
        assert far(gradient(backbone, parts), whole) < 1e-3
