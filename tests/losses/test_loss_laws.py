"""What every loss of the family must do."""

import numpy as np
import pytest
import torch

from skmtl.losses import Cox, Tobit
from tests._cases import LOSSES
from tests.losses._step import step, step_by_autograd

every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
every_pointwise_loss = pytest.mark.parametrize(
    "loss", [pytest.param(loss, id=name) for name, loss in LOSSES.items() if not loss.is_joint]
)


def draw(loss, *batch, seed=0):
    """Return raw outputs (*batch, width, part) and encoded targets (*batch, part): 0 or 1, or ranks of times."""
    generator = torch.Generator().manual_seed(seed)
    raw = 2 * torch.randn(*batch, loss.width, loss.n_parts, dtype=torch.float64, generator=generator)
    target = torch.randint(2, (*batch, loss.n_parts), generator=generator).double()
    if isinstance(loss, Cox):
        target = (2 * target - 1) * torch.randint(1, 4, target.shape, generator=generator)
    if isinstance(loss, Tobit):  # the lower bound, then the upper one
        target = target.unflatten(-1, (-1, 2)).sort(-1).values.flatten(-2)
        target[..., 0, ::2], target[..., 1, 1::2] = -1e10, 1e10
    return raw, target


@every_loss
@pytest.mark.parametrize("per_label", [True, False])
def test_weighted_losses_and_their_gradient_are_autograds(loss, per_label):
    raw, target = draw(loss, 2, 7)
    coefficient = torch.rand(7, loss.n_parts, dtype=torch.float64) if per_label else torch.tensor(0.3).double()
    if isinstance(loss, Tobit) and per_label:  # both bounds are of one label
        coefficient[:, 1::2] = coefficient[:, 0::2]
    leaf = raw.clone().requires_grad_()
    expected = loss.weighted(leaf, target, coefficient).sum(-2)
    if not loss.is_joint:
        torch.testing.assert_close(expected, (loss.loss(leaf, target) * coefficient).sum(-2))
    (expected_gradient,) = torch.autograd.grad(expected.sum(), leaf)
    for batch_last in (False, True):
        losses, gradient = step(loss, raw, target, coefficient, batch_last)
        torch.testing.assert_close(losses, expected.detach())
        torch.testing.assert_close(gradient, expected_gradient)


@every_loss
def test_loss_passes_gradcheck(loss):
    raw, target = draw(loss, 4)
    assert torch.autograd.gradcheck(lambda raw: loss.loss(raw, target), raw.requires_grad_())


@every_loss
def test_members_that_read_the_same_targets(loss):
    raw, target = draw(loss, 2, 7)
    losses, gradient = step(loss, raw, target[0])
    for member in range(2):
        expected_loss, expected = step_by_autograd(loss, raw[member : member + 1], target[0])
        torch.testing.assert_close(losses[member], expected_loss[0])
        torch.testing.assert_close(gradient[member], expected[0])


@every_loss
def test_a_label_of_coefficient_zero_has_neither_loss_nor_gradient(loss):
    raw, target = draw(loss, 1, 6)
    coefficient = torch.tensor([1.0, 0.0, 2.0, 0.0, 0.5, 1.0], dtype=torch.float64)
    coefficient = coefficient[:, None].expand(6, loss.n_parts).contiguous()
    losses, gradient = step(loss, raw, target, coefficient)
    kept = [0, 2, 4, 5]
    expected, _ = step(loss, raw[:, kept], target[:, kept], coefficient[kept])
    torch.testing.assert_close(losses, expected)
    assert not gradient[:, [1, 3]].any()


@every_loss
def test_joined_losses_are_each_alone(loss):
    raw, target = draw(loss, 2, 7)
    both = loss.join([loss, loss])
    assert both.n_parts == 2 * loss.n_parts
    assert both.group_key() == loss.group_key()
    assert both.width == loss.width
    torch.testing.assert_close(
        both.loss(torch.cat([raw, raw + 1], -1), torch.cat([target, target.flip(1)], -1)),
        torch.cat([loss.loss(raw, target), loss.loss(raw + 1, target.flip(1))], -1),
    )


@every_loss
def test_an_ensemble_predicts_the_mean_of_its_members(loss):
    """The distribution of the averaged raw outputs is the mean of the members'.

    A loss whose predictions are not linear in the raw outputs overrides `average`; one whose predictions cannot be
    averaged, such as classes, overrides `distribution` as well.
    """
    raw, _ = draw(loss, 4, 7)  # four members
    name, mean = type(loss).__name__, loss.distribution(raw).mean(0)
    torch.testing.assert_close(
        loss.distribution(loss.average(raw)), mean,
        msg=lambda text: f"{name}.average or {name}.distribution must be overridden. {text}",
    )  # fmt: skip
    torch.testing.assert_close(loss.distribution(loss.average(raw[:1])), loss.distribution(raw[0]))


@every_pointwise_loss
def test_a_loss_falls_towards_its_target(loss):
    """Gradient descent on the raw outputs of one label ends at a prediction that is its target."""
    target = torch.tensor([[0.0, 1.0, 0.0]], dtype=torch.float64)
    raw = torch.zeros(1, loss.width, loss.n_parts, dtype=torch.float64)
    for step_size in np.geomspace(0.5, 0.02, 300):
        leaf = raw.requires_grad_()
        (gradient,) = torch.autograd.grad(loss.loss(leaf, target).sum(), leaf)
        raw = (raw - step_size * gradient.clamp(-1.0, 1.0)).detach()
    torch.testing.assert_close(loss.decode(raw), target, rtol=0.0, atol=0.05)


@every_loss
def test_decode_gives_one_value_for_each_label(loss):
    raw, target = draw(loss, 2, 7)
    assert loss.decode(raw).shape == target.shape
    assert loss.distribution(raw).shape[-1] == loss.n_parts
