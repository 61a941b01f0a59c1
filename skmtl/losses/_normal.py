"""Normal likelihood: the raw outputs are mean and log variance."""

from __future__ import annotations

import torch
from torch import Tensor

from skmtl.losses._base import Loss, Step
from skmtl.losses._numerics import number

BOUND = 12.0
"""Of log variances, in either direction: six thousandths to four hundred standard deviations of the target."""


class Normal(Loss):
    r"""Negative log likelihood :math:`\tfrac12 (\log v + (f - y)^2 / v)` of a normal distribution, up to a constant.

    Mean :math:`f` and variance :math:`v` both depend on X. In nats.

    Parameters
    ----------
    n_parts : int, default=1
        Number of parts side by side.

    References
    ----------
    .. [1] D. Nix and A. Weigend, "Estimating the mean and variance of the target probability distribution", ICNN 1994.
    .. [2] B. Lakshminarayanan et al., "Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles",
       NIPS 2017 (the moments of an ensemble).
    """

    name = "normal"
    width = 2
    needs_autograd = False

    def loss(self, raw: Tensor, target: Tensor) -> Tensor:
        log_variance = self.log_variance(raw)
        return 0.5 * (log_variance + (raw[..., 0, :] - target).square() * torch.exp(-log_variance))

    def bind(self, raw: Tensor, losses: Tensor) -> Step:
        (mean, given), half = self.by_class(raw).unbind(-2), number(0.5, raw.dtype, raw.device)
        log_deviation, deviation, inside = (torch.empty_like(losses) for _ in range(3))

        def step(target: Tensor) -> None:
            torch.clamp(given, -BOUND, BOUND, out=log_deviation)
            torch.eq(given, log_deviation, out=inside)
            torch.exp(log_deviation.mul_(half), out=deviation)
            z = mean.sub_(target).div_(deviation)
            torch.addcmul(log_deviation, z, z, value=0.5, out=losses)
            torch.addcmul(half, z, z, value=-0.5, out=given).mul_(inside)
            z.div_(deviation)

        return step

    def log_variance(self, raw: Tensor) -> Tensor:
        """Return the logarithm of the variance: (..., 2, part) -> (..., part)."""
        return raw[..., 1, :].clamp(-BOUND, BOUND)

    def decode(self, raw: Tensor) -> Tensor:
        return raw[..., 0, :]

    def distribution(self, raw: Tensor) -> Tensor:
        """Return the first and the second moment."""
        mean = raw[..., 0, :]
        return torch.stack([mean, mean.square() + self.log_variance(raw).exp()], dim=-2)

    def average(self, raw: Tensor) -> Tensor:
        """Return mean and log variance of the mixture of the members' distributions."""
        mean = raw[..., 0, :].mean(0)
        variance = self.log_variance(raw).exp().mean(0) + raw[..., 0, :].var(0, correction=0)
        return torch.stack([mean, variance.log()], dim=-2)
