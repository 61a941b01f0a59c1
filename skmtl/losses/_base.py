"""The contract of a pointwise loss: of all its tasks at once."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor


class Loss(ABC):
    """A pointwise loss, for all tasks that have it.

    A loss sees all its tasks at once and is pure maths: masks, sample weights and means live in the objective.

    Attributes
    ----------
    n_tasks : int
        Number of tasks side by side.
    width : int
        Raw network outputs per task.
    needs_autograd : bool, default=True
        Whether `weighted_losses` goes through autograd, as it does here.
    """

    n_tasks: int
    width: int
    needs_autograd = True

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.n_tasks})"

    @abstractmethod
    def loss(self, raw: Tensor, target: Tensor) -> Tensor:
        """Return the pointwise loss.

        Parameters
        ----------
        raw : Tensor of shape (..., batch, width, task)
            Network outputs before any link.
        target : Tensor of shape (..., batch, task)
            Encoded targets; any finite number where the label is missing.

        Returns
        -------
        Tensor of shape (..., batch, task)
            Loss of each label, in nats unless the class documents another unit.
        """

    @abstractmethod
    def decode(self, raw: Tensor) -> Tensor:
        """Return the prediction in encoded units: (..., batch, width, task) -> (..., batch, task)."""

    def average(self, raw: Tensor) -> Tensor:
        """Return the raw outputs of an ensemble: (member, ..., width, task) -> (..., width, task).

        Decoding them must give the mean of the members' predictions. Here it is the mean of the raw outputs: override
        it wherever predictions are not linear in these.
        """
        return raw.mean(0)

    def weighted_losses(
        self, raw: Tensor, target: Tensor, coefficient: Tensor, out: Tensor, scratch: tuple[Tensor, Tensor]
    ) -> None:
        """Write the weighted loss of each task to `out` and its gradient over `raw`: what a training step does.

        Built-in losses do it in closed form.

        Parameters
        ----------
        raw : Tensor of shape (member, batch, width * task)
            Network outputs, class before task; overwritten by the derivative of the sum of `out` by them.
        target : Tensor of shape (batch, task) or (member, batch, task)
            Encoded targets; any finite number where the label is missing.
        coefficient : Tensor of the shape of target, or one number
            What multiplies each label's loss.
        out : Tensor of shape (member, task)
            Receives the sums over the batch.
        scratch : tuple of two Tensors of the shape of raw
            Overwritten.
        """
        with torch.enable_grad():
            leaf = raw.detach().requires_grad_()
            loss = self.loss(leaf.unflatten(-1, (self.width, self.n_tasks)), target)
            weighted = (loss * coefficient).sum(-2)
            (gradient,) = torch.autograd.grad(weighted.sum(), leaf)
        out.copy_(weighted.detach())
        raw.copy_(gradient)
