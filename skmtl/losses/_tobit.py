"""Tobit likelihood: numbers of which only bounds may be known."""

from __future__ import annotations

import math
from typing import Self

import numpy as np
import torch
from torch import Tensor

from skmtl.losses._base import Loss
from skmtl.losses._numerics import log_complement

BOUND = 12.0
"""Of the logarithm of the standard deviation, in either direction."""

FAR = 1e6
"""Standard deviations from the mean, beyond which distances are cut off."""

LOG_ROOT = 0.5 * math.log(2 * math.pi)


class Tobit(Loss):
    r"""Negative log likelihood of a normal distribution of which a number or an interval was observed, in nats.

    Every two neighbouring parts are one variable. Their targets are its lower and its upper bound: equal where the
    number is known, -1e10 or 1e10 where there is no bound. The raw outputs are the mean and the logarithm of the
    standard deviation :math:`\sigma`, a learned number that X does not change. The loss is that of the first part; that
    of the second is 0.

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
        low, high = (((end - mean) * torch.exp(-log_sigma)).clamp(-FAR, FAR) for end in _ends(target, raw.dtype))
        exact = target[..., 0::2] == target[..., 1::2]
        loss = torch.where(exact, 0.5 * low.square() + log_sigma, -_log_between(low.double(), high.double(), ~exact))
        loss = loss.to(raw.dtype)
        return torch.stack([loss, torch.zeros_like(loss)], dim=-1).flatten(-2)

    def weighted_losses(
        self, raw: Tensor, target: Tensor, coefficient: Tensor, out: Tensor, scratch: tuple[Tensor, Tensor]
    ) -> None:
        mean, given = raw[..., 0::2].double(), raw[..., 1::2]
        log_sigma = given.clamp(-BOUND, BOUND).double()
        lower, upper = _ends(target, torch.float64)
        exact, inverse = target[..., 0::2] == target[..., 1::2], torch.exp(-log_sigma)
        low, high = (((end - mean) * inverse).clamp_(-FAR, FAR) for end in (lower, upper))
        log_p = _log_between(low, high, ~exact)
        by_low, by_high = (torch.exp(-0.5 * end.square() - LOG_ROOT - log_p) for end in (low, high))  # density over p
        by_mean = torch.where(exact, -low, by_high - by_low).mul_(inverse)
        by_sigma = torch.where(exact, 1.0 - low.square(), high * by_high - low * by_low)
        by_sigma.mul_((given >= -BOUND) & (given <= BOUND))
        own = coefficient[..., 0::2] if coefficient.ndim else coefficient
        loss = torch.where(exact, 0.5 * low.square() + log_sigma, -log_p).mul_(own)
        out.zero_()[..., 0::2] = loss.sum(-2)
        raw[..., 0::2], raw[..., 1::2] = by_mean.mul_(own), by_sigma.mul_(own)

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


def _ends(target: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return lower and upper bounds: (..., part // 2) each."""
    return target[..., 0::2].to(dtype), target[..., 1::2].to(dtype)


def _log_between(low: Tensor, high: Tensor, chosen: Tensor) -> Tensor:
    """Return the log probability that a standard normal lies between, where chosen; computed in its lower tail."""
    flip = low > 0
    a = torch.where(chosen, torch.where(flip, -high, low), -1.0)
    b = torch.where(chosen, torch.where(flip, -low, high), 1.0)
    upper, lower = torch.special.log_ndtr(b), torch.special.log_ndtr(a)
    return upper + log_complement(lower - upper)
