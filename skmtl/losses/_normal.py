"""Normal likelihood: the raw outputs are mean and log variance."""

from __future__ import annotations

import torch
from torch import Tensor

from skmtl.losses._base import Loss

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

    def weighted_losses(
        self, raw: Tensor, target: Tensor, coefficient: Tensor, out: Tensor, scratch: tuple[Tensor, Tensor]
    ) -> None:
        raw = raw.unflatten(-1, (2, self.n_parts))
        given = raw[..., 1, :]
        log_variance = given.clamp(-BOUND, BOUND)
        residual = raw[..., 0, :] - target
        slope = residual * torch.exp(-log_variance)  # the derivative by the mean
        squares = residual * slope
        torch.sum((log_variance + squares).mul_(coefficient).mul_(0.5), -2, out=out)
        torch.mul(slope, coefficient, out=raw[..., 0, :])
        by_log = (1.0 - squares).mul_(coefficient).mul_(0.5).mul_(given == log_variance)
        given.copy_(by_log)

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
