r"""The penalty that pulls towers together, and its proximal step.

For towers :math:`\theta_1..\theta_T` the penalty :math:`\sum_{i,j} \|\theta_i - \theta_j\|^2` over all ordered pairs
equals :math:`2 T \sum_i \|\theta_i - \bar\theta\|^2`; the centred form is linear in T and keeps its digits in float32.

The proximal step solves, after an optimiser's step to :math:`\theta'` with metric H (its step is
:math:`\theta' = \theta - H^{-1} g`, H diagonal),

.. math:: \min_\theta \tfrac12 \sum_i \|\theta_i - \theta'_i\|^2_{H_i} + \lambda \sum_{i,j} \|\theta_i - \theta_j\|^2.

Setting the derivative :math:`H_i(\theta_i - \theta'_i) + 4 \lambda T (\theta_i - m)`, with m the mean of the solution,
to zero gives, with :math:`b_i = 4 \lambda T / (H_i + 4 \lambda T)` and :math:`a_i = 1 - b_i`,

.. math:: \theta_i = \theta'_i + b_i (m - \theta'_i), \qquad m = \sum_i a_i \theta'_i \Big/ \sum_i a_i.

:math:`\lambda = 0` leaves every bit as it was. As :math:`\lambda \to \infty` all towers become one, but a tower made of
T moves too little: its metric is :math:`\sum_i H_i`, while an optimiser that saw the sum of the gradients would use a
smaller :math:`H_c` (for gradient descent T times smaller). So the common part of the step is lengthened,

.. math:: \theta_i \leftarrow \theta_i + \bar b \, \big(1 / H_c - 1 / \textstyle\sum_j H_j\big)
          \sum_j H_j (\theta'_j - \theta^{\mathrm{before}}_j),

with :math:`\bar b` the mean of the :math:`b_i`. The last sum is minus the sum of the gradients, which is zero at a
minimum, so the minimiser stays; tied towers move exactly as the trunk of hard sharing does.
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


def proximal_step_(
    theta: Tensor, metric: Tensor, sharing_lambda: Tensor, push: Tensor, common_metric: Tensor, scratch: Tensor
) -> Tensor:
    """Apply the proximal step to `theta` in place.

    Nothing changes where `metric`, `sharing_lambda`, `push` and `common_metric` are multiplied by one number, such as
    the step size.

    Parameters
    ----------
    theta : Tensor of shape (member, task, parameter)
        Towers after the optimiser's step.
    metric : Tensor of shape (member, task, parameter)
        Diagonal H of that step, positive; overwritten.
    sharing_lambda : Tensor of shape (member,)
        Strength of the penalty.
    push : Tensor of shape (member, 1, parameter)
        Sum over the towers of H times the optimiser's step.
    common_metric : Tensor of shape (member, 1, parameter)
        Diagonal H_c of the step that the optimiser would make with the sum of the towers' gradients; overwritten.
    scratch : Tensor of shape (member, task, parameter)
        Overwritten. Towers are large: a pass over memory costs as much as the arithmetic, a new tensor more.
    """
    n_tasks = theta.shape[1]
    pull = 4.0 * n_tasks * sharing_lambda[:, None, None]
    lengthen = common_metric.reciprocal_().sub_(metric.sum(1, keepdim=True).reciprocal_())
    a = metric.div_(torch.add(metric, pull, out=scratch))  # b = 1 - a is as exact as theta, for it only multiplies
    a_sum = a.sum(1, keepdim=True)
    mean = torch.mul(a, theta, out=scratch).sum(1, keepdim=True).div_(a_sum)
    torch.lerp(mean, theta, a, out=theta)  # = mean + a (theta - mean), and theta itself where a is 1
    common = a_sum.div_(-n_tasks).add_(1.0)  # mean of b
    return theta.add_(lengthen.mul_(push).mul_(common))
