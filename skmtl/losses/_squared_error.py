"""Squared error: the raw output is the conditional mean of the standardised target."""

from __future__ import annotations

import torch
from torch import Tensor

from skmtl.losses._base import Loss, Step
from skmtl.losses._numerics import number


class SquaredError(Loss):
    r"""Half squared error :math:`\tfrac12 (f - y)^2` on standardised targets.

    The negative log likelihood, in nats and up to a constant, of a Gaussian with the task's own variance. Predicting
    a task's mean costs 0.5.

    Parameters
    ----------
    n_parts : int, default=1
        Number of parts side by side.
    """

    name = "squared_error"
    needs_autograd = False

    def loss(self, raw: Tensor, target: Tensor) -> Tensor:
        return (raw.squeeze(-2) - target).square() * 0.5

    def bind(self, raw: Tensor, losses: Tensor) -> Step:
        zero = number(0.0, raw.dtype, raw.device)

        def step(target: Tensor) -> None:
            residual = raw.sub_(target)
            torch.addcmul(zero, residual, residual, value=0.5, out=losses)

        return step

    def decode(self, raw: Tensor) -> Tensor:
        return raw.squeeze(-2)
