"""Chained logistic loss: events of which each can only follow the one before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from skmtl.losses._base import Loss
from skmtl.losses._numerics import Constant, log_complement


class ChainedLogistic(Loss):
    r"""Binary events in chains: :math:`P(y_k) = \prod_{j \le k} \sigma(f_j)`, over all rows.

    Neighbouring parts form a chain; the raw output of a part is the log odds of its event given the one before. The
    loss of each is the cross entropy of :math:`P(y_k)` in nats, so that later events learn from all rows and not just
    from those that had the earlier ones.

    Parameters
    ----------
    lengths : sequence of int
        Parts of each chain.

    References
    ----------
    .. [1] X. Ma et al., "Entire Space Multi-Task Model", SIGIR 2018.
    """

    name = "chained_logistic"
    is_joint = True
    needs_autograd = False

    def __init__(self, lengths: Sequence[int]) -> None:
        super().__init__(sum(lengths))
        self.lengths = tuple(int(length) for length in lengths)
        self._sums = Constant(
            torch.block_diag(*[torch.ones(n, n).triu() for n in self.lengths]).double()
        )  # (part, later)

    def __repr__(self) -> str:
        return f"ChainedLogistic({list(self.lengths)})"

    @classmethod
    def examples(cls) -> list[Self]:
        return [cls([1, 2])]

    @classmethod
    def join(cls, losses: Sequence[Self]) -> Self:
        return cls([length for loss in losses for length in loss.lengths])

    def loss(self, raw: Tensor, target: Tensor) -> Tensor:
        log_p = self.log_probabilities(raw)
        return -(target * log_p + (1.0 - target) * log_complement(log_p))

    def weighted_losses(
        self, raw: Tensor, target: Tensor, coefficient: Tensor, out: Tensor, scratch: tuple[Tensor, Tensor]
    ) -> None:
        log_p = self.log_probabilities(raw.unsqueeze(-2))
        loss = torch.lerp(log_complement(log_p), log_p, target.expand_as(log_p))
        torch.sum(loss.mul_(coefficient), -2, out=out).neg_()
        odds = torch.expm1(log_p.neg_().clamp_min_(torch.finfo(raw.dtype).eps)).reciprocal_()  # of the event
        by_log = torch.lerp(odds, odds.new_tensor(-1.0), target.expand_as(odds)).mul_(coefficient)
        torch.mul(by_log @ self._sums.like(raw).T, raw.neg().sigmoid_(), out=raw)

    def log_probabilities(self, raw: Tensor) -> Tensor:
        """Return the log probability of each event: (..., 1, part) -> (..., part)."""
        return F.logsigmoid(raw.squeeze(-2)) @ self._sums.like(raw)

    def decode(self, raw: Tensor) -> Tensor:
        """Return the probability of each event."""
        return self.log_probabilities(raw).exp()

    def average(self, raw: Tensor) -> Tensor:
        """Return the log odds, given the event before, that belong to the mean probabilities."""
        mean = self.log_probabilities(raw).logsumexp(0) - torch.tensor(float(len(raw))).log()
        first = torch.cat([torch.ones(1), *[F.one_hot(torch.tensor(0), n) for n in self.lengths]])[1:].bool()
        before = F.pad(mean[..., :-1], (1, 0)).masked_fill(first.to(mean.device), 0.0)
        conditional = (mean - before).clamp_max(-torch.finfo(mean.dtype).tiny)
        return (conditional - log_complement(conditional)).unsqueeze(-2)
