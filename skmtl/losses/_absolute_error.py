"""Absolute error: the raw output is the conditional median of the standardised target."""

from __future__ import annotations

import torch
from torch import Tensor

from skmtl.losses._base import Loss


class AbsoluteError(Loss):
    r"""Absolute error :math:`|f - y|` on standardised targets.

    Parameters
    ----------
    n_parts : int, default=1
        Number of parts side by side.
    """

    name = "absolute_error"
    needs_autograd = False

    def loss(self, raw: Tensor, target: Tensor) -> Tensor:
        return (raw.squeeze(-2) - target).abs()

    def weighted_losses(
        self, raw: Tensor, target: Tensor, coefficient: Tensor, out: Tensor, scratch: tuple[Tensor, Tensor]
    ) -> None:
        residual, size = scratch
        torch.sub(raw, target, out=residual)
        torch.abs(residual, out=size)
        torch.sum(size.mul_(coefficient), -2, out=out)
        torch.mul(residual.sign_(), coefficient, out=raw)

    def decode(self, raw: Tensor) -> Tensor:
        return raw.squeeze(-2)
