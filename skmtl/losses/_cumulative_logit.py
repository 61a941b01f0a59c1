"""Cumulative logit: ordered classes with one slope and ordered thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from skmtl._memory import moved
from skmtl.losses._base import Loss, Step
from skmtl.losses._numerics import Constant, inverse_softplus, log_complement, softplus

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

    def bind(self, raw: Tensor, losses: Tensor) -> Step:
        raw, losses = self.by_class(raw).movedim(1, -1), losses.movedim(1, -1)  # (member, width, part, batch)
        start, to_odds, ends, worth = (values.to(raw) for values in self._maps())
        to_odds, ends = to_odds.expand(len(raw), -1, -1), ends.expand(len(raw), -1, raw[0, 0].numel())
        steps, slope = raw.new_empty(raw.shape), raw.new_ones(raw.shape)
        odds = raw.new_empty(len(raw), 3, self.width + 1, *raw.shape[2:])
        own = odds.new_empty(len(raw), 3, 1, *raw.shape[2:])  # of the label
        outer, distance, terms = own[:, :2, 0], own[:, 2:, 0], torch.empty_like(own[:, :, 0])
        (above, below), outer_terms, last_term = outer.unbind(1), terms[:, :2], terms[:, 2:]
        label = torch.empty_like(above, dtype=torch.long)  # (member, part, batch)
        index, reached = label[:, None, None].expand_as(own), raw.new_empty(2, self.width, *label.shape)
        by_row, (not_below, beyond) = label.mT, reached
        views = steps.flatten(2), odds.flatten(3).flatten(1, 2), label.view(-1), reached.view(-1, label.numel())
        flat_steps, flat_odds, flat_label, flat_reached = views
        given, slopes, by_raw, slope = steps[:, 1:], slope[:, 1:], raw.transpose(0, 1), slope.transpose(0, 1)
        eps = torch.finfo(raw.dtype).eps

        def step(target: Tensor) -> None:
            by_row.copy_(target)
            torch.add(raw, start, out=steps)
            torch.sigmoid(given, out=slopes)
            softplus(given, out=given)
            torch.baddbmm(ends, to_odds, flat_steps, out=flat_odds)
            torch.gather(odds, 2, index, out=own)
            softplus(outer, out=outer_terms)
            outer.sigmoid_()
            steep = distance.expm1_().clamp_min_(eps).reciprocal_()
            torch.log1p(steep, out=last_term)
            torch.sum(terms, 1, out=losses)
            outer.add_(steep)
            torch.index_select(worth, 1, flat_label, out=flat_reached)
            not_below.mul_(below).addcmul_(beyond, above)
            torch.mul(not_below, slope, out=by_raw)

        return step

    def _maps(self) -> tuple[Tensor, ...]:
        """Return what `bind` adds and multiplies.

        Returns
        -------
        Tensor of shape (width, part, 1)
            With the raw outputs added: log odds of y > 0, and what softplus makes the distances of thresholds. Those
            that a part lacks are far away.
        Tensors of shape (3 * class, width) and (3 * class, 1)
            From these to what each class k needs: log odds of y < k and of y > k, and the distance of its thresholds.
        Tensor of shape (2 * width, class)
            How the log odds of y > k and of y < k depend on each raw output, where k is the label.
        """
        start, n_classes = self._at_zero.values.clone(), self.width + 1
        start[0].neg_()
        start[torch.arange(self.width)[:, None] > self._n_classes.cpu() - 2] = ENDLESS**2
        signs = torch.ones(self.width, dtype=torch.float64)
        signs[1:] = -1.0
        from_steps, distances = torch.ones(self.width, self.width).double().tril() * signs, torch.eye(self.width)[1:]
        blocks = F.pad(-from_steps, (0, 0, 1, 0)), F.pad(from_steps, (0, 0, 0, 1)), F.pad(distances, (0, 0, 1, 1))
        ends = torch.zeros(3, n_classes)
        ends[0, 0] = ends[1, -1] = -ENDLESS
        ends[2, 0] = ends[2, -1] = ENDLESS
        reached = torch.ones(self.width, n_classes).double() * signs[:, None]
        worth = torch.cat([reached.triu(), -reached.triu(1)])
        return start[..., None], torch.cat(blocks), ends.view(-1, 1), worth

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
