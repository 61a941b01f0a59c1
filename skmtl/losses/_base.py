"""The contract of a pointwise loss: of all its parts at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Self

import numpy as np
import torch
from torch import Tensor

Step = Callable[[Tensor], object]
"""What `Loss.bind` returns."""


class Loss(ABC):
    """A pointwise loss, for all parts that have it.

    A part is one column of targets; most tasks have one. A loss sees all its parts at once and is pure maths: masks,
    sample weights and means live in the objective.

    Parameters
    ----------
    n_parts : int, default=1
        Number of parts side by side.

    Attributes
    ----------
    name : str
        Of a loss of the package.
    width : int, default=1
        Raw network outputs per part.
    needs_autograd : bool, default=True
        Whether a training step goes through autograd; where not, the class defines `bind` or `weighted_losses`.
    is_joint : bool, default=False
        Whether the loss of a label depends on the raw outputs or targets of other parts, or of other rows.
    """

    name: str
    width = 1
    needs_autograd = True
    is_joint = False

    def __init__(self, n_parts: int = 1) -> None:
        self.n_parts = n_parts

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.n_parts})"

    @classmethod
    def examples(cls) -> list[Self]:
        """Return losses that accept 0 and 1 as targets, of three parts unless these belong together.

        What the tests of every loss run over.
        """
        return [cls(3)]

    def group_key(self) -> tuple[float, ...]:
        """Return what losses of this class must have in common to be joined: by default nothing."""
        return ()

    def constant_outputs(self) -> np.ndarray | None:
        """Return which raw outputs are learned numbers that X does not change: bools (width, part), None for none."""
        return None

    @classmethod
    def join(cls, losses: Sequence[Self]) -> Self:
        """Return one loss for the parts of several, which have the same `group_key`."""
        return cls(sum(loss.n_parts for loss in losses))

    @abstractmethod
    def loss(self, raw: Tensor, target: Tensor) -> Tensor:
        """Return the pointwise loss.

        Parameters
        ----------
        raw : Tensor of shape (..., batch, width, part)
            Network outputs before any link.
        target : Tensor of shape (..., batch, part)
            Encoded targets; any finite number where the label is missing.

        Returns
        -------
        Tensor of shape (..., batch, part)
            Loss of each label, in nats unless the class documents another unit.
        """

    def by_class(self, raw: Tensor) -> Tensor:
        """Return a view of raw outputs: (..., width * part) -> (..., width, part)."""
        return raw.unflatten(-1, (self.width, self.n_parts))

    @abstractmethod
    def decode(self, raw: Tensor) -> Tensor:
        """Return the prediction in encoded units: (..., batch, width, part) -> (..., batch, part)."""

    def weighted(self, raw: Tensor, target: Tensor, coefficient: Tensor) -> Tensor:
        """Return what each label adds to the loss of its part: (..., batch, part).

        Its loss times its coefficient, for all losses but those that compare rows.
        """
        return self.loss(raw, target) * coefficient

    def distribution(self, raw: Tensor) -> Tensor:
        """Return what an ensemble averages: (..., batch, width, part) -> (..., batch, k, part).

        The predictions themselves, k = 1, unless these cannot be averaged: for classes their probabilities.
        """
        return self.decode(raw).unsqueeze(-2)

    def average(self, raw: Tensor) -> Tensor:
        """Return the raw outputs of an ensemble: (member, ..., width, part) -> (..., width, part).

        Their `distribution` must be the mean of the members'. Here they are the mean of the raw outputs: override it
        wherever the distribution is not linear in these.
        """
        return raw.mean(0)

    def bind(self, raw: Tensor, losses: Tensor) -> Step:
        """Return a function that computes loss and gradient of each label in closed form, for training steps.

        It is bound once to the buffers that it reads and writes, so that views of them are made once. Where a loss
        defines none, or needs autograd, a step calls `weighted_losses`.

        Parameters
        ----------
        raw : Tensor of shape (member, batch, width * part)
            Will hold the network outputs, class before part; the function overwrites them by the derivative of each
            label's loss by them.
        losses : Tensor of shape (member, batch, part)
            Will receive the loss of each label.

        Returns
        -------
        callable
            It takes the encoded targets, (batch, part) or (member, batch, part); any finite number where the label is
            missing.
        """
        raise NotImplementedError

    def weighted_losses(
        self, raw: Tensor, target: Tensor, coefficient: Tensor, out: Tensor, scratch: tuple[Tensor, Tensor]
    ) -> None:
        """Write the weighted loss of each part to `out` and its gradient over `raw`.

        What a training step does where `bind` does not serve; here by autograd. Override it where a weight must act
        inside the loss.

        Parameters
        ----------
        raw : Tensor of shape (member, batch, width * part)
            Network outputs, class before part; overwritten by the derivative of the sum of `out` by them.
        target : Tensor of shape (batch, part) or (member, batch, part)
            Encoded targets; any finite number where the label is missing.
        coefficient : Tensor of the shape of target, or one number
            What multiplies each label's loss.
        out : Tensor of shape (member, part)
            Receives the sums over the batch.
        scratch : tuple of two Tensors of the shape of raw
            Overwritten.
        """
        with torch.enable_grad():
            leaf = raw.detach().requires_grad_()
            weighted = self.weighted(self.by_class(leaf), target, coefficient).sum(-2)
            (gradient,) = torch.autograd.grad(weighted.sum(), leaf)
        out.copy_(weighted.detach())
        raw.copy_(gradient)
