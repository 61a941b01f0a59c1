"""Poisson deviance: the raw output is the logarithm of a rate."""

from __future__ import annotations

import torch
from torch import Tensor

from skmtl.losses._base import Loss


class Poisson(Loss):
    r"""Negative log likelihood :math:`e^f - y f` of a Poisson rate :math:`e^f`, up to a constant.

    In nats, if y is a count; tasks divide counts by their mean, so that 0 is the constant prediction.

    Parameters
    ----------
    n_parts : int, default=1
        Number of parts side by side.
    """

    name = "poisson"
    needs_autograd = False

    def loss(self, raw: Tensor, target: Tensor) -> Tensor:
        log_rate = raw.squeeze(-2)
        return log_rate.exp() - target * log_rate

    def weighted_losses(
        self, raw: Tensor, target: Tensor, coefficient: Tensor, out: Tensor, scratch: tuple[Tensor, Tensor]
    ) -> None:
        rate, loss = scratch
        torch.exp(raw, out=rate)
        torch.mul(raw, target, out=loss)
        torch.sub(rate, loss, out=loss)
        torch.sum(loss.mul_(coefficient), -2, out=out)
        torch.mul(rate.sub_(target), coefficient, out=raw)

    def decode(self, raw: Tensor) -> Tensor:
        return raw.squeeze(-2).exp()

    def average(self, raw: Tensor) -> Tensor:
        """Return the logarithm of the mean rate."""
        return raw.exp().mean(0).log()
