"""Logistic loss: one logit for two classes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from skmtl.losses._base import Loss, Step
from skmtl.losses._numerics import softplus


class Logistic(Loss):
    r"""Two classes; the raw output is the log odds of the second one.

    The loss is the logistic loss :math:`\log(1 + e^f) - y f` in nats, with y the class code 0 or 1.

    Parameters
    ----------
    n_parts : int, default=1
        Number of parts side by side.
    """

    name = "logistic"
    needs_autograd = False

    def loss(self, raw: Tensor, target: Tensor) -> Tensor:
        logit = raw.squeeze(-2)
        return F.softplus(logit) - target * logit

    def bind(self, raw: Tensor, losses: Tensor) -> Step:
        def step(target: Tensor) -> None:
            softplus(raw, out=losses).addcmul_(target, raw, value=-1.0)
            raw.sigmoid_().sub_(target)

        return step

    def decode(self, raw: Tensor) -> Tensor:
        return (raw.squeeze(-2) > 0).to(raw.dtype)

    def distribution(self, raw: Tensor) -> Tensor:
        return self.probabilities(raw)

    def average(self, raw: Tensor) -> Tensor:
        """Return the log odds of the mean probability."""
        return F.logsigmoid(raw).logsumexp(0) - F.logsigmoid(-raw).logsumexp(0)

    def probabilities(self, raw: Tensor) -> Tensor:
        """Return (..., batch, 2, part) probabilities that sum to one over the classes."""
        logit = raw.squeeze(-2)
        return torch.stack([torch.sigmoid(-logit), torch.sigmoid(logit)], dim=-2)

    def log_probabilities(self, raw: Tensor) -> Tensor:
        """Return the logarithms of `probabilities`, exact where these vanish."""
        logit = raw.squeeze(-2)
        return torch.stack([F.logsigmoid(-logit), F.logsigmoid(logit)], dim=-2)
