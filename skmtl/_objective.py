"""The objective: raw outputs, targets and label weights become one loss per task, and its gradient.

The mask of missing labels is applied here and nowhere else: a missing label has weight 0.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn

from skmtl.sharing import ViewOf
from skmtl.tasks import TaskGroup, average_members

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
        self._places = [_Place(group, len(groups) == 1) for group in groups]

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
        parts = []
        for place, g in zip(self._places, self.groups, strict=True):
            loss, gradient = g.kind.loss_and_gradient(place.raw(raw), place.target(target))
            torch.sum(loss.mul_(place.pick(coefficient)), -2, out=place.pick(out))
            parts.append(gradient)
        task_weights = weigh(out)
        if task_weights is not None:
            coefficient = coefficient * task_weights.unsqueeze(-2)
        for place, gradient in zip(self._places, parts, strict=True):
            gradient.mul_(place.pick_columns(coefficient))
        flat = [place.flat(gradient) for place, gradient in zip(self._places, parts, strict=True)]
        return flat[0] if len(flat) == 1 else torch.cat(flat, dim=-1)


class _Place:
    """Where a kind stands: its parts of what a step computes with, as views that are made once."""

    def __init__(self, group: TaskGroup, is_only: bool) -> None:
        self._tasks = slice(None) if is_only else group.tasks
        self._is_only = is_only
        self.raw = ViewOf(group.view)
        self.target = ViewOf(self.pick)
        self.flat = ViewOf(_flatten_columns)

    def pick(self, values: Tensor) -> Tensor:
        """Return the kind's part of (..., task) values; one number stands for all tasks."""
        return values if self._is_only or values.ndim == 0 else values[..., self._tasks]

    def pick_columns(self, coefficient: Tensor) -> Tensor:
        """Return the kind's part of (..., task) as (..., 1, task), for it goes with raw outputs (..., width, task)."""
        return coefficient if coefficient.ndim == 0 else self.pick(coefficient).unsqueeze(-2)


def _flatten_columns(gradient: Tensor) -> Tensor:
    """Return (..., width, task) as raw columns, class before task."""
    return gradient.squeeze(-2) if gradient.shape[-2] == 1 else gradient.flatten(-2)


def coefficients(target: Tensor, weight: Tensor | None) -> Tensor:
    """Return what multiplies each label's loss so that the sum over the batch is the weighted mean.

    A task without a label in the batch gets zeros, never NaN.
    """
    if weight is None:
        return _share_of_a_row(target.shape[-2], target.dtype, target.device)
    total = weight.sum(-2, keepdim=True)
    return weight / torch.maximum(total, _smallest(weight.dtype, weight.device))


@cache
def _share_of_a_row(n_rows: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return 1 / n as a tensor: torch turns a Python number into one at every use, which costs more than using it."""
    with torch.inference_mode(False):
        return torch.tensor(1.0 / n_rows, dtype=dtype, device=device)


@cache
def _smallest(dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the smallest normal number of a precision as a tensor."""
    with torch.inference_mode(False):
        return torch.tensor(torch.finfo(dtype).tiny, dtype=dtype, device=device)
