"""Squared error: the raw output is the conditional mean of the standardised target."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from skmtl.losses._base import Loss


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

    def weighted_losses(
        self, raw: Tensor, target: Tensor, coefficient: Tensor, out: Tensor, scratch: tuple[Tensor, Tensor]
    ) -> None:
        residual, twice = scratch
        torch.sub(raw, target, out=residual)
        torch.mul(residual, coefficient, out=raw)
        torch.mul(residual, raw, out=twice)
        torch.sum(twice, -2, out=out).mul_(_half(raw.dtype, raw.device))

    def decode(self, raw: Tensor) -> Tensor:
        return raw.squeeze(-2)


@cache
def _half(dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return a half as a tensor: torch makes one of a Python number at every use, which takes longer than using it."""
    with torch.inference_mode(False):
        return torch.tensor(0.5, dtype=dtype, device=device)
