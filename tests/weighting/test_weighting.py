"""Weightings against sequences worked out by hand."""

import math

import pytest
import torch

from skmtl.weighting import EqualWeighting, UncertaintyWeighting
from tests._cases import make_estimator, make_table


def test_equal_weighting_has_no_weights():
    assert EqualWeighting().start(1, 3).weights(torch.ones(1, 3)) is None


def test_uncertainty_by_hand():
    """s <- s - lr (1/2 - exp(-s) L), from 0; with no label in the batch s stays."""
    state = UncertaintyWeighting(lr=0.1).start(1, 3)
    s = [0.0, 0.0, 0.0]
    for losses in ([2.0, 0.5, 1.0], [1.0, 0.25, 0.0], [3.0, 4.0, 0.5]):
        weights = state.weights(torch.tensor([losses]))
        torch.testing.assert_close(weights, torch.tensor([[math.exp(-v) for v in s]]))
        s = [v - 0.1 * (0.5 - math.exp(-v) * loss) if loss else v for v, loss in zip(s, losses, strict=True)]


def test_uncertainty_ends_where_its_objective_is_smallest():
    """exp(-s) L + s / 2 is smallest at exp(-s) = 1 / (2 L)."""
    state, losses = UncertaintyWeighting(lr=0.1).start(2, 2), torch.tensor([[0.5, 2.0], [1.0, 0.1]])
    for _ in range(2000):
        weights = state.weights(losses)
    torch.testing.assert_close(weights, 1 / (2 * losses), rtol=1e-4, atol=1e-5)


def test_members_learn_apart():
    stack, alone = UncertaintyWeighting(0.1).start(2, 2), UncertaintyWeighting(0.1).start(1, 2)
    losses = torch.tensor([[0.5, 2.0], [1.0, 0.1]])
    for _ in range(5):
        together, single = stack.weights(losses), alone.weights(losses[1:])
    assert torch.equal(together[1:], single)


def test_a_loss_of_zero_leaves_the_weight():
    state = UncertaintyWeighting(lr=0.1).start(1, 1)
    state.weights(torch.tensor([[2.0]]))
    before = state.weights(torch.tensor([[0.0]]))
    assert torch.equal(state.weights(torch.tensor([[0.0]])), before)


@pytest.mark.parametrize("lr", [0.0, -1.0, float("nan"), "fast", None])
def test_a_bad_step_size_raises(lr):
    X, y = make_table("regression")
    with pytest.raises(ValueError, match=r"UncertaintyWeighting: lr must be > 0. Found"):
        make_estimator(weighting=UncertaintyWeighting(lr)).fit(X, y)


def test_uncertainty_changes_what_is_learned():
    X, y = make_table("regression")
    equal, learned = (make_estimator(weighting=w).fit(X, y) for w in ("equal", UncertaintyWeighting(0.5)))
    assert not (equal.predict(X) == learned.predict(X)).all()
