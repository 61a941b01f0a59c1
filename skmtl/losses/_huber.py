"""Huber loss: squared for small errors, absolute for large ones."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from skmtl.losses._base import Loss, Step


class Huber(Loss):
    r"""Huber's loss on standardised targets: :math:`\tfrac12 r^2` up to an error of 1, :math:`|r| - \tfrac12` beyond.

    Parameters
    ----------
    n_parts : int, default=1
        Number of parts side by side.

    References
    ----------
    .. [1] P. J. Huber, "Robust Estimation of a Location Parameter", Annals of Mathematical Statistics 35, 1964.
    """

    name = "huber"
    needs_autograd = False

    def loss(self, raw: Tensor, target: Tensor) -> Tensor:
        raw = raw.squeeze(-2)
        return F.huber_loss(raw, target.expand_as(raw), reduction="none")

    def bind(self, raw: Tensor, losses: Tensor) -> Step:
        def step(target: Tensor) -> None:
            residual = torch.sub(raw, target, out=losses)
            slope = torch.clamp(residual, -1.0, 1.0, out=raw)
            residual.sub_(slope, alpha=0.5).mul_(slope)  # r s - s² / 2

        return step

    def decode(self, raw: Tensor) -> Tensor:
        return raw.squeeze(-2)
