"""Tobit likelihood: numbers of which only bounds may be known."""

from __future__ import annotations

from typing import Self

import numpy as np
import torch
from torch import Tensor

from skmtl.losses._base import Loss
from skmtl.losses._numerics import log_complement

BEYOND = 1e9
"""Bounds at least this far from 0, in standard deviations, are none."""

BOUND = 12.0
"""Of the logarithm of the standard deviation, in either direction."""


class Tobit(Loss):
    r"""Negative log likelihood of a normal distribution of which a number or an interval was observed, in nats.

    Every two neighbouring parts are one variable. Their targets are its lower and its upper bound: equal where the
    number is known, beyond 1e9 where there is no bound. The raw outputs are the mean and the logarithm of the standard
    deviation :math:`\sigma`, a learned number that X does not change. The loss is that of the first part; that of the
    second is 0.

    Parameters
    ----------
    n_parts : int, default=2
        Number of parts side by side, even.

    References
    ----------
    .. [1] J. Tobin, "Estimation of Relationships for Limited Dependent Variables", Econometrica 26, 1958.
    """

    name = "tobit"
    is_joint = True

    def __init__(self, n_parts: int = 2) -> None:
        super().__init__(n_parts)

    @classmethod
    def examples(cls) -> list[Self]:
        return [cls(4)]

    def constant_outputs(self) -> np.ndarray:
        """Return True for the standard deviations."""
        return (np.arange(self.n_parts) % 2 == 1)[None]

    def loss(self, raw: Tensor, target: Tensor) -> Tensor:
        mean, log_sigma = self.moments(raw)
        lower, upper = target[..., 0::2], target[..., 1::2]
        has_lower, has_upper, exact = lower > -BEYOND, upper < BEYOND, lower == upper
        low = (torch.where(has_lower, lower, 0.0) - mean) * torch.exp(-log_sigma)
        high = (torch.where(has_upper, upper, 0.0) - mean) * torch.exp(-log_sigma)
        between = has_lower & has_upper & ~exact
        log_p = torch.where(has_upper, torch.special.log_ndtr(high), 0.0)
        log_p = torch.where(between, _log_between(low, high, between), log_p)
        log_p = torch.where(has_lower & ~has_upper, torch.special.log_ndtr(-low), log_p)
        loss = torch.where(exact, 0.5 * low.square() + log_sigma, -log_p)
        return torch.stack([loss, torch.zeros_like(loss)], dim=-1).flatten(-2)

    def moments(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log standard deviation of each variable: (..., 1, part) -> two of (..., part // 2)."""
        values = raw.squeeze(-2)
        return values[..., 0::2], values[..., 1::2].clamp(-BOUND, BOUND)

    def decode(self, raw: Tensor) -> Tensor:
        """Return means and standard deviations, side by side."""
        mean, log_sigma = self.moments(raw)
        return torch.stack([mean, log_sigma.exp()], dim=-1).flatten(-2)

    def distribution(self, raw: Tensor) -> Tensor:
        """Return the first and the second moment of each variable, in its two parts."""
        mean, log_sigma = self.moments(raw)
        return torch.stack([mean, mean.square() + (2 * log_sigma).exp()], dim=-1).flatten(-2).unsqueeze(-2)

    def average(self, raw: Tensor) -> Tensor:
        """Return mean and log standard deviation of the mixture of the members' distributions."""
        mean, log_sigma = self.moments(raw)
        variance = (2 * log_sigma).exp().mean(0) + mean.var(0, correction=0)
        return torch.stack([mean.mean(0), 0.5 * variance.log()], dim=-1).flatten(-2).unsqueeze(-2)


def _log_between(low: Tensor, high: Tensor, chosen: Tensor) -> Tensor:
    """Return the log probability that a standard normal lies between, where chosen; computed in its lower tail."""
    flip = low > 0
    a = torch.where(chosen, torch.where(flip, -high, low), -1.0)
    b = torch.where(chosen, torch.where(flip, -low, high), 1.0)
    upper, lower = torch.special.log_ndtr(b), torch.special.log_ndtr(a)
    return upper + log_complement(lower - upper)
