"""Poisson deviance: the raw output is the logarithm of a rate."""

from __future__ import annotations

import torch
from torch import Tensor

from skmtl.losses._base import Loss, Step


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

    def bind(self, raw: Tensor, losses: Tensor) -> Step:
        rate = torch.empty_like(losses)

        def step(target: Tensor) -> None:
            torch.exp(raw, out=rate)
            torch.addcmul(rate, target, raw, value=-1.0, out=losses)
            torch.sub(rate, target, out=raw)

        return step

    def decode(self, raw: Tensor) -> Tensor:
        return raw.squeeze(-2).exp()

    def average(self, raw: Tensor) -> Tensor:
        """Return the logarithm of the mean rate."""
        return raw.exp().mean(0).log()
