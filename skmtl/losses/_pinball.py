"""Pinball loss: the raw output is one conditional quantile of the standardised target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from skmtl.losses._base import Loss, Step
from skmtl.losses._numerics import Constant, number


class Pinball(Loss):
    r"""Pinball loss :math:`\max(\tau (y - f), (\tau - 1) (y - f))` on standardised targets.

    Parameters
    ----------
    levels : sequence of float
        The quantile :math:`\tau` of each part, in (0, 1).

    References
    ----------
    .. [1] R. Koenker and G. Bassett, "Regression Quantiles", Econometrica 46, 1978.
    """

    name = "pinball"
    needs_autograd = False

    def __init__(self, levels: Sequence[float]) -> None:
        super().__init__(len(levels))
        self.levels = tuple(float(level) for level in levels)
        self._levels = Constant(torch.tensor(self.levels, dtype=torch.float64))

    def __repr__(self) -> str:
        return f"Pinball({list(self.levels)})"

    @classmethod
    def examples(cls) -> list[Self]:
        return [cls([0.1, 0.5, 0.8])]

    @classmethod
    def join(cls, losses: Sequence[Self]) -> Self:
        return cls([level for loss in losses for level in loss.levels])

    def loss(self, raw: Tensor, target: Tensor) -> Tensor:
        below, levels = target - raw.squeeze(-2), self._levels.like(raw)
        return torch.maximum(levels * below, (levels - 1.0) * below)

    def bind(self, raw: Tensor, losses: Tensor) -> Step:
        levels, zero = self._levels.like(raw), number(0.0, raw.dtype, raw.device)

        def step(target: Tensor) -> None:
            residual = torch.sub(raw, target, out=losses)
            slope = torch.gt(residual, zero, out=raw).sub_(levels)  # 1 - level above the target, -level below
            residual.mul_(slope)

        return step

    def decode(self, raw: Tensor) -> Tensor:
        return raw.squeeze(-2)
