"""The objective: raw outputs, targets and what each label counts become one loss per task, and its gradient.

What a label counts is its coefficient: its share in the weight of its task, 0 where it is missing, times the number of
steps in an epoch. So a step's losses are, on average over the steps of an epoch, the weighted means over all observed
labels, however few of them are in one batch; and what acts in every step, as the sharing penalty and weight decay do,
weighs against a task just what the objective says. Means over the labels of each batch would not do that: a task
without a label in most batches would count for less the rarer its labels and the smaller the batches are.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from skmtl.tasks import LossGroup, average_members

Weigh = Callable[[Tensor], Tensor | None]


class Objective(nn.Module):
    r"""One loss per task, :math:`L_t = \sum_i c_{it} \ell_{it}` over its observed labels, of coefficients :math:`c`.

    Parameters
    ----------
    groups : tuple of LossGroup
        Losses and the places of their tasks.
    """

    def __init__(self, groups: tuple[LossGroup, ...]) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, raw: Tensor, target: Tensor, coefficient: Tensor) -> Tensor:
        """Return the task losses (member, task), differentiable.

        Parameters
        ----------
        raw : Tensor of shape (member, batch, n_outputs)
            Network outputs.
        target : Tensor of shape (batch, task) or (member, batch, task)
            Encoded targets; any finite number where the label is missing.
        coefficient : Tensor of the shape of target, or one number
            What multiplies each label's loss, 0 where it is missing.
        """
        return (self.pointwise(raw, target) * coefficient).sum(-2)

    def pointwise(self, raw: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each label: (member, batch, task)."""
        losses = [g.loss.loss(g.view(raw), target[..., g.tasks]) for g in self.groups]
        return losses[0] if len(losses) == 1 else torch.cat(losses, dim=-1)

    def decode(self, raw: Tensor) -> Tensor:
        """Return predictions in encoded units: (..., batch, n_outputs) -> (..., batch, task)."""
        parts = [g.loss.decode(g.view(raw)) for g in self.groups]
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
    groups : tuple of LossGroup
        Losses and the places of their tasks.
    raw : Tensor of shape (member, batch, n_outputs)
        Where raw outputs will lie, and after them their gradient.
    """

    def __init__(self, groups: tuple[LossGroup, ...], raw: Tensor) -> None:
        self._groups, self._raw = groups, raw
        own = [raw[..., group.columns] for group in groups]  # of each loss
        scratch = [(torch.empty_like(columns), torch.empty_like(columns)) for columns in own]
        self._parts = list(zip([group.loss.weighted_losses for group in groups], own, scratch, strict=True))

    def __call__(self, target: Tensor, coefficient: Tensor, out: Tensor, weigh: Weigh) -> None:
        """Write the task losses to `out`, and the gradient of their weighted sum over the raw outputs.

        Parameters
        ----------
        target, coefficient : Tensor
            As for `Objective`.
        out : Tensor of shape (member, task)
            Receives the losses.
        weigh : callable
            ``weigh(losses)`` gives the weight of each task, (member, task), or None where all weigh 1.
        """
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
        return torch.cat([values[..., g.tasks].repeat(1, g.loss.width) for g in self._groups], dim=-1)
