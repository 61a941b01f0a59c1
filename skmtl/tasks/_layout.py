"""Where each task is in the network: tasks of one loss side by side, so that it is computed for all of them at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from skmtl.losses import Logistic, Loss, Softmax, SquaredError


@dataclass(frozen=True)
class LossGroup:
    """Tasks of one loss: a slice of the task axis and a slice of the raw columns, class before task."""

    loss: Loss
    tasks: slice
    columns: slice

    def view(self, raw: Tensor) -> Tensor:
        """Return this loss's part of raw outputs: (..., n_outputs) -> (..., width, task)."""
        if self.columns.stop - self.columns.start < raw.shape[-1]:
            raw = raw[..., self.columns]
        return raw.unsqueeze(-2) if self.loss.width == 1 else raw.unflatten(-1, (self.loss.width, -1))


@dataclass(frozen=True)
class TaskLayout:
    """The order of tasks and raw columns inside the network.

    Attributes
    ----------
    groups : tuple of LossGroup
        Losses, in the order of their tasks and columns.
    order : int array of shape (n_tasks,)
        ``order[i]`` is the user's number of the task that stands at place i.
    """

    groups: tuple[LossGroup, ...]
    order: np.ndarray

    @property
    def n_tasks(self) -> int:
        return len(self.order)

    @property
    def n_outputs(self) -> int:
        return int(self.groups[-1].columns.stop)

    @property
    def places(self) -> np.ndarray:
        """Return the place of each of the user's tasks, the inverse of `order`."""
        return np.argsort(self.order)


def average_members(groups: Sequence[LossGroup], raw: Tensor) -> Tensor:
    """Return the raw outputs that say what members say on average: (member, ..., n_outputs) -> (..., n_outputs)."""
    if len(raw) == 1:
        return raw[0]
    parts = [group.loss.average(group.view(raw)).flatten(-2) for group in groups]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)


def regression_layout(n_tasks: int) -> TaskLayout:
    """Return the layout of `n_tasks` regression tasks."""
    return _stack([(SquaredError(n_tasks), np.arange(n_tasks))])


def classification_layout(n_classes: Sequence[int]) -> TaskLayout:
    """Return the layout of tasks with these class counts.

    Two-class tasks stand together. The others are gathered by the power of two that holds their count, so that
    padding never more than doubles the columns and the number of groups grows with the logarithm of the largest count.
    """
    counts = np.asarray(n_classes)
    members: list[tuple[Loss, np.ndarray]] = []
    binary = np.flatnonzero(counts == 2)
    if len(binary):
        members.append((Logistic(len(binary)), binary))
    bucket = np.where(counts == 2, -1, np.ceil(np.log2(np.maximum(counts, 1))).astype(int))
    for size in np.unique(bucket[bucket >= 0]):
        tasks = np.flatnonzero(bucket == size)
        members.append((Softmax(counts[tasks].tolist()), tasks))
    return _stack(members)


def _stack(members: list[tuple[Loss, np.ndarray]]) -> TaskLayout:
    groups, task, column = [], 0, 0
    for loss, tasks in members:
        groups.append(
            LossGroup(loss, slice(task, task + len(tasks)), slice(column, column + loss.width * loss.n_tasks))
        )
        task, column = groups[-1].tasks.stop, groups[-1].columns.stop
    return TaskLayout(tuple(groups), np.concatenate([tasks for _, tasks in members]))
