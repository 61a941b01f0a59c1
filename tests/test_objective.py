"""Weighted means by hand; gradients by autograd."""

import numpy as np
import pytest
import torch

from skmtl._objective import Objective
from skmtl._weights import label_shares
from skmtl.losses import CumulativeLogit, Hazards, Logistic, Normal, Poisson, Quantiles, Softmax, SquaredError
from skmtl.tasks import classification_layout, make_layout, regression_layout


def draw(layout, n_members=2, n_rows=6, seed=0):
    """Return raw outputs, targets that every kind understands, and coefficients with zeros; double precision."""
    generator = torch.Generator().manual_seed(seed)
    raw = torch.randn(n_members, n_rows, layout.n_outputs, dtype=torch.float64, generator=generator)
    target = (torch.rand(n_rows, layout.n_tasks, dtype=torch.float64, generator=generator) * 1.99).floor()
    weight = torch.rand(n_rows, layout.n_tasks, dtype=torch.float64, generator=generator)
    return raw, target, shares(weight * (weight > 0.3))


def shares(weight):
    return torch.from_numpy(label_shares(weight.double().numpy())).to(weight)


LAYOUTS = {
    "regression": regression_layout(3),
    "binary": classification_layout((2, 2, 2)),
    "one kind, ragged": classification_layout((3, 4, 3)),
    "several kinds": classification_layout((5, 2, 3, 2, 9)),
    "one by autograd": make_layout([[SquaredError(1)], [Softmax([3], 0.1)], [Logistic(1)], [Normal(1)]]),
    "all by steps": make_layout(
        [[CumulativeLogit([3])], [Hazards([[-1.0], [0.0]])], [Quantiles([0.1, 0.5, 0.8])], [Normal(1)], [Poisson(1)]]
    ),
}
every_layout = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)


def gradient_of(objective, raw, target, weight, task_weights=None, batch_last=True):
    """Return losses and gradient of the hand-written pass."""
    losses = raw.new_empty(len(raw), target.shape[-1])
    gradient = raw.mT.contiguous().mT if batch_last else raw.clone()
    objective.bind(gradient)(target, weight, losses, lambda _: task_weights)
    return losses, gradient


def test_losses_are_means_over_observed_labels():
    """Half squared errors 2 and 8, the last label missing; 4.5 of weight 3 and 0.5, the middle label missing."""
    raw = torch.tensor([[[2.0, 3.0], [4.0, 0.0], [1.0, 1.0]]])
    weight = torch.tensor([[1.0, 3.0], [1.0, 0.0], [0.0, 1.0]])
    losses = Objective(regression_layout(2))(raw, torch.zeros(3, 2), shares(weight))
    torch.testing.assert_close(losses, torch.tensor([[(2 + 8) / 2, (3 * 4.5 + 0.5) / 4]]))


def test_gradient_by_hand():
    raw = torch.tensor([[[2.0], [4.0], [1.0]]])
    weight = torch.tensor([[1.0], [3.0], [0.0]])
    _, gradient = gradient_of(Objective(regression_layout(1)), raw, torch.zeros(3, 1), shares(weight))
    torch.testing.assert_close(gradient, torch.tensor([[[2.0 / 4], [3 * 4.0 / 4], [0.0]]]))


@every_layout
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("with_task_weights", [True, False])
def test_gradient_is_autograds(layout, weighted, with_task_weights):
    raw, target, weight = draw(layout)
    weight = weight if weighted else torch.tensor(1 / 6, dtype=torch.float64)
    task_weights = torch.rand(2, layout.n_tasks, dtype=torch.float64) if with_task_weights else None
    objective, leaf = Objective(layout), raw.clone().requires_grad_()
    expected = objective(leaf, target, weight)
    total = expected.sum() if task_weights is None else (expected * task_weights).sum()
    (by_raw,) = torch.autograd.grad(total, leaf)
    for batch_last in (False, True):
        losses, gradient = gradient_of(objective, raw, target, weight, task_weights, batch_last)
        torch.testing.assert_close(losses, expected.detach())
        torch.testing.assert_close(gradient, by_raw)


@every_layout
def test_targets_of_each_members_own(layout):
    raw, target, weight = draw(layout)
    objective = Objective(layout)
    targets, weights = torch.stack([target, target.flip(0)]), torch.stack([weight, weight.flip(0)])
    losses, gradient = gradient_of(objective, raw, targets, weights)
    for k in range(2):
        alone, alone_gradient = gradient_of(objective, raw[k : k + 1], targets[k], weights[k])
        torch.testing.assert_close(losses[k : k + 1], alone)
        torch.testing.assert_close(gradient[k : k + 1], alone_gradient)


@every_layout
def test_a_task_without_a_label_in_the_batch_gives_zero_and_never_nan(layout):
    raw, target, weight = draw(layout)
    weight[:, 1] = 0.0
    losses, gradient = gradient_of(Objective(layout), raw, target, weight)
    assert (losses[:, 1] == 0).all()
    assert torch.isfinite(gradient).all()
    (group,) = [g for g in layout.groups if g.parts.start <= 1 < g.parts.stop]
    assert (group.view(gradient)[..., 1 - group.parts.start] == 0).all()


@every_layout
def test_the_target_of_a_missing_label_does_not_matter(layout):
    raw, target, weight = draw(layout)
    objective = Objective(layout)
    other = torch.where(weight == 0, 1.0 - target, target)
    for ours, theirs in zip(
        gradient_of(objective, raw, target, weight), gradient_of(objective, raw, other, weight), strict=True
    ):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("scale", [1e-300, 1e-50, 1e38, 1e307])
def test_only_the_ratio_of_weights_matters(scale):
    weight = np.array([[1.0, 0.0], [3.0, 0.0], [0.0, 0.0]])
    np.testing.assert_allclose(label_shares(weight * scale), [[0.25, 0.0], [0.75, 0.0], [0.0, 0.0]], rtol=1e-15)


def test_decode_puts_tasks_in_the_networks_order():
    layout = LAYOUTS["several kinds"]
    raw, _, _ = draw(layout)
    decoded = Objective(layout).decode(raw)
    assert decoded.shape == (2, 6, 5)
    for group in layout.groups:
        torch.testing.assert_close(decoded[..., group.parts], group.loss.decode(group.view(raw)))
