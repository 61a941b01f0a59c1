"""Several quantiles of one target, which never cross."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from skmtl.losses._base import Loss, Step
from skmtl.losses._numerics import Constant, inverse_softplus, number, softplus


class Quantiles(Loss):
    r"""Mean pinball loss of several quantiles of a standardised target, in ascending order by construction.

    The first raw output is the middle quantile; the others are, through a softplus, its distances to its neighbours.
    Raw outputs of 0 give the quantiles of a normal distribution around the mean.

    Parameters
    ----------
    levels : sequence of float
        Quantiles in (0, 1), ascending.
    n_parts : int, default=1
        Number of parts side by side.

    References
    ----------
    .. [1] Y. Gasthaus et al., "Probabilistic Forecasting with Spline Quantile Function RNNs", AISTATS 2019 (quantiles
       as sums of positive steps).
    """

    name = "quantiles"
    needs_autograd = False

    def __init__(self, levels: Sequence[float], n_parts: int = 1) -> None:
        super().__init__(n_parts)
        self.levels = tuple(float(level) for level in levels)
        self.width, self.middle = len(self.levels), (len(self.levels) - 1) // 2
        self._levels = Constant(torch.tensor(self.levels, dtype=torch.float64)[:, None])
        normal = torch.tensor([NormalDist().inv_cdf(level) for level in self.levels], dtype=torch.float64)
        self._at_zero = Constant(torch.cat([normal[self.middle, None], inverse_softplus(normal.diff())])[:, None])
        place = torch.arange(self.width)[:, None]
        step = torch.arange(self.width - 1)  # lies between the quantiles of its number and the next
        signs = ((step >= self.middle) & (place > step)).double() - ((step < self.middle) & (place <= step)).double()
        self._sums = Constant(torch.cat([torch.ones(self.width, 1).double(), signs], dim=1))  # (quantile, step)

    def __repr__(self) -> str:
        return f"Quantiles({list(self.levels)}, {self.n_parts})"

    @classmethod
    def examples(cls) -> list[Self]:
        return [cls([0.1, 0.5, 0.9], 3), cls([0.2, 0.3, 0.5, 0.7, 0.95], 3), cls([0.5], 3)]

    def group_key(self) -> tuple[float, ...]:
        return self.levels

    @classmethod
    def join(cls, losses: Sequence[Self]) -> Self:
        return cls(losses[0].levels, sum(loss.n_parts for loss in losses))

    def loss(self, raw: Tensor, target: Tensor) -> Tensor:
        below, levels = target.unsqueeze(-2) - self.quantiles(raw), self._levels.like(raw)
        return torch.maximum(levels * below, (levels - 1.0) * below).mean(-2)

    def bind(self, raw: Tensor, losses: Tensor) -> Step:
        share, zero = 1.0 / self.width, number(0.0, raw.dtype, raw.device)
        minus_levels, at_zero = self._levels.like(raw)[..., None] * -share, self._at_zero.like(raw)[..., None]
        sums = self._sums.like(raw).expand(len(raw), -1, -1)
        raw, losses = self.by_class(raw).movedim(1, -1), losses.movedim(1, -1)  # (member, width, part, batch)
        steps, factor, residual, slope = (raw.new_ones(raw.shape) for _ in range(4))
        given, slopes = steps[:, 1:], factor[:, 1:]
        steps_, residual_, slope_ = (values.flatten(2) for values in (steps, residual, slope))

        def step(target: Tensor) -> None:
            torch.add(raw, at_zero, out=steps)
            torch.sigmoid(given, out=slopes)
            softplus(given, out=given)
            torch.bmm(sums, steps_, out=residual_)
            residual.sub_(target.unsqueeze(-3).transpose(-1, -2))
            torch.gt(residual, zero, out=slope)
            torch.add(minus_levels, slope, alpha=share, out=slope)
            torch.sum(torch.mul(residual, slope, out=residual), 1, out=losses)
            torch.bmm(sums.mT, slope_, out=steps_)
            torch.mul(steps, factor, out=raw)

        return step

    def quantiles(self, raw: Tensor) -> Tensor:
        """Return the quantiles, ascending: (..., width, part)."""
        raw = raw + self._at_zero.like(raw)
        return self._sums.like(raw) @ torch.cat([raw[..., :1, :], F.softplus(raw[..., 1:, :])], dim=-2)

    def decode(self, raw: Tensor) -> Tensor:
        return self.quantiles(raw)[..., self.middle, :]

    def distribution(self, raw: Tensor) -> Tensor:
        return self.quantiles(raw)

    def average(self, raw: Tensor) -> Tensor:
        """Return the raw outputs of the mean quantiles."""
        mean = self.quantiles(raw).mean(0)
        middle = mean[..., self.middle, :].unsqueeze(-2)
        return torch.cat([middle, inverse_softplus(mean.diff(dim=-2))], dim=-2) - self._at_zero.like(raw)
