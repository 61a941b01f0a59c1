"""Uncertainty weighting: a learned noise level per task scales its loss."""

from __future__ import annotations

from numbers import Real

import torch
from torch import Tensor

from skmtl.weighting._base import Weighting, WeightingState

SMALLEST = -15.0  # of the log variances


class UncertaintyWeighting(Weighting):
    r"""Weigh each task by its learned noise level.

    Minimises :math:`\sum_t e^{-s_t} L_t + s_t / 2` over the network and the log variances :math:`s_t`; a task that
    keeps a high loss gets a low weight :math:`e^{-s_t}`.

    Parameters
    ----------
    lr : float, default=0.01
        Step size of gradient descent on :math:`s_t`, which starts at 0; positive.

    Notes
    -----
    The paper [1]_ trains :math:`s_t` with the network's optimiser; here it is learned by plain gradient descent, so
    that it is the same for every optimiser. Where a batch holds no label of a task, its :math:`s_t` falls by half the
    step size, and rises again with the labels: the losses of single steps are means over all labels on average only.
    For a task with zero loss, such as one of a single class, :math:`s_t` would fall without end; it is clipped at -15.

    References
    ----------
    .. [1] A. Kendall, Y. Gal, R. Cipolla, "Multi-Task Learning Using Uncertainty to Weigh Losses for Scene Geometry
       and Semantics", CVPR 2018.

    Examples
    --------
    >>> from skmtl import MultiTaskRegressor
    >>> from skmtl.weighting import UncertaintyWeighting
    >>> model = MultiTaskRegressor(weighting=UncertaintyWeighting(lr=0.1))
    >>> model.get_params()["weighting__lr"]
    0.1
    """

    name = "uncertainty"

    def __init__(self, lr: float = 0.01) -> None:
        self.lr = lr

    def start(self, n_members: int, n_tasks: int) -> WeightingState:
        """Return log variances of zero."""
        if not isinstance(self.lr, Real) or not self.lr > 0:
            raise ValueError(f"UncertaintyWeighting: lr must be > 0. Found {self.lr!r}.")
        return _Uncertainty(self.lr, torch.zeros(n_members, n_tasks))


class _Uncertainty(WeightingState):
    needs_autograd = False
    uses_global_generator = False

    def __init__(self, lr: float, log_variance: Tensor) -> None:
        self.lr = lr
        self.log_variance = log_variance  # (member, task)

    def weights(self, losses: Tensor) -> Tensor:
        s = self.log_variance = self.log_variance.to(losses)
        weight = torch.exp(-s)
        self.log_variance = (s - self.lr * (0.5 - weight * losses)).clamp_min(SMALLEST)
        return weight
