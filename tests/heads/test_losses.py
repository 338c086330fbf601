"""The losses, against closed forms and other implementations."""

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance
from torch.nn import functional as F

from heads.losses import (
    OUTPUTS,
    constant_bias,
    log_probabilities,
    loss,
    loss_terms,
    output_bias,
    row_losses,
    soft_loss_terms,
)

LABELS = torch.tensor([0, 1, 2, 3, 4, 4, 2, 0])


def outputs(name, *, heads=(), seed=0, scale=2.0):
    """Any outputs the loss can meet: those of cumulative-link fall from one to the next."""
    generator = torch.Generator().manual_seed(seed)
    rows, biases = OUTPUTS[name]
    scores = scale * torch.randn(*heads, len(LABELS), rows, generator=generator, dtype=torch.float64)
    bias = torch.randn(*heads, 1, biases, generator=generator, dtype=torch.float64)
    return scores + output_bias(name, bias)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_cross_entropy_is_torchs():
    x = outputs("cross-entropy")
    weights = torch.tensor([2.0, 0.5, 1.0, 3.0, 0.1], dtype=torch.float64)
    torch.testing.assert_close(loss("cross-entropy", x, LABELS, weights), F.cross_entropy(x, LABELS, weights))


def test_corn_is_the_mean_over_conditional_tasks():
    x = outputs("corn")
    total, count = 0.0, 0
    for task in range(4):  # task k asks y > k of the rows with y > k - 1
        takes_part = task - 1 < LABELS
        target = (LABELS[takes_part] > task).double()
        total += F.binary_cross_entropy_with_logits(x[takes_part, task], target, reduction="sum")
        count += int(takes_part.sum())
    ones = torch.ones(5, dtype=torch.float64)
    torch.testing.assert_close(loss("corn", x, LABELS, ones), total / count)
    reached = np.cumprod(sigmoid(x.numpy()), axis=1)  # P(y > k) is a product of conditionals
    padded = np.hstack([np.ones((8, 1)), reached, np.zeros((8, 1))])
    np.testing.assert_allclose(log_probabilities("corn", x).exp().numpy(), padded[:, :-1] - padded[:, 1:], atol=1e-12)


def test_cumulative_link_is_the_difference_of_sigmoids():
    x = outputs("cumulative-link")
    above = np.hstack([np.ones((8, 1)), sigmoid(x.numpy()), np.zeros((8, 1))])
    expected = above[:, :-1] - above[:, 1:]
    np.testing.assert_allclose(log_probabilities("cumulative-link", x).exp().numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(
        row_losses("cumulative-link", x, LABELS).numpy(), -np.log(expected[np.arange(8), LABELS]), atol=1e-12
    )


@pytest.mark.parametrize("name", ["cross-entropy", "corn", "cumulative-link", "regression"])
def test_the_constant_bias_is_the_best_answer_without_features(name):
    observed = np.bincount(LABELS, minlength=5) / len(LABELS)
    frequencies = torch.tensor(np.array([observed, [0.3, 0.1, 0.2, 0.1, 0.3]]))
    bias = constant_bias(name, frequencies).requires_grad_()
    for x, p in zip(output_bias(name, bias), frequencies, strict=True):
        weights = p / torch.tensor(observed)
        value = loss(name, x.expand(len(LABELS), -1), LABELS, weights)
        (gradient,) = torch.autograd.grad(value, bias, retain_graph=True)
        np.testing.assert_allclose(gradient.numpy(), 0, atol=1e-12)
        if name in ("cross-entropy", "cumulative-link"):  # then the loss is the entropy
            assert value.item() == pytest.approx(-float((p * p.log()).sum()))


def test_sord_is_the_cross_entropy_against_soft_labels():
    x = outputs("sord")
    soft = np.exp(-(np.subtract.outer(LABELS.numpy(), np.arange(5)) ** 2.0))
    soft /= soft.sum(axis=1, keepdims=True)
    torch.testing.assert_close(row_losses("sord", x, LABELS), F.cross_entropy(x, torch.tensor(soft), reduction="none"))


def test_emd_is_squared_and_agrees_with_the_wasserstein_distance_between_two_classes():
    x = outputs("emd")
    cumulated = np.cumsum(log_probabilities("emd", x).exp().numpy(), axis=1)
    steps = np.arange(5) >= LABELS.numpy()[:, None]
    np.testing.assert_allclose(row_losses("emd", x, LABELS).numpy(), ((cumulated - steps) ** 2).sum(axis=1))
    certain = torch.full((1, 5), -200.0, dtype=torch.float64)
    certain[0, 1] = 200  # all mass on class 1: every cumulative difference is 0 or 1, its square is itself
    assert row_losses("emd", certain, torch.tensor([4])).item() == pytest.approx(wasserstein_distance([1], [4]))


def test_regression_is_squared_error_and_answers_with_the_nearest_class():
    x = torch.tensor([[-3.0], [0.2], [1.4], [1.6], [9.0]])
    labels = torch.tensor([0, 0, 2, 2, 4])
    torch.testing.assert_close(row_losses("regression", x, labels), (x[:, 0] - labels) ** 2)
    grid = torch.linspace(-2, 6, 801, dtype=torch.float64)[:, None] + 1e-6
    nearest = grid[:, 0].round().clamp(0, 4).long()
    p = log_probabilities("regression", grid).exp()
    assert torch.equal(p.argmax(-1), nearest)
    assert (torch.diff(p @ torch.arange(5.0, dtype=torch.float64)) > 0).all()


@pytest.mark.parametrize("name", OUTPUTS)
def test_heads_in_front_are_independent_and_weights_count_rows(name):
    x = outputs(name, heads=(3,))
    weights = torch.rand(3, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 0.1
    together = loss(name, x, LABELS, weights)
    for head in range(3):
        torch.testing.assert_close(together[head], loss(name, x[head], LABELS, weights[head]))
    # A row of weight 2 counts as two rows.
    twice = torch.tensor([1.0, 1, 2, 1, 1], dtype=torch.float64)
    repeated = torch.cat([LABELS, LABELS[LABELS == 2]])
    more = torch.cat([x[0], x[0][LABELS == 2]])
    torch.testing.assert_close(
        loss(name, x[0], LABELS, twice), loss(name, more, repeated, torch.ones(5, dtype=torch.float64))
    )


@pytest.mark.parametrize("name", OUTPUTS)
def test_gradients_are_right_and_finite_far_out(name):
    x = outputs(name).requires_grad_()
    ones = torch.ones(5, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: loss(name, x, LABELS, ones), x)
    far = (1e4 * outputs(name, scale=1)).float().requires_grad_()
    value = loss(name, far, LABELS, ones.float())
    (gradient,) = torch.autograd.grad(value, far)
    assert torch.isfinite(value)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("name", OUTPUTS)
def test_probabilities_sum_to_one(name):
    p = log_probabilities(name, outputs(name, heads=(2, 3), scale=30)).exp()
    assert p.shape == (2, 3, len(LABELS), 5)
    torch.testing.assert_close(p.sum(-1), torch.ones(2, 3, len(LABELS), dtype=torch.float64))


def test_an_unknown_name_is_named():
    with pytest.raises(ValueError, match="unknown loss 'hinge'"):
        loss("hinge", torch.zeros(1, 5), torch.tensor([0]), torch.ones(5))


@pytest.mark.parametrize("name", OUTPUTS)
def test_soft_labels_are_the_mean_over_the_people_who_gave_them(name):
    scored = torch.tensor([[0, 0, 3], [4, 2, 2], [1, 1, 1]])
    out, weights = outputs(name)[:3], torch.tensor([1.0, 2.0, 0.5, 1.0, 3.0], dtype=torch.float64)
    shares = torch.nn.functional.one_hot(scored, 5).float().mean(1)
    found = [float(part) for part in soft_loss_terms(name, out, shares, weights)]
    apart = [[float(part) for part in loss_terms(name, out, labels, weights)] for labels in scored.T]
    assert found == pytest.approx(np.mean(apart, axis=0), rel=1e-5)
    hard = torch.nn.functional.one_hot(scored[:, 0], 5).float()
    half = torch.tensor([1.0, 0.0, 1.0])
    only = [float(part) for part in soft_loss_terms(name, out, hard, weights, half)]
    assert only == pytest.approx([float(part) for part in loss_terms(name, out, scored[:, 0], weights, half)], rel=1e-5)
