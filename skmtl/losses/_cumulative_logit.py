"""Cumulative logit: ordered classes with one slope and ordered thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from skmtl._memory import moved
from skmtl.losses._base import Loss
from skmtl.losses._numerics import Constant, inverse_softplus, log_complement

ENDLESS = 1e4
"""Log odds at the ends of a scale: of what is certain."""


class CumulativeLogit(Loss):
    r"""Ordered classes: :math:`P(y > k) = \sigma(f - \theta_k)` with thresholds :math:`\theta_0 < \theta_1 < \dots`.

    The first raw output is :math:`f`; the others are learned numbers that X does not change, whose softplus is the
    distance of a threshold from the one before. The loss is the negative log likelihood, in nats. Raw outputs of 0 make
    all classes equally likely.

    Parameters
    ----------
    n_classes : sequence of int
        Number of classes of each part, >= 2.

    References
    ----------
    .. [1] P. McCullagh, "Regression Models for Ordinal Data", Journal of the Royal Statistical Society B 42, 1980.
    """

    name = "cumulative_logit"
    needs_autograd = False

    def __init__(self, n_classes: Sequence[int]) -> None:
        super().__init__(len(n_classes))
        self.n_classes = tuple(int(n) for n in n_classes)
        self.width = max(self.n_classes) - 1
        thresholds = [[np.log((k + 1) / max(n - k - 1, 1e-9)) for n in self.n_classes] for k in range(self.width)]
        at_zero = torch.tensor(np.array(thresholds).reshape(self.width, -1), dtype=torch.float64)
        at_zero[1:] = inverse_softplus(at_zero.diff(dim=0))
        self._at_zero, self._n_classes = Constant(at_zero), torch.tensor(self.n_classes)

    def __repr__(self) -> str:
        return f"CumulativeLogit({list(self.n_classes)})"

    @classmethod
    def examples(cls) -> list[Self]:
        return [cls([2, 2, 2]), cls([3, 5, 2])]

    @classmethod
    def join(cls, losses: Sequence[Self]) -> Self:
        return cls([n for loss in losses for n in loss.n_classes])

    def constant_outputs(self) -> np.ndarray:
        """Return True for all outputs but the first."""
        return np.repeat(np.arange(self.width)[:, None] > 0, self.n_parts, axis=1)

    def loss(self, raw: Tensor, target: Tensor) -> Tensor:
        index = target.long().unsqueeze(-2).expand(*raw.shape[:-2], 1, -1)
        return -self.log_probabilities(raw).gather(-2, index).squeeze(-2)

    def weighted_losses(
        self, raw: Tensor, target: Tensor, coefficient: Tensor, out: Tensor, scratch: tuple[Tensor, Tensor]
    ) -> None:
        raw = raw.unflatten(-1, (self.width, self.n_parts))
        given = raw + self._at_zero.like(raw)
        odds = self._thresholds(given).neg_().add_(raw[..., :1, :])
        ends = odds.new_full((*odds.shape[:-2], 1, odds.shape[-1]), ENDLESS)
        odds = torch.cat([ends, odds, ends.neg()], dim=-2)  # of "more than k", with those of the ends of the scale
        label = target.long().unsqueeze(-2).expand(*raw.shape[:-2], 1, -1)
        last = label == moved(self._n_classes, raw.device) - 1
        above, below = odds.gather(-2, label), odds.gather(-2, label + 1).masked_fill_(last, -ENDLESS)
        gap = below - above
        loss = F.softplus(-above).add_(F.softplus(below)).sub_(log_complement(gap))
        torch.sum(loss.squeeze(-2).mul_(coefficient), -2, out=out)
        steep = torch.expm1(gap.neg_()).clamp_min_(torch.finfo(raw.dtype).eps).reciprocal_()
        factor = coefficient.unsqueeze(-2) if coefficient.ndim else coefficient
        by_above = above.neg_().sigmoid_().add_(steep).mul_(factor).neg_()
        by_below = below.sigmoid_().add_(steep).mul_(factor)
        by_odds = odds.zero_().scatter_(-2, label, by_above).scatter_(-2, label + 1, by_below)[..., 1:-1, :]
        of_later = by_odds.flip(-2).cumsum(-2).flip(-2)  # what thresholds from here on are worth
        torch.mul(of_later[..., 1:, :], given[..., 1:, :].sigmoid_().neg_(), out=raw[..., 1:, :])
        raw[..., :1, :].copy_(of_later[..., :1, :])

    def _thresholds(self, given: Tensor) -> Tensor:
        """Return the thresholds, of raw outputs and what they are at 0: (..., width, part)."""
        first = self._at_zero.like(given)[:1].expand_as(given[..., :1, :])
        return torch.cat([first, F.softplus(given[..., 1:, :])], dim=-2).cumsum(-2)

    def log_odds(self, raw: Tensor) -> Tensor:
        """Return the log odds of y > k for each k: (..., width, part)."""
        return raw[..., :1, :] - self._thresholds(raw + self._at_zero.like(raw))

    def log_probabilities(self, raw: Tensor) -> Tensor:
        """Return the log probability of each class: (..., width + 1, part); -inf for classes that a part lacks.

        Between two thresholds, of log odds a > b, it is log s(a) + log s(-b) + log(1 - exp(b - a)), s the logistic
        function.
        """
        odds = self.log_odds(raw)
        above, below = F.logsigmoid(odds), F.logsigmoid(-odds)
        classes = torch.arange(self.width + 1, device=raw.device)[:, None]
        last = moved(self._n_classes, raw.device) - 1
        between = log_complement(odds.diff(dim=-2))
        between = F.pad(between, (0, 0, 1, 1))  # the first and the last class lie beside one threshold
        upper = F.pad(above, (0, 0, 1, 0))
        lower = F.pad(below, (0, 0, 0, 1))
        inside = classes < last
        log_p = upper + torch.where(inside, lower + between, 0.0)
        return log_p.masked_fill(classes > last, float("-inf"))

    def probabilities(self, raw: Tensor) -> Tensor:
        """Return (..., width + 1, part) probabilities; classes that a part lacks have probability 0."""
        return self.log_probabilities(raw).exp()

    def decode(self, raw: Tensor) -> Tensor:
        return self.log_probabilities(raw).argmax(-2).to(raw.dtype)

    def distribution(self, raw: Tensor) -> Tensor:
        return self.probabilities(raw)

    def average(self, raw: Tensor) -> Tensor:
        """Return the raw outputs of the mean probabilities."""
        odds = self.log_odds(raw)
        mean = F.logsigmoid(odds).logsumexp(0) - F.logsigmoid(-odds).logsumexp(0)  # log odds of mean probabilities
        start = self._at_zero.like(raw)
        steps = inverse_softplus(-mean.diff(dim=-2)) - start[1:]
        return torch.cat([mean[..., :1, :] + start[:1], steps], dim=-2)
