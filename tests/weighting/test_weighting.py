"""Weightings against sequences worked out by hand."""

import math

import pytest
import torch

from skmtl.weighting import EqualWeighting, UncertaintyWeighting
from tests._cases import make_estimator, make_table


def test_equal_weighting_has_no_weights():
    assert EqualWeighting().start(1, 3).weights(torch.ones(1, 3)) is None


def test_uncertainty_by_hand():
    """s <- s - lr (1/2 - exp(-s) L), from 0."""
    state = UncertaintyWeighting(lr=0.1).start(1, 3)
    s = [0.0, 0.0, 0.0]
    for losses in ([2.0, 0.5, 1.0], [1.0, 0.25, 0.0], [3.0, 4.0, 0.5]):
        weights = state.weights(torch.tensor([losses]))
        torch.testing.assert_close(weights, torch.tensor([[math.exp(-v) for v in s]]))
        s = [v - 0.1 * (0.5 - math.exp(-v) * loss) for v, loss in zip(s, losses, strict=True)]


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


def test_labels_in_one_batch_of_four_end_at_the_weight_of_their_mean():
    """A task whose labels lie in every fourth batch has four times its loss there: the weight is that of the mean."""
    state = UncertaintyWeighting(lr=0.001).start(1, 2)
    weights = torch.stack([state.weights(torch.tensor([[0.8, 3.2 * (k % 4 == 0)]])) for k in range(20000)])
    torch.testing.assert_close(weights[-400:].mean(0), torch.full((1, 2), 1 / 1.6), rtol=5e-3, atol=0.0)


@pytest.mark.parametrize("lr", [0.0, -1.0, float("nan"), "fast", None])
def test_a_bad_step_size_raises(lr):
    X, y = make_table("regression")
    with pytest.raises(ValueError, match=r"UncertaintyWeighting: lr must be > 0. Found"):
        make_estimator(weighting=UncertaintyWeighting(lr)).fit(X, y)


def test_uncertainty_changes_what_is_learned():
    X, y = make_table("regression")
    equal, learned = (make_estimator(weighting=w).fit(X, y) for w in ("equal", UncertaintyWeighting(0.5)))
    assert not (equal.predict(X) == learned.predict(X)).all()
