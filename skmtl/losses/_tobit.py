"""Tobit likelihood: numbers of which only bounds may be known."""

from __future__ import annotations

import math
from typing import Self

import numpy as np
import torch
from torch import Tensor

from skmtl.losses._base import Loss, Step
from skmtl.losses._numerics import log_complement, number

BOUND = 12.0
"""Of the logarithm of the standard deviation, in either direction."""

FAR = 1e6
"""Standard deviations from the mean, beyond which distances are cut off."""

LOG_ROOT = 0.5 * math.log(2 * math.pi)


class Tobit(Loss):
    r"""Negative log likelihood of a normal distribution of which a number or an interval was observed, in nats.

    Every two neighbouring parts are one variable, with equal coefficients. Their targets are its lower and its upper
    bound: equal where the number is known, -1e10 or 1e10 where there is no bound. The raw outputs are the mean and the
    logarithm of the standard deviation :math:`\sigma`, a learned number that X does not change. The loss is that of the
    first part; that of the second is 0.

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
    needs_autograd = False

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

    def bind(self, raw: Tensor, losses: Tensor) -> Step:
        raw, (of_first, of_second) = _pairs(raw), _pairs(losses)  # (2, member, variable, batch)
        of_second.zero_()
        targets = raw.new_empty(len(losses), self.n_parts, losses.shape[1], dtype=torch.float64).mT
        outputs, ends, tails, by_ends = (raw.new_empty(raw.shape, dtype=torch.float64) for _ in range(4))
        bounds, (mean, given), (low, high), (by_low, by_high) = _pairs(targets), outputs, ends, by_ends
        (lower, upper), (lower_tail, upper_tail) = bounds, tails
        log_sigma, sigma, inside, exact, loss = (torch.empty_like(mean) for _ in range(5))
        eps, place = torch.finfo(ends.dtype).eps, (ends.dtype, ends.device)
        zero, log_twice = number(0.0, *place), number(math.log(2.0) - LOG_ROOT, *place)

        def step(target: Tensor) -> None:
            outputs.copy_(raw)
            targets.copy_(target)
            torch.clamp(given, -BOUND, BOUND, out=log_sigma)
            torch.eq(given, log_sigma, out=inside)
            torch.exp(log_sigma, out=sigma)
            torch.sub(bounds, mean, out=ends).div_(sigma).clamp_(-FAR, FAR)
            high.neg_()  # what lies beyond each end is now the lower tail
            torch.eq(lower, upper, out=exact)
            torch.minimum(low, high, out=lower_tail)
            torch.maximum(low, high, out=upper_tail).neg_()
            torch.special.log_ndtr(tails, out=tails)
            odds = torch.sub(upper_tail, lower_tail, out=lower_tail).clamp_min_(eps).expm1_().reciprocal_()
            minus_log_p = odds.log1p_().sub_(upper_tail)
            torch.addcmul(log_twice, ends, ends, value=-0.5, out=by_ends).add_(minus_log_p).exp_()  # 2 density / p
            by_ends.lerp_(ends, exact)  # `where`, but faster: the weights are 0 and 1
            torch.addcmul(log_sigma, low, low, value=0.5, out=loss)
            of_first.copy_(minus_log_p.lerp_(loss, exact))
            torch.addcdiv(zero, torch.sub(by_high, by_low, out=loss), sigma, value=0.5, out=mean)
            torch.addcmul(exact, by_low, low, value=-0.5, out=given).addcmul_(by_high, high, value=-0.5).mul_(inside)
            raw.copy_(outputs)

        return step

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


def _pairs(values: Tensor) -> Tensor:
    """Return the first and the second part of each variable: (member, batch, part) -> (2, member, part // 2, batch)."""
    return values.unflatten(-1, (-1, 2)).movedim(-1, 0).mT


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
