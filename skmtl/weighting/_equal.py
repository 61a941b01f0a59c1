"""Equal weights: the sum of the task losses."""

from __future__ import annotations

from torch import Tensor

from skmtl.weighting._base import Weighting, WeightingState


class EqualWeighting(Weighting):
    r"""Minimise :math:`\sum_t w_t L_t` with the fixed `task_weights` alone.

    Losses are means over observed labels, and regression targets are standardised, so that all tasks weigh about the
    same. With ordinary regularisation this matches the adaptive methods [1]_.

    References
    ----------
    .. [1] V. Kurin et al., "In Defense of the Unitary Scalarization for Deep Multi-Task Learning", NeurIPS 2022.

    Examples
    --------
    >>> from skmtl import MultiTaskRegressor
    >>> MultiTaskRegressor(weighting="equal", task_weights=[1.0, 0.5])
    MultiTaskRegressor(task_weights=[1.0, 0.5])
    """

    name = "equal"

    def start(self, n_members: int, n_tasks: int) -> WeightingState:
        """Return a state that never changes."""
        return _Equal()


class _Equal(WeightingState):
    needs_autograd = False
    uses_global_generator = False

    def weights(self, losses: Tensor) -> None:
        return None
