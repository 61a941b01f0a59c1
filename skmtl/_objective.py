"""The objective: raw outputs, targets and what each label counts become one loss per task, and its gradient.

What a label counts is its coefficient: its share in the weight of its task, 0 where it is missing, times the number of
steps in an epoch. So a step's losses are, on average over the steps of an epoch, the weighted means over all observed
labels, however few of them are in one batch; and what acts in every step, as the sharing penalty and weight decay do,
has the weight against a task that the objective gives it. Means over the labels of each batch would differ: a task
without a label in most batches would count for less the rarer its labels and the smaller the batches are.

Targets and coefficients have a column per part; a task's loss is the sum of its parts' losses (most tasks have one
part, and then the two are the same). Losses and weights have a column per task.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from skmtl._memory import moved
from skmtl.tasks import TaskLayout, average_members

Weigh = Callable[[Tensor], Tensor | None]


class Objective(nn.Module):
    r"""One loss per task, :math:`L_t = \sum_i c_{it} \ell_{it}` over its observed labels, of coefficients :math:`c`.

    Parameters
    ----------
    layout : TaskLayout
        Losses, and the places of tasks and their parts.
    """

    def __init__(self, layout: TaskLayout) -> None:
        super().__init__()
        self.groups = layout.groups
        self._sum_parts = None if layout.has_one_part_each else _PartSums(layout)
        self._layout = layout

    def forward(self, raw: Tensor, target: Tensor, coefficient: Tensor) -> Tensor:
        """Return the task losses (member, task), differentiable.

        Parameters
        ----------
        raw : Tensor of shape (member, batch, n_outputs)
            Network outputs.
        target : Tensor of shape (batch, part) or (member, batch, part)
            Encoded targets; any finite number where the label is missing.
        coefficient : Tensor of the shape of target, or one number
            What multiplies each label's loss, 0 where it is missing.
        """
        return self.by_task(self.weighted(raw, target, coefficient).sum(-2))

    def weighted(self, raw: Tensor, target: Tensor, coefficient: Tensor) -> Tensor:
        """Return what each label adds to the loss of its part: (member, batch, part)."""
        first, *others = self.groups
        if not others:
            return first.loss.weighted(first.view(raw), target, coefficient)
        losses = [
            g.loss.weighted(g.view(raw), target[..., g.parts], _of_parts(coefficient, g.parts)) for g in self.groups
        ]
        return torch.cat(losses, dim=-1)

    def pointwise(self, raw: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each label: (member, batch, part)."""
        losses = [g.loss.loss(g.view(raw), target[..., g.parts]) for g in self.groups]
        return losses[0] if len(losses) == 1 else torch.cat(losses, dim=-1)

    def by_task(self, losses: Tensor) -> Tensor:
        """Return the sum over the parts of each task: (..., part) -> (..., task)."""
        return losses if self._sum_parts is None else self._sum_parts(losses)

    def decode(self, raw: Tensor) -> Tensor:
        """Return predictions in encoded units: (..., batch, n_outputs) -> (..., batch, part)."""
        parts = [g.loss.decode(g.view(raw)) for g in self.groups]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)

    def average(self, raw: Tensor) -> Tensor:
        """Return the raw outputs of an ensemble: (member, ..., n_outputs) -> (..., n_outputs)."""
        return average_members(self.groups, raw)

    def bind(self, raw: Tensor) -> LossPass:
        """Return what a training step does from the raw outputs, stored in `raw`, to losses and gradient."""
        return LossPass(self._layout, raw)


class LossPass:
    """Compute losses and gradient from raw outputs.

    Parameters
    ----------
    layout : TaskLayout
        Losses, and the places of tasks and their parts.
    raw : Tensor of shape (member, batch, n_outputs)
        The buffer that holds the raw outputs, and after them their gradient.
    """

    def __init__(self, layout: TaskLayout, raw: Tensor) -> None:
        groups = layout.groups
        self._groups, self._raw = groups, raw
        own = [raw[..., group.columns] for group in groups]  # of each loss
        scratch = [(torch.empty_like(columns), torch.empty_like(columns)) for columns in own]
        self._by_loss = list(zip([group.loss.weighted_losses for group in groups], own, scratch, strict=True))
        if len(groups) > 1:
            self._sizes = [group.loss.n_parts for group in groups]
            self._own_losses = [raw.new_empty(len(raw), size) for size in self._sizes]
        self._sum_parts = None
        if not layout.has_one_part_each:
            self._sum_parts = _PartSums(layout)
            self._part_losses = raw.new_empty(len(raw), layout.n_parts)
            self._owners = torch.as_tensor(layout.owners, device=raw.device)

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
        losses = out if self._sum_parts is None else self._part_losses
        if len(self._by_loss) == 1:
            weighted_losses, columns, scratch = self._by_loss[0]
            weighted_losses(columns, target, coefficient, losses, scratch)
        else:
            targets = target.split_with_sizes(self._sizes, -1)
            shared = coefficient.ndim == 0
            coefficients = [coefficient] * len(targets) if shared else coefficient.split_with_sizes(self._sizes, -1)
            each = zip(self._by_loss, targets, coefficients, self._own_losses, strict=True)
            for (weighted_losses, columns, scratch), own_target, own_coefficient, own in each:
                weighted_losses(columns, own_target, own_coefficient, own, scratch)
            torch.cat(self._own_losses, -1, out=losses)
        if self._sum_parts is not None:
            out.copy_(self._sum_parts(losses))
        task_weights = weigh(out)
        if task_weights is not None:
            self._raw.mul_(self._by_column(task_weights).unsqueeze(-2))

    def _by_column(self, values: Tensor) -> Tensor:
        """Return one value per task, (member, task), for each raw column: (member, n_outputs)."""
        if self._sum_parts is not None:
            values = values[:, self._owners]
        return torch.cat([values[..., g.parts].repeat(1, g.loss.width) for g in self._groups], dim=-1)


def _of_parts(coefficient: Tensor, parts: slice) -> Tensor:
    """Return the coefficients of some parts, or the one number for all."""
    return coefficient if coefficient.ndim == 0 else coefficient[..., parts]


class _PartSums:
    """Sum over the parts of each task, (..., part) -> (..., task), in the same order at every call.

    Each task gathers its own parts, and an added column of zeros where it has fewer than another task: unlike adding to
    an index, this gives equal bits on a GPU too, and unlike a product with zeros and ones, no task gets the NaN of
    another.
    """

    def __init__(self, layout: TaskLayout) -> None:
        of_task = [np.flatnonzero(layout.owners == task) for task in range(layout.n_tasks)]
        index = np.full((layout.n_tasks, max(map(len, of_task))), layout.n_parts)
        for task, parts in enumerate(of_task):
            index[task, : len(parts)] = parts
        self._index = torch.as_tensor(index)  # (task, part of the task)

    def __call__(self, losses: Tensor) -> Tensor:
        self._index = moved(self._index, losses.device)
        return nn.functional.pad(losses, (0, 1))[..., self._index].sum(-1)
