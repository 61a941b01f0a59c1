"""The built-in losses and their gradients against torch and scikit-learn."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import log_loss

from skmtl.losses import Hazards, Logistic, Softmax, SquaredError
from tests.losses._step import step

N_CLASSES = (3, 5, 4)
LOSSES = {
    "squared error": SquaredError(3),
    "logistic": Logistic(3),
    "even classes": Softmax([4, 4, 4]),
    "ragged classes": Softmax(N_CLASSES),
    "one class": Softmax([1, 1, 1]),
}


def draw(loss, *batch, seed=0):
    """Return raw outputs (*batch, width, task) and encoded targets (*batch, task)."""
    generator = torch.Generator().manual_seed(seed)
    raw = 2 * torch.randn(*batch, loss.width, 3, dtype=torch.float64, generator=generator)
    if isinstance(loss, SquaredError):
        return raw, torch.randn(*batch, 3, dtype=torch.float64, generator=generator)
    n_classes = torch.tensor(getattr(loss, "n_classes", (2, 2, 2)))
    return raw, (torch.rand(*batch, 3, dtype=torch.float64, generator=generator) * n_classes).floor()


def test_the_average_of_members_by_hand():
    raw = torch.tensor([1.0, 4.0], dtype=torch.float64).view(2, 1, 1, 1)
    assert SquaredError(1).average(raw).item() == pytest.approx(2.5)
    odds = torch.tensor([1.0, 3.0], dtype=torch.float64).log().view(2, 1, 1, 1)  # probabilities 1/2 and 3/4
    assert Logistic(1).average(odds).exp().item() == pytest.approx((5 / 8) / (3 / 8))
    counts = torch.tensor([[1.0, 1.0, 5.0], [1.0, 3.0, 5.0]], dtype=torch.float64).log().view(2, 1, 3, 1)
    average = Softmax([2]).average(counts[:, :, :2])  # 1/2, 1/2 and 1/4, 3/4
    torch.testing.assert_close(average.exp().flatten(), torch.tensor([3 / 8, 5 / 8], dtype=torch.float64))


def test_hazards_begin_at_their_base_rates():
    loss = Hazards(np.log([[0.2 / 0.7, 1.0], [0.1 / 0.7, 2.0]]))
    rates = torch.tensor([[0.7, 0.25], [0.2, 0.25], [0.1, 0.5]], dtype=torch.float64)
    torch.testing.assert_close(loss.probabilities(torch.zeros(1, 2, 2, dtype=torch.float64))[0], rates)


@pytest.mark.parametrize("loss", [Logistic(1), Softmax([2])])
def test_members_that_are_sure_lose_no_digit(loss):
    sure = torch.tensor([800.0, 900.0], dtype=torch.float32).view(2, 1, 1, 1)
    raw = sure if loss.width == 1 else torch.cat([torch.zeros_like(sure), sure], dim=-2)
    average = loss.average(raw).flatten()
    odds = average[0] if loss.width == 1 else average[1] - average[0]
    assert odds.item() == pytest.approx(800.0 + np.log(2.0), rel=1e-6)  # 1 - p is the mean of exp(-800) and exp(-900)


def test_squared_error_is_half_the_squared_error():
    raw, target = draw(SquaredError(3), 7)
    torch.testing.assert_close(SquaredError(3).loss(raw, target), 0.5 * (raw[:, 0] - target) ** 2)


def test_logistic_is_the_binary_cross_entropy():
    raw, target = draw(Logistic(3), 7)
    expected = F.binary_cross_entropy_with_logits(raw[:, 0], target, reduction="none")
    torch.testing.assert_close(Logistic(3).loss(raw, target), expected)


@pytest.mark.parametrize("name", ["even classes", "ragged classes"])
def test_softmax_is_the_cross_entropy_of_each_tasks_own_classes(name):
    loss = LOSSES[name]
    raw, target = draw(loss, 7)
    values = loss.loss(raw, target)
    for t, n in enumerate(loss.n_classes):
        torch.testing.assert_close(values[:, t], F.cross_entropy(raw[:, :n, t], target[:, t].long(), reduction="none"))


@pytest.mark.parametrize("name", ["logistic", "even classes", "ragged classes"])
def test_mean_loss_is_scikit_learns_log_loss(name):
    loss = LOSSES[name]
    raw, target = draw(loss, 50)
    for t, n in enumerate(getattr(loss, "n_classes", (2, 2, 2))):
        proba = loss.probabilities(raw)[:, :n, t].numpy()
        expected = log_loss(target[:, t].numpy(), proba, labels=np.arange(n))
        assert float(loss.loss(raw, target)[:, t].mean()) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["logistic", "even classes", "ragged classes", "one class"])
def test_probabilities_sum_to_one_and_decode_to_the_likeliest(name):
    loss = LOSSES[name]
    raw, _ = draw(loss, 20)
    proba = loss.probabilities(raw)
    torch.testing.assert_close(proba.sum(-2), torch.ones(20, 3, dtype=torch.float64))
    torch.testing.assert_close(proba.argmax(-2).double(), loss.decode(raw))


def test_classes_that_a_task_lacks_get_neither_probability_nor_gradient():
    loss = LOSSES["ragged classes"]
    raw, target = draw(loss, 1, 20)
    raw[:, :, 3:, 0] = 50.0
    assert (loss.decode(raw)[..., 0] < 3).all()
    assert (loss.probabilities(raw)[:, :, 3:, 0] == 0).all()
    _, gradient = step(loss, raw, target)
    assert (gradient[:, :, 3:, 0] == 0).all()


@pytest.mark.parametrize("name", ["logistic", "even classes", "ragged classes"])
@pytest.mark.parametrize("size", [1e3, -1e3])
def test_extreme_outputs_stay_finite(name, size):
    raw, target = draw(LOSSES[name], 1, 5)
    losses, gradient = step(LOSSES[name], raw * size, target)
    assert torch.isfinite(losses).all()
    assert torch.isfinite(gradient).all()


def test_one_class_costs_nothing():
    raw, target = draw(LOSSES["one class"], 1, 5)
    losses, gradient = step(LOSSES["one class"], raw, target)
    assert not losses.any()
    assert not gradient.any()
