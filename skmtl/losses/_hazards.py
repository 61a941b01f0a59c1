"""Hazards: which event happens in an interval of time, if any, beside how often each happens to all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Self

import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor

from skmtl.losses._base import Loss, Step
from skmtl.losses._logistic import Logistic
from skmtl.losses._numerics import Constant
from skmtl.losses._softmax import cross_entropy


class Hazards(Loss):
    r"""Events of one or several causes in intervals of time; a raw output of 0 is the base rate of an event.

    The probability of cause :math:`c` is :math:`e^{b_c + f_c} / (1 + \sum_k e^{b_k + f_k})`, with raw outputs :math:`f`
    and given log odds :math:`b` against no event. Hazards are small, and a network that starts near raw outputs of 0
    would else begin far from all of them. The loss is the cross entropy, in nats. Targets are 0 for no event, and else
    the number of its cause, from 1.

    Parameters
    ----------
    base : array-like of shape (n_causes, n_parts)
        Log odds of each event against none.

    References
    ----------
    .. [1] C. C. Brown, "On the use of indicator variables for studying the time-dependence of parameters in a
       response-time model", Biometrics 31, 1975.
    """

    name = "hazards"
    needs_autograd = False

    def __init__(self, base: ArrayLike) -> None:
        self._base = Constant(torch.as_tensor(base, dtype=torch.float64))
        self.width, n_parts = self._base.values.shape
        super().__init__(n_parts)

    def __repr__(self) -> str:
        return f"Hazards({self._base.values.tolist()})"

    @classmethod
    def examples(cls) -> list[Self]:
        return [cls([[-2.0, -1.0, 0.5]]), cls([[-2.0, -1.0, 0.5], [-3.0, 0.0, -1.0]])]

    def group_key(self) -> tuple[float, ...]:
        return (float(self.width),)

    @classmethod
    def join(cls, losses: Sequence[Self]) -> Self:
        return cls(torch.cat([loss._base.values for loss in losses], dim=1))

    def loss(self, raw: Tensor, target: Tensor) -> Tensor:
        index = target.long().unsqueeze(-2).expand(*raw.shape[:-2], 1, -1)
        return -self.log_probabilities(raw).gather(-2, index).squeeze(-2)

    def bind(self, raw: Tensor, losses: Tensor) -> Step:
        base = self._base.like(raw)
        if self.width == 1:
            logistic = Logistic(self.n_parts).bind(raw, losses)

            def single(target: Tensor) -> None:
                raw.add_(base)
                logistic(target)

            return single
        raw = self.by_class(raw)
        odds = torch.zeros_like(raw[..., :1, :].expand(-1, -1, self.width + 1, -1))  # of no event first
        gradient = torch.empty_like(odds)
        of_events, by_events = odds[..., 1:, :], gradient[..., 1:, :]
        softmax = cross_entropy(odds, losses, gradient)

        def step(target: Tensor) -> None:
            torch.add(raw, base, out=of_events)
            softmax(target)
            raw.copy_(by_events)

        return step

    def decode(self, raw: Tensor) -> Tensor:
        return self.log_probabilities(raw).argmax(-2).to(raw.dtype)

    def distribution(self, raw: Tensor) -> Tensor:
        return self.probabilities(raw)

    def average(self, raw: Tensor) -> Tensor:
        """Return the raw outputs of the mean probabilities."""
        mean = self.log_probabilities(raw).logsumexp(0) - math.log(len(raw))
        return mean[..., 1:, :] - mean[..., :1, :] - self._base.like(raw)

    def probabilities(self, raw: Tensor) -> Tensor:
        """Return (..., width + 1, part) probabilities, of no event first."""
        return self.log_probabilities(raw).exp()

    def log_probabilities(self, raw: Tensor) -> Tensor:
        """Return the logarithms of `probabilities`."""
        return F.pad(raw + self._base.like(raw), (0, 0, 1, 0)).log_softmax(-2)
