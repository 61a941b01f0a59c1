"""The contract of a weighting: how the losses of the tasks become one update."""

from __future__ import annotations

from abc import ABC, abstractmethod

from sklearn.base import BaseEstimator
from torch import Tensor


class WeightingState(ABC):
    """What a weighting learns during one fit.

    Attributes
    ----------
    needs_autograd : bool, default=True
        Whether `weights` may go through autograd.
    uses_global_generator : bool, default=True
        Whether it may draw from torch's global generator. Where nothing does, networks can be trained in parallel
        threads.
    """

    needs_autograd = True
    uses_global_generator = True

    @abstractmethod
    def weights(self, losses: Tensor) -> Tensor | None:
        """Return the weight of each task in this step, or None for 1.

        Parameters
        ----------
        losses : Tensor of shape (member, task)
            Loss of each task on the batch; its mean over the steps of an epoch is the mean over all labels. 0 where
            the batch holds no label of the task, and for members that no longer train.

        Returns
        -------
        Tensor of shape (member, task) or None
            Multiplies the fixed `task_weights`.
        """

    def end_epoch(self, losses: Tensor) -> None:  # noqa: B027  (a hook, not a duty)
        """Learn from an epoch; called after each training epoch. By default nothing.

        Parameters
        ----------
        losses : Tensor of shape (member, task)
            Mean loss of each task over the epoch, finite: 0 for a task without labels, a member that no longer trains
            and a loss that is no longer finite. The tensor is not used again and may be kept.
        """


class Weighting(BaseEstimator, ABC):  # type: ignore[misc]
    """How task losses become one update. Subclass it, store the options in `__init__` and `start` a state.

    Attributes
    ----------
    name : str
        What estimators take for the weighting with its defaults. Only weightings of the package have one.
    couples_tasks : bool, default=False
        Whether the weight of a task depends on the losses of other tasks too. Where it does not, independent towers
        learn what each task would learn alone.
    """

    name: str
    couples_tasks = False

    @abstractmethod
    def start(self, n_members: int, n_tasks: int) -> WeightingState:
        """Return the state of a new fit."""
