"""Soft sharing: a tower per task, pulled together by a penalty on their distance."""

from __future__ import annotations

import numpy as np

from skmtl.sharing._base import Sharing, SharingModule, TrunkShape
from skmtl.sharing._trunk import DenseTrunk


class SoftSharing(Sharing):
    r"""A tower per task, pulled together.

    Minimises :math:`\sum_t L_t(\theta_t) + \lambda \sum_{i,j} \|\theta_i - \theta_j\|^2` over all ordered pairs of
    tasks, with :math:`\theta_t` the trunk parameters of task t and :math:`\lambda` the estimator's `sharing_lambda`.
    At 0 the tasks are independent; for large values all towers become one.

    Parameters
    ----------
    tie_heads : bool, default=False
        Pull the heads together too. All tasks must then have equally many outputs. With ``hidden_layer_sizes=()``
        this is mean-regularised multi-task learning of linear models [1]_.

    Notes
    -----
    Towers and heads of all tasks start from equal weights, so the penalty starts at zero. It is not added to the
    gradient: after each step of the optimiser its proximal operator, taken in the metric of that step, is applied in
    closed form [2]_. The minimiser is the same, and any :math:`\lambda` is stable; with Adam a large penalty in the
    gradient would instead drown the losses in its step sizes. The penalty is computed as
    :math:`2 T \sum_i \|\theta_i - \bar\theta\|^2`, linear in the number of tasks T.

    References
    ----------
    .. [1] T. Evgeniou, M. Pontil, "Regularized Multi-Task Learning", KDD 2004.
    .. [2] J. Yun, A. Lozano, E. Yang, "Adaptive Proximal Gradient Methods for Structured Neural Networks",
       NeurIPS 2021.

    Examples
    --------
    >>> from skmtl import MultiTaskRegressor
    >>> from skmtl.sharing import SoftSharing
    >>> MultiTaskRegressor(sharing=SoftSharing(tie_heads=True), sharing_lambda=0.5)
    MultiTaskRegressor(sharing=SoftSharing(tie_heads=True), sharing_lambda=0.5)
    """

    name = "soft"

    def __init__(self, tie_heads: bool = False) -> None:
        self.tie_heads = tie_heads

    def build(self, shape: TrunkShape) -> SharingModule:
        """Return towers of shape ``(member, task)`` that the penalty ties."""
        if not isinstance(self.tie_heads, (bool, np.bool_)):
            raise TypeError(f"SoftSharing: tie_heads must be True or False. Found {self.tie_heads!r}.")
        if not shape.hidden_layer_sizes and not self.tie_heads:
            raise ValueError(
                "Soft sharing pulls the trunks of the tasks together, but hidden_layer_sizes=() leaves no trunk. "
                "Give at least one hidden layer, or tie the heads with SoftSharing(tie_heads=True)."
            )
        return DenseTrunk(shape, per_task=True, tied=True, ties_heads=self.tie_heads)
