"""Absolute error: the raw output is the conditional median of the standardised target."""

from __future__ import annotations

import torch
from torch import Tensor

from skmtl.losses._base import Loss, Step


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

    def bind(self, raw: Tensor, losses: Tensor) -> Step:
        def step(target: Tensor) -> None:
            residual = raw.sub_(target)
            torch.abs(residual, out=losses)
            residual.sign_()

        return step

    def decode(self, raw: Tensor) -> Tensor:
        return raw.squeeze(-2)
