"""Softmax cross entropy: any number of classes, another number in each part."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from skmtl._memory import moved
from skmtl.losses._base import Loss


class Softmax(Loss):
    r"""Any number of classes; the raw outputs are unnormalised log probabilities.

    The loss is the cross entropy :math:`\log \sum_c e^{f_c} - f_y` in nats. Parts with fewer classes than the widest
    leave their last raw outputs unused: these get probability 0 and gradient 0. The class axis precedes the part axis,
    which keeps the softmax vectorised over parts.

    Parameters
    ----------
    n_classes : sequence of int
        Number of classes of each part.
    """

    name = "softmax"
    needs_autograd = False

    def __init__(self, n_classes: Sequence[int]) -> None:
        super().__init__(len(n_classes))
        self.n_classes = tuple(int(n) for n in n_classes)
        self.width = max(self.n_classes)
        self._unused: Tensor | None = None  # (width, part)
        if min(self.n_classes) < self.width:
            self._unused = torch.arange(self.width)[:, None] >= torch.tensor(self.n_classes)[None, :]

    def __repr__(self) -> str:
        return f"Softmax({list(self.n_classes)})"

    @classmethod
    def examples(cls) -> list[Self]:
        return [cls([4, 4, 4]), cls([3, 5, 4]), cls([2, 2, 2])]

    def group_key(self) -> tuple[int, ...]:
        """Return the power of two that holds the class count.

        So padding never more than doubles the columns, and the number of groups grows with the logarithm of the largest
        count.
        """
        return ((self.width - 1).bit_length(),)

    @classmethod
    def join(cls, losses: Sequence[Self]) -> Self:
        return cls([n for loss in losses for n in loss.n_classes])

    def loss(self, raw: Tensor, target: Tensor) -> Tensor:
        log_p = self._mask(raw).log_softmax(-2)
        return -log_p.gather(-2, _index(target, raw)).squeeze(-2)

    def weighted_losses(
        self, raw: Tensor, target: Tensor, coefficient: Tensor, out: Tensor, scratch: tuple[Tensor, Tensor]
    ) -> None:
        raw = raw.unflatten(-1, (self.width, self.n_parts))
        index = _index(target, raw)
        log_p = self._mask(raw).log_softmax(-2)
        loss = log_p.gather(-2, index).squeeze(-2).neg_()
        torch.sum(loss.mul_(coefficient), -2, out=out)
        one = log_p.new_full((), -1.0).expand(index.shape)
        gradient = log_p.exp_().scatter_add_(-2, index, one)
        torch.mul(gradient, coefficient.unsqueeze(-2) if coefficient.ndim else coefficient, out=raw)

    def decode(self, raw: Tensor) -> Tensor:
        return self._mask(raw).argmax(-2).to(raw.dtype)

    def distribution(self, raw: Tensor) -> Tensor:
        return self.probabilities(raw)

    def average(self, raw: Tensor) -> Tensor:
        """Return the logarithms of the mean probabilities."""
        return self._mask(raw).log_softmax(-2).logsumexp(0) - math.log(len(raw))

    def probabilities(self, raw: Tensor) -> Tensor:
        """Return (..., batch, width, part) probabilities; classes that a part lacks have probability 0."""
        return self._mask(raw).softmax(-2)

    def log_probabilities(self, raw: Tensor) -> Tensor:
        """Return the logarithms of `probabilities`, exact where these vanish."""
        return self._mask(raw).log_softmax(-2)

    def _mask(self, raw: Tensor) -> Tensor:
        if self._unused is None:
            return raw
        self._unused = moved(self._unused, raw.device)
        return raw.masked_fill(self._unused, float("-inf"))


def _index(target: Tensor, raw: Tensor) -> Tensor:
    """Return class codes as an index into the class axis: (..., batch, 1, part)."""
    return target.long().unsqueeze(-2).expand(*raw.shape[:-2], 1, -1)
