"""Cox's partial likelihood: who has an event first, among those at risk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from skmtl.losses._base import Loss

NOBODY = -1e30
"""The logarithm of a weight of zero."""

EPS = 1e-30
"""A weight no smaller than which is one."""


class Cox(Loss):
    r"""Negative log partial likelihood of event times, in nats; the raw output is the log hazard ratio.

    A row that has an event adds :math:`\log \sum_j w_j e^{f_j} - f`, summed over the rows j that are still at risk at
    its time: only rows of one batch are compared. Targets are ranks of times, equal for ties, counted from 1: positive
    for an event, negative where a row was censored at that time.

    Parameters
    ----------
    n_parts : int, default=1
        Number of parts side by side.
    ties : {"breslow", "efron"}, default="breslow"
        Efron's approximation is closer to the exact likelihood where many events share a time, and takes memory for
        every pair of rows. Only with Breslow's is a row of weight 2 the row twice.

    References
    ----------
    .. [1] D. R. Cox, "Regression Models and Life-Tables", Journal of the Royal Statistical Society B 34, 1972.
    .. [2] B. Efron, "The Efficiency of Cox's Likelihood Function for Censored Data", JASA 72, 1977.
    """

    name = "cox"
    is_joint = True

    @property
    def needs_autograd(self) -> bool:  # type: ignore[override]
        """Whether a step goes through autograd: for Efron's ties."""
        return self.ties == "efron"

    def __init__(self, n_parts: int = 1, ties: str = "breslow") -> None:
        super().__init__(n_parts)
        self.ties = ties

    def __repr__(self) -> str:
        return f"Cox({self.n_parts}, {self.ties!r})"

    @classmethod
    def examples(cls) -> list[Self]:
        return [cls(3), cls(2, "efron")]

    def group_key(self) -> tuple[float, ...]:
        return (float(self.ties == "efron"),)

    @classmethod
    def join(cls, losses: Sequence[Self]) -> Self:
        return cls(sum(loss.n_parts for loss in losses), losses[0].ties)

    def loss(self, raw: Tensor, target: Tensor) -> Tensor:
        return self.weighted(raw, target, raw.new_ones(()))

    def weighted_losses(
        self, raw: Tensor, target: Tensor, coefficient: Tensor, out: Tensor, scratch: tuple[Tensor, Tensor]
    ) -> None:
        if self.ties == "efron":
            super().weighted_losses(raw, target, coefficient, out, scratch)
            return
        weight = coefficient.expand_as(raw).transpose(-1, -2)  # (member, part, batch)
        score, target = raw.transpose(-1, -2), target.expand_as(raw).transpose(-1, -2)
        log_weight = weight.clamp_min(EPS).log_().masked_fill_(weight <= 0, NOBODY)
        at_risk = _log_sum_at_risk(score + log_weight, target.abs())
        events = torch.where(target > 0, weight, 0.0)
        torch.sum((at_risk - score).mul_(events), -1, out=out)
        log_events = torch.where(target > 0, log_weight, NOBODY).sub_(at_risk)
        hazard = _log_sum_at_risk(log_events, target.abs().neg_())  # of all events up to one's own time
        raw.copy_(hazard.add_(score).add_(log_weight).exp_().sub_(events).transpose(-1, -2))

    def weighted(self, raw: Tensor, target: Tensor, coefficient: Tensor) -> Tensor:
        score = raw.squeeze(-2)
        weight, target = coefficient.expand_as(score), target.expand_as(score)
        score, weight, target = (values.transpose(-1, -2) for values in (score, weight, target))  # (..., part, batch)
        log_weight = weight.clamp_min(EPS).log().masked_fill(weight <= 0, NOBODY)
        at_risk = _log_sum_at_risk(score + log_weight, target.abs())
        if self.ties == "efron":
            at_risk = at_risk + _log_efron_share(score + log_weight, at_risk, target, weight)
        loss = torch.where(target > 0, at_risk - score, 0.0) * weight
        return loss.transpose(-1, -2)

    def decode(self, raw: Tensor) -> Tensor:
        return raw.squeeze(-2)


def _log_sum_at_risk(log_terms: Tensor, time: Tensor) -> Tensor:
    """Return the log of the sum of terms over all rows whose time is not before one's own: (..., batch)."""
    order = (-time).argsort(dim=-1)
    descending = (-time).gather(-1, order)
    sums = torch.logcumsumexp(log_terms.gather(-1, order), dim=-1)
    last = torch.searchsorted(descending, (-time).contiguous(), right=True) - 1  # of those with the same time
    return sums.gather(-1, last)


def _log_efron_share(log_terms: Tensor, at_risk: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Return the log of 1 - l/d D/S: for the l-th of d events of one time, whose terms sum to D of all at risk, S."""
    happens = (target > 0) & (weight > 0)
    same = (target.unsqueeze(-1) == target.unsqueeze(-2)) & (happens.unsqueeze(-1) & happens.unsqueeze(-2))
    tied = log_terms.unsqueeze(-2).masked_fill(~same, NOBODY).logsumexp(-1)
    earlier = same.tril(-1).sum(-1) / same.sum(-1).clamp_min(1)
    share = earlier * torch.exp((tied - at_risk).clamp_max(0.0))
    return torch.log1p(-torch.where(happens, share, 0.0))
