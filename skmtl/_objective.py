"""The objective: raw outputs, targets and label weights become one loss per task, and its gradient.

The mask of missing labels is applied here and nowhere else: a missing label has weight 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from skmtl.tasks import TaskGroup, average_members

T = TypeVar("T", Tensor, float)
Weigh = Callable[[Tensor], Tensor | None]


class Objective(nn.Module):
    r"""One loss per task, :math:`L_t = \sum_i s_{it} \ell_{it} / \sum_i s_{it}` over its observed labels.

    Parameters
    ----------
    groups : tuple of TaskGroup
        Task kinds and their places.
    """

    def __init__(self, groups: tuple[TaskGroup, ...]) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, raw: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return the task losses (member, task), differentiable.

        Parameters
        ----------
        raw : Tensor of shape (member, batch, n_outputs)
            Network outputs.
        target : Tensor of shape (batch, task) or (member, batch, task)
            Encoded targets; any finite number where the label is missing.
        weight : Tensor of the shape of target, or None
            Weight of each label, 0 where missing; None where every label is observed and weighs 1.
        """
        return (self.pointwise(raw, target) * coefficients(target, weight)).sum(-2)

    def pointwise(self, raw: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each label: (member, batch, task)."""
        losses = [g.kind.loss(g.view(raw), target[..., g.tasks]) for g in self.groups]
        return losses[0] if len(losses) == 1 else torch.cat(losses, dim=-1)

    def decode(self, raw: Tensor) -> Tensor:
        """Return predictions in encoded units: (..., batch, n_outputs) -> (..., batch, task)."""
        parts = [g.kind.decode(g.view(raw)) for g in self.groups]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)

    def average(self, raw: Tensor) -> Tensor:
        """Return the raw outputs of an ensemble: (member, ..., n_outputs) -> (..., n_outputs)."""
        return average_members(self.groups, raw)

    def loss_and_gradient(
        self, raw: Tensor, target: Tensor, weight: Tensor | None, out: Tensor, weigh: Weigh
    ) -> Tensor:
        """Write the task losses to `out`; return the gradient of the weighted sum of losses by the raw outputs.

        Parameters
        ----------
        raw : Tensor of shape (member, batch, n_outputs)
            Overwritten.
        target, weight : Tensor
            As for `forward`.
        out : Tensor of shape (member, task)
            Receives the losses.
        weigh : callable
            ``weigh(losses)`` gives the weight of each task, (member, task), or None where all weigh 1.
        """
        coefficient = coefficients(target, weight)
        gradients = []
        for g in self.groups:
            loss, gradient = g.kind.loss_and_gradient(g.view(raw), _pick(target, g))
            torch.sum(loss.mul_(_pick(coefficient, g)), -2, out=_pick(out, g))
            gradients.append(gradient)
        task_weights = weigh(out)
        if task_weights is not None:
            coefficient = coefficient * task_weights.unsqueeze(-2)
        return self._scale(gradients, coefficient)

    def _scale(self, gradients: list[Tensor], coefficient: Tensor | float) -> Tensor:
        """Multiply (member, batch, width, task) by (batch, task) and lay the kinds side by side again."""
        for g, gradient in zip(self.groups, gradients, strict=True):
            picked = _pick(coefficient, g)
            gradient.mul_(picked if isinstance(picked, float) else picked.unsqueeze(-2))
        flat = [gradient.squeeze(-2) if gradient.shape[-2] == 1 else gradient.flatten(-2) for gradient in gradients]
        return flat[0] if len(flat) == 1 else torch.cat(flat, dim=-1)


def coefficients(target: Tensor, weight: Tensor | None) -> Tensor | float:
    """Return what multiplies each label's loss so that the sum over the batch is the weighted mean.

    A task without a label in the batch gets zeros, never NaN.
    """
    if weight is None:
        return 1.0 / target.shape[-2]
    total = weight.sum(-2, keepdim=True)
    return weight / total.clamp_min(torch.finfo(weight.dtype).tiny)


def _pick(values: T, group: TaskGroup) -> T:
    """Return a kind's part of (..., task) values; a number stands for all tasks."""
    if isinstance(values, float) or values.shape[-1] == group.kind.n_tasks:
        return values
    return values[..., group.tasks]
