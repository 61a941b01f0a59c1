"""The objective: raw outputs, targets and label weights become one loss per task, and its gradient.

The mask of missing labels is applied here and nowhere else: a missing label has weight 0.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn

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

    def bind(self, raw: Tensor) -> LossPass:
        """Return a training step's way from the raw outputs, which will lie in `raw`, to losses and gradient."""
        return LossPass(self.groups, raw)


class LossPass:
    """The way from raw outputs to losses and gradient.

    Parameters
    ----------
    groups : tuple of TaskGroup
        Task kinds and their places.
    raw : Tensor of shape (member, batch, n_outputs)
        Where raw outputs will lie, and after them their gradient.
    """

    def __init__(self, groups: tuple[TaskGroup, ...], raw: Tensor) -> None:
        self._groups, self._raw = groups, raw
        own = [raw[..., group.columns] for group in groups]  # of each kind
        scratch = [(torch.empty_like(columns), torch.empty_like(columns)) for columns in own]
        self._parts = list(zip([group.kind.weighted_losses for group in groups], own, scratch, strict=True))

    def __call__(self, target: Tensor, weight: Tensor | None, out: Tensor, weigh: Weigh) -> None:
        """Write the task losses to `out`, and the gradient of their weighted sum over the raw outputs.

        Parameters
        ----------
        target, weight : Tensor
            As for `Objective`.
        out : Tensor of shape (member, task)
            Receives the losses.
        weigh : callable
            ``weigh(losses)`` gives the weight of each task, (member, task), or None where all weigh 1.
        """
        coefficient = coefficients(target, weight)
        if len(self._parts) == 1:
            weighted_losses, columns, scratch = self._parts[0]
            weighted_losses(columns, target, coefficient, out, scratch)
        else:
            for group, (weighted_losses, columns, scratch) in zip(self._groups, self._parts, strict=True):
                own = coefficient if coefficient.ndim == 0 else coefficient[..., group.tasks]
                weighted_losses(columns, target[..., group.tasks], own, out[..., group.tasks], scratch)
        task_weights = weigh(out)
        if task_weights is not None:
            self._raw.mul_(self._by_column(task_weights).unsqueeze(-2))

    def _by_column(self, values: Tensor) -> Tensor:
        """Return one value per task, (..., task), for each raw column: (..., n_outputs)."""
        return torch.cat([values[..., g.tasks].repeat(1, g.kind.width) for g in self._groups], dim=-1)


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
