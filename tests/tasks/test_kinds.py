"""Losses and gradients of the task kinds against torch and scikit-learn."""

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import log_loss

from skmtl.tasks import Binary, Multiclass, Regression, Task

N_CLASSES = (3, 5, 4)
KINDS = {
    "regression": Regression(3),
    "binary": Binary(3),
    "even classes": Multiclass([4, 4, 4]),
    "ragged classes": Multiclass(N_CLASSES),
    "one class": Multiclass([1, 1, 1]),
}
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def draw(kind, *batch, seed=0):
    """Return raw outputs (*batch, width, task) and encoded targets (*batch, task)."""
    generator = torch.Generator().manual_seed(seed)
    raw = 2 * torch.randn(*batch, kind.width, 3, dtype=torch.float64, generator=generator)
    if isinstance(kind, Regression):
        return raw, torch.randn(*batch, 3, dtype=torch.float64, generator=generator)
    n_classes = torch.tensor(getattr(kind, "n_classes", (2, 2, 2)))
    return raw, (torch.rand(*batch, 3, dtype=torch.float64, generator=generator) * n_classes).floor()


def step(method, raw, target, coefficient=None):
    """Return the weighted losses (member, task) and their gradient by raw outputs (member, batch, width, task)."""
    coefficient = raw.new_tensor(1.0) if coefficient is None else coefficient
    losses = raw.new_empty(len(raw), raw.shape[-1])
    gradient = raw.flatten(-2).clone()
    method(gradient, target, coefficient, losses, (torch.empty_like(gradient), torch.empty_like(gradient)))
    return losses, gradient.unflatten(-1, raw.shape[-2:])


@every_kind
@pytest.mark.parametrize("per_label", [True, False])
def test_weighted_losses_and_their_gradient_are_autograds(kind, per_label):
    raw, target = draw(kind, 2, 7)
    coefficient = torch.rand(7, 3, dtype=torch.float64) if per_label else torch.tensor(0.3, dtype=torch.float64)
    leaf = raw.clone().requires_grad_()
    expected = (kind.loss(leaf, target) * coefficient).sum(-2)
    (expected_gradient,) = torch.autograd.grad(expected.sum(), leaf)
    for method in (kind.weighted_losses, partial(Task.weighted_losses, kind)):
        losses, gradient = step(method, raw, target, coefficient)
        torch.testing.assert_close(losses, expected.detach())
        torch.testing.assert_close(gradient, expected_gradient)


@every_kind
def test_loss_passes_gradcheck(kind):
    raw, target = draw(kind, 4)
    assert torch.autograd.gradcheck(lambda raw: kind.loss(raw, target), raw.requires_grad_())


@every_kind
def test_members_that_read_the_same_targets(kind):
    raw, target = draw(kind, 2, 7)
    losses, gradient = step(kind.weighted_losses, raw, target[0])
    for member in range(2):
        expected_loss, expected = step(partial(Task.weighted_losses, kind), raw[member : member + 1], target[0])
        torch.testing.assert_close(losses[member], expected_loss[0])
        torch.testing.assert_close(gradient[member], expected[0])


def test_the_average_of_members_by_hand():
    raw = torch.tensor([1.0, 4.0], dtype=torch.float64).view(2, 1, 1, 1)
    assert Regression(1).average(raw).item() == pytest.approx(2.5)
    odds = torch.tensor([1.0, 3.0], dtype=torch.float64).log().view(2, 1, 1, 1)  # probabilities 1/2 and 3/4
    assert Binary(1).average(odds).exp().item() == pytest.approx((5 / 8) / (3 / 8))
    counts = torch.tensor([[1.0, 1.0, 5.0], [1.0, 3.0, 5.0]], dtype=torch.float64).log().view(2, 1, 3, 1)
    average = Multiclass([2]).average(counts[:, :, :2])  # 1/2, 1/2 and 1/4, 3/4
    torch.testing.assert_close(average.exp().flatten(), torch.tensor([3 / 8, 5 / 8], dtype=torch.float64))


@every_kind
def test_the_average_says_the_mean_of_what_members_say(kind):
    raw, _ = draw(kind, 4, 7)  # four members
    say = kind.decode if isinstance(kind, Regression) else kind.probabilities
    torch.testing.assert_close(say(kind.average(raw)), say(raw).mean(0))
    torch.testing.assert_close(say(kind.average(raw[:1])), say(raw[0]))


@pytest.mark.parametrize("kind", [Binary(1), Multiclass([2])])
def test_members_that_are_sure_lose_no_digit(kind):
    sure = torch.tensor([800.0, 900.0], dtype=torch.float32).view(2, 1, 1, 1)
    raw = sure if kind.width == 1 else torch.cat([torch.zeros_like(sure), sure], dim=-2)
    average = kind.average(raw).flatten()
    odds = average[0] if kind.width == 1 else average[1] - average[0]
    assert odds.item() == pytest.approx(800.0 + np.log(2.0), rel=1e-6)  # 1 - p is the mean of exp(-800) and exp(-900)


def test_regression_is_half_the_squared_error():
    raw, target = draw(Regression(3), 7)
    torch.testing.assert_close(Regression(3).loss(raw, target), 0.5 * (raw[:, 0] - target) ** 2)


def test_binary_is_the_logistic_loss():
    raw, target = draw(Binary(3), 7)
    expected = F.binary_cross_entropy_with_logits(raw[:, 0], target, reduction="none")
    torch.testing.assert_close(Binary(3).loss(raw, target), expected)


@pytest.mark.parametrize("name", ["even classes", "ragged classes"])
def test_multiclass_is_the_cross_entropy_of_each_tasks_own_classes(name):
    kind = KINDS[name]
    raw, target = draw(kind, 7)
    loss = kind.loss(raw, target)
    for t, n in enumerate(kind.n_classes):
        torch.testing.assert_close(loss[:, t], F.cross_entropy(raw[:, :n, t], target[:, t].long(), reduction="none"))


@pytest.mark.parametrize("name", ["binary", "even classes", "ragged classes"])
def test_mean_loss_is_scikit_learns_log_loss(name):
    kind = KINDS[name]
    raw, target = draw(kind, 50)
    for t, n in enumerate(getattr(kind, "n_classes", (2, 2, 2))):
        proba = kind.probabilities(raw)[:, :n, t].numpy()
        expected = log_loss(target[:, t].numpy(), proba, labels=np.arange(n))
        assert float(kind.loss(raw, target)[:, t].mean()) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["binary", "even classes", "ragged classes", "one class"])
def test_probabilities_sum_to_one_and_decode_to_the_likeliest(name):
    kind = KINDS[name]
    raw, _ = draw(kind, 20)
    proba = kind.probabilities(raw)
    torch.testing.assert_close(proba.sum(-2), torch.ones(20, 3, dtype=torch.float64))
    torch.testing.assert_close(proba.argmax(-2).double(), kind.decode(raw))


def test_classes_that_a_task_lacks_get_neither_probability_nor_gradient():
    kind = KINDS["ragged classes"]
    raw, target = draw(kind, 1, 20)
    raw[:, :, 3:, 0] = 50.0
    assert (kind.decode(raw)[..., 0] < 3).all()
    assert (kind.probabilities(raw)[:, :, 3:, 0] == 0).all()
    _, gradient = step(kind.weighted_losses, raw, target)
    assert (gradient[:, :, 3:, 0] == 0).all()


@pytest.mark.parametrize("name", ["binary", "even classes", "ragged classes"])
@pytest.mark.parametrize("size", [1e3, -1e3])
def test_extreme_outputs_stay_finite(name, size):
    raw, target = draw(KINDS[name], 1, 5)
    losses, gradient = step(KINDS[name].weighted_losses, raw * size, target)
    assert torch.isfinite(losses).all()
    assert torch.isfinite(gradient).all()


def test_one_class_costs_nothing():
    raw, target = draw(KINDS["one class"], 1, 5)
    losses, gradient = step(KINDS["one class"].weighted_losses, raw, target)
    assert not losses.any()
    assert not gradient.any()
