r"""The penalty that pulls towers together, and its proximal step.

For towers :math:`\theta_1..\theta_T` the penalty :math:`\sum_{i,j} \|\theta_i - \theta_j\|^2` over all ordered pairs
equals :math:`2 T \sum_i \|\theta_i - \bar\theta\|^2`; the centred form is linear in T and keeps its digits in float32.

The proximal step solves, after an optimiser's step to :math:`\theta'` with metric H (its step is
:math:`\theta' = \theta - H^{-1} g`, H diagonal),

.. math:: \min_\theta \tfrac12 \sum_i \|\theta_i - \theta'_i\|^2_{H_i} + \lambda \sum_{i,j} \|\theta_i - \theta_j\|^2.

Setting the derivative :math:`H_i(\theta_i - \theta'_i) + 4 \lambda T (\theta_i - m)`, with m the mean of the solution,
to zero gives, with :math:`b_i = 4 \lambda T / (H_i + 4 \lambda T)` and :math:`a_i = 1 - b_i`,

.. math:: \theta_i = \theta'_i + b_i (m - \theta'_i), \qquad m = \sum_i a_i \theta'_i \Big/ \sum_i a_i.

:math:`\lambda = 0` leaves every bit as it was; :math:`\lambda \to \infty` sets all towers to one H-weighted mean.
"""

from __future__ import annotations

import torch
from torch import Tensor


def centred_penalty(theta: Tensor) -> Tensor:
    """Return the penalty of towers: (member, task, parameter) -> (member,)."""
    spread = theta - theta.mean(1, keepdim=True)
    return 2.0 * theta.shape[1] * spread.square().sum((1, 2))


def penalty_gradient(theta: Tensor, sharing_lambda: Tensor) -> Tensor:
    """Return the gradient of lambda times the penalty: (member, task, parameter), (member,) -> same as theta."""
    spread = theta - theta.mean(1, keepdim=True)
    return spread.mul_(4.0 * theta.shape[1] * sharing_lambda[:, None, None])


def proximal_step_(theta: Tensor, metric: Tensor, sharing_lambda: Tensor) -> Tensor:
    """Apply the proximal step to `theta` in place.

    Parameters
    ----------
    theta : Tensor of shape (member, task, parameter)
        Towers after the optimiser's step.
    metric : Tensor of shape (member, task, parameter)
        Diagonal H of that step, positive; overwritten.
    sharing_lambda : Tensor of shape (member,)
        Strength of the penalty.
    """
    pull = 4.0 * theta.shape[1] * sharing_lambda[:, None, None]
    total = metric + pull
    a = metric.div_(total)
    b = torch.div(pull, total, out=total)
    mean = (a * theta).sum(1, keepdim=True).div_(a.sum(1, keepdim=True))
    return theta.lerp_(mean, b)
