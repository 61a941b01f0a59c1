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
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from skmtl._memory import moved
from skmtl.losses import Loss
from skmtl.losses._base import Step
from skmtl.tasks import LossGroup, TaskLayout, average_members

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
        self._layout, self._raw = layout, raw
        self._step: Step | None = None
        self._sum_parts: _PartSums | None = None
        self._own_coefficient: Tensor | None = None
        self._each: list[tuple[slice, LossPass]] = []  # a pass for each group, where some loss does all itself
        loss = layout.groups[0].loss
        self._is_plain = loss.width == 1  # whether raw columns are parts
        if len(layout.groups) > 1:
            self._bind_several()
        elif _gives_steps(loss):
            self._labels = torch.empty_like(raw if self._is_plain else raw[..., : loss.n_parts])
            self._step = loss.bind(raw, self._labels)
        else:
            self._compute, self._scratch = loss.weighted_losses, (torch.empty_like(raw), torch.empty_like(raw))
        if not layout.has_one_part_each:
            self._sum_parts = _PartSums(layout)
            self._part_losses = raw.new_zeros(len(raw), layout.n_parts + 1)  # the last column stays 0
            self._own_losses = self._part_losses[:, :-1]

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
        losses = out if self._sum_parts is None else self._own_losses
        if self._step is not None:
            self._step(target)
            if coefficient.ndim == 0:
                torch.sum(self._labels, -2, out=losses).mul_(coefficient)
            else:
                if self._own_coefficient is not None:
                    coefficient = self._own_coefficient.copy_(coefficient)
                torch.sum(self._labels.mul_(coefficient), -2, out=losses)
                if not self._is_plain:
                    coefficient = self._of_columns(coefficient)
            self._raw.mul_(coefficient)
        elif self._each:
            for parts, one in self._each:
                one(target[..., parts], _of_parts(coefficient, parts), losses[:, parts], _equally)
        else:
            self._compute(self._raw, target, coefficient, losses, self._scratch)
        if self._sum_parts is not None:
            self._sum_parts.of_padded(self._part_losses, out)
        task_weights = weigh(out)
        if task_weights is not None:
            self._raw.mul_(task_weights.index_select(-1, self._column_owners).unsqueeze(-2))

    def _bind_several(self) -> None:
        layout, raw = self._layout, self._raw
        if not all(_gives_steps(group.loss) for group in layout.groups):
            self._each = [(g.parts, LossPass(_alone(g.loss), raw[..., g.columns])) for g in layout.groups]
            return
        self._is_plain = layout.n_outputs == layout.n_parts
        shape = len(raw), layout.n_parts, raw.shape[1]  # the batch last in memory: what a loss reads is in one piece
        self._labels, self._own_coefficient = raw.new_empty(shape).mT, raw.new_empty(shape).mT
        self._step = _joint_step(layout, raw, self._labels)

    def _of_columns(self, coefficient: Tensor) -> Tensor:
        """Return the coefficients of the raw columns: (..., batch, part) -> (..., batch, n_outputs)."""
        if self._own_coefficient is None:
            return coefficient.index_select(-1, self._column_parts)
        return coefficient.mT.index_select(-2, self._column_parts).mT  # the batch last in memory

    @cached_property
    def _column_parts(self) -> Tensor:
        return torch.as_tensor(self._layout.column_parts, device=self._raw.device)

    @cached_property
    def _column_owners(self) -> Tensor:
        return torch.as_tensor(self._layout.column_owners, device=self._raw.device)


def _joint_step(layout: TaskLayout, raw: Tensor, labels: Tensor) -> Step:
    """Return the step of several losses; `labels` receives the loss of each label."""
    targets = torch.empty_like(labels)
    steps = [
        (group.loss.bind(raw[..., group.columns], labels[..., group.parts]), targets[..., group.parts])
        for group in layout.groups
    ]

    def step(target: Tensor) -> None:
        targets.copy_(target)
        for one, own_target in steps:
            one(own_target)

    return step


def _gives_steps(loss: Loss) -> bool:
    """Return whether the loss leaves weights and sums to a pass."""
    kind = type(loss)
    return kind.bind is not Loss.bind and kind.weighted_losses is Loss.weighted_losses and not loss.needs_autograd


def _alone(loss: Loss) -> TaskLayout:
    """Return the layout of one loss whose parts are tasks."""
    places, parts = np.arange(loss.n_parts), slice(0, loss.n_parts)
    return TaskLayout((LossGroup(loss, parts, slice(0, loss.width * loss.n_parts)),), places, places, places)


def _equally(losses: Tensor) -> None:
    """Weigh no task."""


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
        self._index, self._shape = torch.as_tensor(index.ravel()), index.shape  # (task, part of the task)

    def __call__(self, losses: Tensor) -> Tensor:
        return self._gather(nn.functional.pad(losses, (0, 1))).sum(-1)

    def of_padded(self, losses: Tensor, out: Tensor) -> None:
        """Write the sums to `out`, of losses with the added column."""
        torch.sum(self._gather(losses), -1, out=out)

    def _gather(self, losses: Tensor) -> Tensor:
        self._index = moved(self._index, losses.device)
        return losses.index_select(-1, self._index).unflatten(-1, self._shape)
