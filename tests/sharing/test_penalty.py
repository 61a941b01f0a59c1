"""The penalty against its definition, its proximal step against a numerical minimiser."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from skmtl.sharing import centred_penalty, penalty_gradient, proximal_step_


def draw(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def ordered_pairs(theta):
    """Return the sum over all ordered pairs of towers (task, parameter) of their squared distance."""
    return sum(((a - b) ** 2).sum() for a in theta for b in theta)


@pytest.mark.parametrize("n_tasks", [1, 2, 5])
def test_penalty_is_the_sum_over_ordered_pairs(n_tasks):
    theta = draw(3, n_tasks, 7)
    expected = torch.stack([torch.as_tensor(ordered_pairs(member)) for member in theta])
    torch.testing.assert_close(centred_penalty(theta), expected.to(theta))


def test_penalty_keeps_its_digits_when_towers_agree():
    theta = torch.ones(1, 8, 1000) + 1e-3 * torch.randn(1, 8, 1000, generator=torch.Generator().manual_seed(0))
    expected = float(ordered_pairs(theta[0].double()))
    assert float(centred_penalty(theta)) == pytest.approx(expected, rel=1e-5)


def test_gradient_is_autograds():
    theta, strength = draw(3, 4, 5).requires_grad_(), torch.tensor([0.0, 0.3, 7.0], dtype=torch.float64)
    (expected,) = torch.autograd.grad((centred_penalty(theta) * strength).sum(), theta)
    torch.testing.assert_close(penalty_gradient(theta.detach(), strength), expected)


def proximal(theta, metric, strength):
    """Apply the proximal step alone: a common metric of sum H_i lengthens nothing."""
    common = metric.sum(1, keepdim=True)
    push, scratch = theta.mean(1, keepdim=True), torch.empty_like(theta)
    return proximal_step_(theta.clone(), metric.clone(), strength, push, common, scratch)


@pytest.mark.parametrize("strength", [1e-3, 0.1, 5.0])
@pytest.mark.parametrize("n_tasks", [1, 2, 4])
def test_proximal_step_solves_its_problem(strength, n_tasks):
    start, metric = draw(1, n_tasks, 3).numpy(), np.exp(draw(1, n_tasks, 3, seed=1).numpy())

    def problem(flat):
        theta = flat.reshape(start.shape)
        pairs = theta[0][:, None] - theta[0][None, :]
        value = 0.5 * (metric * (theta - start) ** 2).sum() + strength * (pairs**2).sum()
        return value, (metric * (theta - start) + 4 * strength * pairs.sum(1)[None]).ravel()

    best = minimize(problem, start.ravel(), jac=True, method="BFGS", options={"gtol": 1e-10})
    ours = proximal(torch.as_tensor(start), torch.as_tensor(metric), torch.tensor([strength], dtype=torch.float64))
    np.testing.assert_allclose(ours.numpy().ravel(), best.x, atol=1e-7)


def test_proximal_step_of_zero_leaves_every_bit():
    theta, metric = draw(2, 4, 5).float(), draw(2, 4, 5, seed=1).exp().float()
    assert torch.equal(proximal(theta, metric, torch.zeros(2)), theta)


def test_proximal_step_of_infinity_is_the_weighted_mean():
    theta, metric = draw(1, 4, 5), draw(1, 4, 5, seed=1).exp()
    mean = (metric * theta).sum(1, keepdim=True) / metric.sum(1, keepdim=True)
    torch.testing.assert_close(
        proximal(theta, metric, torch.tensor([1e12])), mean.expand(1, 4, 5), rtol=1e-6, atol=1e-9
    )


def test_one_number_that_multiplies_all_but_the_towers_changes_nothing():
    theta, metric, strength = draw(1, 4, 5), draw(1, 4, 5, seed=1).exp(), torch.tensor([0.3]).double()
    push, common = draw(1, 1, 5, seed=2), draw(1, 1, 5, seed=3).exp()

    def step(factor):
        scaled = [t * factor for t in (metric, strength, push, common)]
        return proximal_step_(theta.clone(), *scaled, torch.empty_like(theta))

    torch.testing.assert_close(step(0.001), step(1.0))


def test_each_member_has_its_own_strength():
    theta, metric, strength = draw(3, 4, 5), draw(3, 4, 5, seed=1).exp(), torch.tensor([0.0, 0.1, 10.0]).double()
    together = proximal(theta, metric, strength)
    for k in range(3):
        alone = proximal(theta[k : k + 1], metric[k : k + 1], strength[k : k + 1])
        torch.testing.assert_close(together[k : k + 1], alone)


def test_tied_towers_move_as_gradient_descent_on_their_sum():
    """Towers of one place, tied hard, go where the sum of their gradients sends one trunk."""
    start, gradient, lr, n_tasks = draw(1, 1, 5), draw(1, 4, 5, seed=1), 0.1, 4
    theta = start - lr * gradient
    metric, common = torch.full_like(theta, 1 / lr), torch.full_like(start, 1 / lr)
    push = -gradient.sum(1, keepdim=True)
    moved = proximal_step_(theta, metric, torch.tensor([1e12]).double(), push, common, torch.empty_like(theta))
    expected = start - lr * gradient.sum(1, keepdim=True)
    torch.testing.assert_close(moved, expected.expand(1, n_tasks, 5), rtol=1e-6, atol=1e-9)
