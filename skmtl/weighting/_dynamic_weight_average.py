"""Dynamic weight average: tasks whose losses fall slowly weigh more."""

from __future__ import annotations

from numbers import Real

from torch import Tensor, ones_like, where

from skmtl.weighting._base import Weighting, WeightingState

LARGEST = 1e4  # ratio of two losses: beyond it exponentials have long settled for one task


class DynamicWeightAverage(Weighting):
    r"""Weigh each task by how slowly its loss falls.

    With :math:`L_t(e)` the mean loss of task t in epoch e and :math:`r_t = L_t(e-1) / L_t(e-2)`, the weights of epoch e
    are :math:`w_t = T \exp(r_t / \tau) / \sum_s \exp(r_s / \tau)`: their mean is 1. All are 1 in the first two epochs.

    Parameters
    ----------
    temperature : float, default=2.0
        :math:`\tau > 0`; the larger it is, the more even are the weights.

    Notes
    -----
    As in [1]_. A task whose loss was 0, such as one of a single class, has the ratio 1. Every `fit` begins anew, and so
    does every `partial_fit`: that is a single epoch, so all weights are 1. `HalvingStackedSearchCV` continues with
    the weights that it had reached.

    References
    ----------
    .. [1] S. Liu, E. Johns, A. J. Davison, "End-to-End Multi-Task Learning with Attention", CVPR 2019.

    Examples
    --------
    >>> from skmtl import MultiTaskRegressor
    >>> from skmtl.weighting import DynamicWeightAverage
    >>> weighting = DynamicWeightAverage(temperature=1.0)
    >>> model = MultiTaskRegressor(weighting=weighting)
    >>> model.get_params()["weighting__temperature"]
    1.0
    """

    name = "dwa"
    couples_tasks = True

    def __init__(self, temperature: float = 2.0) -> None:
        self.temperature = temperature

    def start(self, n_members: int, n_tasks: int) -> WeightingState:
        """Return a state that has seen no epoch."""
        if not isinstance(self.temperature, Real) or not self.temperature > 0:
            raise ValueError(f"DynamicWeightAverage: temperature must be > 0. Found {self.temperature!r}.")
        return _DynamicWeightAverage(float(self.temperature))


class _DynamicWeightAverage(WeightingState):
    needs_autograd = False
    uses_global_generator = False

    def __init__(self, temperature: float) -> None:
        self._temperature = temperature
        self._last: Tensor | None = None  # (member, task): mean losses of the last epoch
        self._weights: Tensor | None = None  # (member, task)

    def weights(self, losses: Tensor) -> Tensor | None:
        return self._weights

    def end_epoch(self, losses: Tensor) -> None:
        before, self._last = self._last, losses
        if before is None:
            return
        ratio = where(before > 0, losses / before, ones_like(losses)).clamp_max(LARGEST)
        self._weights = losses.shape[1] * (ratio / self._temperature).softmax(dim=1)
