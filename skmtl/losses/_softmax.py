"""Softmax cross entropy: any number of classes, another number in each part."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from skmtl._memory import moved
from skmtl.losses._base import Loss, Step


class Softmax(Loss):
    r"""Any number of classes; the raw outputs are unnormalised log probabilities.

    The loss is the cross entropy :math:`\log \sum_c e^{f_c} - f_y` in nats. Parts with fewer classes than the widest
    leave their last raw outputs unused: these get probability 0 and gradient 0. The class axis precedes the part axis,
    which keeps the softmax vectorised over parts.

    Parameters
    ----------
    n_classes : sequence of int
        Number of classes of each part.
    label_smoothing : float, default=0.0
        Share :math:`\varepsilon` of a label that is spread over all classes equally, in [0, 1).
    focal_gamma : float, default=0.0
        Exponent :math:`\gamma` >= 0: the term of class c is multiplied by :math:`(1 - p_c)^\gamma`, so that labels that
        are predicted well count for little.

    References
    ----------
    .. [1] C. Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", CVPR 2016 (smoothing).
    .. [2] T.-Y. Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017.
    """

    name = "softmax"

    def __init__(self, n_classes: Sequence[int], label_smoothing: float = 0.0, focal_gamma: float = 0.0) -> None:
        super().__init__(len(n_classes))
        self.label_smoothing, self.focal_gamma = float(label_smoothing), float(focal_gamma)
        self.needs_autograd = bool(label_smoothing or focal_gamma)
        self.n_classes = tuple(int(n) for n in n_classes)
        self.width = max(self.n_classes)
        self._unused: Tensor | None = None  # (width, part)
        if min(self.n_classes) < self.width:
            self._unused = torch.arange(self.width)[:, None] >= torch.tensor(self.n_classes)[None, :]

    def __repr__(self) -> str:
        options = f", {self.label_smoothing}, {self.focal_gamma}" if self.needs_autograd else ""
        return f"Softmax({list(self.n_classes)}{options})"

    @classmethod
    def examples(cls) -> list[Self]:
        return [cls([4, 4, 4]), cls([3, 5, 4]), cls([2, 2, 2]), cls([3, 2, 4], 0.05), cls([3, 2, 4], 0.02, 2.0)]

    def group_key(self) -> tuple[float, ...]:
        """Return the power of two that holds the class count, and the options.

        So padding never more than doubles the columns, and the number of groups grows with the logarithm of the largest
        count.
        """
        return ((self.width - 1).bit_length(), self.label_smoothing, self.focal_gamma)

    @classmethod
    def join(cls, losses: Sequence[Self]) -> Self:
        n_classes = [n for loss in losses for n in loss.n_classes]
        return cls(n_classes, losses[0].label_smoothing, losses[0].focal_gamma)

    def loss(self, raw: Tensor, target: Tensor) -> Tensor:
        log_p = self._mask(raw).log_softmax(-2)
        index = _index(target, raw)
        if not self.needs_autograd:
            return -log_p.gather(-2, index).squeeze(-2)
        log_p = log_p.clamp_min(torch.finfo(raw.dtype).min)  # 0 times -inf, of classes that a part lacks, is NaN
        terms = -log_p * (-torch.expm1(log_p)).clamp_min(torch.finfo(raw.dtype).tiny) ** self.focal_gamma
        used = terms if self._unused is None else terms.masked_fill(self._unused, 0.0)
        smooth = used.sum(-2) / torch.tensor(self.n_classes, device=raw.device)
        own = terms.gather(-2, index).squeeze(-2)
        return (1.0 - self.label_smoothing) * own + self.label_smoothing * smooth

    def bind(self, raw: Tensor, losses: Tensor) -> Step:
        raw = self.by_class(raw)
        step = cross_entropy(raw, losses, raw)
        if self._unused is None:
            return step
        unused = moved(self._unused, raw.device)

        def masked_step(target: Tensor) -> None:
            raw.masked_fill_(unused, float("-inf"))
            step(target)

        return masked_step

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


def cross_entropy(odds: Tensor, losses: Tensor, gradient: Tensor) -> Step:
    """Return what computes cross entropy and its gradient from log odds.

    Parameters
    ----------
    odds, gradient : Tensor of shape (member, batch, class, part)
        Log odds, up to a constant for each label; receives the derivatives by them. May be the same.
    losses : Tensor of shape (member, batch, part)
        Receives the losses.
    """
    axis = 2
    if odds.stride(1) == 1:  # the batch lies last in memory: there, too, for what needs its input contiguous
        in_place, axis = gradient is odds, 1
        odds, losses = odds.permute(0, 2, 3, 1), losses.mT
        gradient = odds if in_place else gradient.permute(0, 2, 3, 1)
    log_p, shape = torch.empty_like(odds), list(odds.shape)
    shape[axis] = 1
    of_label, label = odds.new_empty(shape), odds.new_empty(shape, dtype=torch.long)
    loss_of_label, by_row = of_label.squeeze(axis), label.squeeze(axis)
    by_row = by_row.mT if axis == 1 else by_row  # (member, batch, part)

    def step(target: Tensor) -> None:
        by_row.copy_(target)
        torch.log_softmax(odds, axis, out=log_p)
        torch.gather(log_p, axis, label, out=of_label)
        torch.neg(loss_of_label, out=losses)
        of_label.expm1_()  # p - 1, the gradient at the label
        torch.exp(log_p, out=gradient).scatter_(axis, label, of_label)

    return step
