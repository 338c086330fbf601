"""Products by oneDNN: what MKL computes up to rounding, with its gradients, and on AMD's processors alone."""

from collections.abc import Iterator
from copy import deepcopy

import pytest
import torch
from torch import nn

from consistency.backbone import products
from consistency.backbone.products import mkl_is_slow, multiply, train_quickly

ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


@pytest.fixture(params=["AMD EPYC", "Intel(R) Xeon(R)"])
def slow(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[bool]:
    """Each kind of processor, and whether MKL is slow there; 8 weights and 64 multiplications are large."""
    monkeypatch.setattr(products, "LARGE_LAYER", 8)
    monkeypatch.setattr(products, "LARGE_PRODUCT", 64)
    mkl_is_slow.cache_clear()
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"cpu_name": request.param}, raising=False)
    yield request.param.startswith("AMD") and ONEDNN
    mkl_is_slow.cache_clear()


def test_what_is_small_is_left_to_mkl(slow: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4))
    train_quickly(network)
    assert ["forward" in vars(layer) for layer in network] == [False, slow]
    asked: list[int] = []
    monkeypatch.setattr(products, "_by_onednn", lambda a, b: asked.append(len(a)))
    for rows in (3, 4):
        multiply(torch.ones(rows, 4), torch.ones(4, 4))
    assert asked == [4]


def test_only_amd_is_slow(slow: bool) -> None:
    assert mkl_is_slow() == slow


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(5, 7, 3), (64, 128, 32), (1, 1, 1), (0, 4, 3), (4, 0, 3)])
def test_products_are_torchs(slow: bool, shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    m, k, n = shape
    a, b = torch.randn(m, k, dtype=dtype), torch.randn(k, n, dtype=dtype)
    out = torch.empty(m, n, dtype=dtype)
    for left, right in ((a, b), (a.T.contiguous().T, b.T.contiguous().T)):
        torch.testing.assert_close(multiply(left, right), left @ right, rtol=1e-5, atol=1e-5)
        assert multiply(left, right, out=out) is out
        torch.testing.assert_close(out, left @ right, rtol=1e-5, atol=1e-5)


def test_elsewhere_products_are_torchs_to_the_bit(slow: bool) -> None:
    if slow:
        pytest.skip("this is for processors whose MKL is quick")
    a, b = torch.randn(33, 65), torch.randn(65, 17)
    assert torch.equal(multiply(a, b), torch.mm(a, b))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("leading", [(6,), (2, 3), (2, 3, 4)])
def test_layers_train_as_torchs_do(slow: bool, bias: bool, leading: tuple[int, ...]) -> None:
    """Outputs, and gradients of inputs, weights and biases, also where some are not wanted."""
    model = nn.Sequential(nn.Linear(8, 16, bias=bias), nn.GELU(), nn.Linear(16, 4, bias=bias))
    quick = deepcopy(model)
    train_quickly(quick)
    assert list(quick.state_dict()) == list(model.state_dict())
    assert ("forward" in vars(quick[0])) == slow
    inputs, weights = torch.randn(*leading, 8), torch.randn(*leading, 4)
    for frozen in (False, True):
        for network in (model, quick):
            network[0].weight.requires_grad_(not frozen)
            network.zero_grad()
        given = [inputs.clone().requires_grad_(not frozen) for _ in range(2)]
        outputs = [network(x) for network, x in zip((model, quick), given, strict=True)]
        torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-5, atol=1e-6)
        for output in outputs:
            (output * weights).sum().backward()
        pairs = [(p.grad, q.grad) for p, q in zip(model.parameters(), quick.parameters(), strict=True)]
        for expected, found in [*pairs, (given[0].grad, given[1].grad)]:
            assert (expected is None) == (found is None)
            if expected is not None:
                torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_a_copy_of_a_layer_uses_its_own_weights(slow: bool) -> None:
    layer = nn.Linear(4, 2)
    train_quickly(layer)
    copy = deepcopy(layer)
    with torch.no_grad():
        copy.weight.zero_()
        assert torch.equal(copy(torch.randn(4, 4)), copy.bias.expand(4, 2))


def test_other_types_go_torchs_way(slow: bool) -> None:
    layer = nn.Linear(4, 2).double()
    train_quickly(layer)
    x = torch.randn(4, 4, dtype=torch.float64)
    assert torch.equal(layer(x), nn.functional.linear(x, layer.weight, layer.bias))
