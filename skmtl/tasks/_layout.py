"""Where each task is in the network: parts of one loss are neighbours, so that it is computed for all of them at once.

A **part** is one column of targets with its loss. Most tasks have one; a task may own several, of one loss or of
different ones, and stays one task: one tower or query, one loss (the sum of its parts'), one weight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from skmtl.losses import Logistic, Loss, Softmax, SquaredError

ROW = "row"
"""The site of a task that reads a row as a whole."""


@dataclass(frozen=True)
class LossGroup:
    """Parts of one loss: a slice of the part axis and a slice of the raw columns, class before part."""

    loss: Loss
    parts: slice
    columns: slice

    def view(self, raw: Tensor) -> Tensor:
        """Return this loss's part of raw outputs: (..., n_outputs) -> (..., width, part)."""
        if self.columns.stop - self.columns.start < raw.shape[-1]:
            raw = raw[..., self.columns]
        return raw.unsqueeze(-2) if self.loss.width == 1 else raw.unflatten(-1, (self.loss.width, -1))


class Decoding(NamedTuple):
    """What a decoder writes: sequences of ids.

    Attributes
    ----------
    n_ids : int
        The largest id; 0 is the end.
    length : int
        Ids at most.
    n_layers, n_heads : int
        Of its attention.
    beam_size : int, default=1
        Sequences kept in the search.
    """

    n_ids: int
    length: int
    n_layers: int
    n_heads: int
    beam_size: int = 1


@dataclass(frozen=True, eq=False)
class SiteLayout:
    """The tasks of one site: their raw columns at one place, and where those of all places are in the network.

    Attributes
    ----------
    site : str
        Its name.
    tasks : int array
        Places in the network of its tasks, in the order of `at_place`.
    at_place : TaskLayout
        Of these tasks at one place.
    columns : int array of shape (n_places, at_place.n_outputs)
        The raw column in the network of each output of each place.
    decoding : Decoding or None, default=None
        What the decoder writes whose places these are.
    """

    site: str
    tasks: np.ndarray
    at_place: TaskLayout
    columns: np.ndarray
    decoding: Decoding | None = None


@dataclass(frozen=True)
class TaskLayout:
    """The order of tasks, parts and raw columns inside the network.

    Attributes
    ----------
    groups : tuple of LossGroup
        Losses, in the order of their parts and columns.
    order : int array of shape (n_tasks,)
        ``order[i]`` is the user's number of the task at place i.
    part_order : int array of shape (n_parts,)
        ``part_order[j]`` is the number of the part at place j, counted through the user's tasks one after the other.
        Equal to `order` where every task has one part.
    owners : int array of shape (n_parts,)
        ``owners[j]`` is the place of the task that owns the part at place j; j itself where every task has one part.
    sites : tuple of SiteLayout, default=()
        Which tasks read which places of a row; none where all read the row as a whole.
    """

    groups: tuple[LossGroup, ...]
    order: np.ndarray
    part_order: np.ndarray
    owners: np.ndarray
    sites: tuple[SiteLayout, ...] = ()

    @property
    def n_tasks(self) -> int:
        return len(self.order)

    @cached_property
    def has_places(self) -> np.ndarray | None:
        """Which tasks read places of a row, (n_tasks,); None for none."""
        if not self.sites:
            return None
        found = np.zeros(self.n_tasks, dtype=bool)
        for own in self.sites:
            found[own.tasks] = own.site != ROW
        return found

    @property
    def writing(self) -> list[SiteLayout]:
        """Sites whose places a decoder writes."""
        return [own for own in self.sites if own.decoding is not None]

    @property
    def n_parts(self) -> int:
        return len(self.owners)

    @property
    def n_outputs(self) -> int:
        return int(self.groups[-1].columns.stop)

    @cached_property
    def has_one_part_each(self) -> bool:
        """Whether every task has one part, so that the part axis is the task axis."""
        return len(self.owners) == len(self.order)

    @property
    def places(self) -> np.ndarray:
        """Return the place of each of the user's tasks, the inverse of `order`."""
        return np.argsort(self.order)

    @cached_property
    def column_parts(self) -> np.ndarray:
        """The part that each raw column belongs to: (n_outputs,)."""
        return np.concatenate([np.tile(np.arange(g.parts.start, g.parts.stop), g.loss.width) for g in self.groups])

    @cached_property
    def column_classes(self) -> np.ndarray:
        """Which output of its part each raw column is: (n_outputs,)."""
        return np.concatenate([np.repeat(np.arange(g.loss.width), g.loss.n_parts) for g in self.groups])

    @cached_property
    def column_slots(self) -> np.ndarray:
        """The place of each raw column among those of its task, parts one after the other: (n_outputs,)."""
        first, taken = np.zeros(self.n_parts, dtype=int), np.zeros(self.n_tasks, dtype=int)
        for group in self.groups:
            for part in range(group.parts.start, group.parts.stop):
                first[part] = taken[self.owners[part]]
                taken[self.owners[part]] += group.loss.width
        return first[self.column_parts] + self.column_classes

    @cached_property
    def constant_columns(self) -> np.ndarray | None:
        """Which raw columns X does not change: bools (n_outputs,), None for none."""
        constant = [group.loss.constant_outputs() for group in self.groups]
        if all(of_group is None for of_group in constant):
            return None
        sizes = [(group.loss.width, group.loss.n_parts) for group in self.groups]
        full = [np.zeros(size, dtype=bool) if c is None else c for c, size in zip(constant, sizes, strict=True)]
        return np.concatenate([of_group.ravel() for of_group in full])

    @cached_property
    def column_owners(self) -> np.ndarray:
        """The place of the task that each raw column belongs to: (n_outputs,)."""
        return self.owners[self.column_parts]

    @cached_property
    def task_widths(self) -> np.ndarray:
        """The number of raw columns of each task: (n_tasks,)."""
        widths = np.repeat([g.loss.width for g in self.groups], [g.loss.n_parts for g in self.groups])
        return widths if self.has_one_part_each else np.bincount(self.owners, widths).astype(int)


def average_members(groups: Sequence[LossGroup], raw: Tensor) -> Tensor:
    """Return raw outputs that decode to the mean of the members': (member, ..., n_outputs) -> (..., n_outputs)."""
    if len(raw) == 1:
        return raw[0]
    parts = [group.loss.average(group.view(raw)).flatten(-2) for group in groups]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)


def make_layout(tasks: Sequence[Sequence[Loss]]) -> TaskLayout:
    """Return the layout of tasks, each given by the losses of its parts.

    Losses of one class and one `Loss.group_key` are joined to one. Inside the network a task is placed by the first of
    its parts.

    Examples
    --------
    A task of one number; one of a number and two yes-or-no answers; one of three classes.

    >>> from skmtl.losses import Logistic, Softmax, SquaredError
    >>> two_parts = [SquaredError(1), Logistic(2)]
    >>> layout = make_layout([[SquaredError(1)], two_parts, [Softmax([3])]])
    >>> [group.loss for group in layout.groups]
    [Logistic(2), Softmax([3]), SquaredError(2)]
    >>> layout.order.tolist(), layout.owners.tolist()
    ([1, 2, 0], [0, 0, 1, 2, 0])
    """
    of_group: dict[tuple[type[Loss], tuple[float, ...]], list[tuple[Loss, int, int]]] = {}
    n_parts = 0
    for task, losses in enumerate(tasks):
        for loss in losses:
            of_group.setdefault((type(loss), loss.group_key()), []).append((loss, task, n_parts))
            n_parts += loss.n_parts
    groups, column = [], 0
    owners: list[int] = []
    numbers: list[int] = []
    for cls, key in sorted(of_group, key=lambda group: (group[0].__name__, group[1])):
        members, start = of_group[cls, key], len(owners)
        joined = cls.join([loss for loss, _, _ in members])
        for loss, task, first in members:
            owners += [task] * loss.n_parts
            numbers += range(first, first + loss.n_parts)
        stop = column + joined.width * joined.n_parts
        groups.append(LossGroup(joined, slice(start, len(owners)), slice(column, stop)))
        column = stop
    order = np.array(list(dict.fromkeys(owners)))
    return TaskLayout(tuple(groups), order, np.array(numbers), order.argsort()[owners])


def make_site_layout(
    tasks: Sequence[Sequence[Loss]],
    at_place: Sequence[Sequence[Loss]],
    sites: Sequence[str],
    decodings: Mapping[str, Decoding] | None = None,
) -> TaskLayout:
    """Return the layout of tasks of which some read places of a row.

    Parameters
    ----------
    tasks : sequence of sequences of Loss
        The losses of each task's parts over all places.
    at_place : sequence of sequences of Loss
        The same at one place; their parts, place after place, are those of `tasks`.
    sites : sequence of str
        The site of each task.
    decodings : dict of Decoding, default=None
        What decoders write, by the site of their task.
    """
    layout = make_layout(tasks)
    columns, first = _columns_of_parts(layout), np.cumsum([0, *(loss.n_parts for own in tasks for loss in own)])
    numbers = iter(range(len(first)))
    starts = [[int(first[next(numbers)]) for _ in own] for own in tasks]  # of each loss, its first part
    found = []
    for site in dict.fromkeys(sites):
        chosen = [task for task, own in enumerate(sites) if own == site]
        one = make_layout([at_place[task] for task in chosen])
        n_places = tasks[chosen[0]][0].n_parts // at_place[chosen[0]][0].n_parts
        parts = [  # of each part at one place, its number at the first place, and the distance to the next
            (start + k, loss.n_parts)
            for task in chosen
            for start, loss in zip(starts[task], at_place[task], strict=True)
            for k in range(loss.n_parts)
        ]
        begin, step = np.array(parts)[one.part_order[one.column_parts]].T
        part = begin + step * np.arange(n_places)[:, None]
        own = layout.places[np.array(chosen)[one.order]]
        decoding = (decodings or {}).get(site)
        found.append(SiteLayout(site, own, one, columns[part, one.column_classes], decoding))
    return replace(layout, sites=tuple(found))


def _columns_of_parts(layout: TaskLayout) -> np.ndarray:
    """Return the raw column of each output of each part, counted through the user's tasks: (n_parts, width)."""
    columns = np.zeros((layout.n_parts, max(group.loss.width for group in layout.groups)), dtype=int)
    columns[layout.part_order[layout.column_parts], layout.column_classes] = np.arange(layout.n_outputs)
    return columns


def regression_layout(n_tasks: int) -> TaskLayout:
    """Return the layout of `n_tasks` regression tasks."""
    places, every = np.arange(n_tasks), slice(0, n_tasks)
    return TaskLayout((LossGroup(SquaredError(n_tasks), every, every),), places, places, places)


def classification_layout(n_classes: Sequence[int]) -> TaskLayout:
    """Return the layout of tasks with these class counts: one logit for two classes, a softmax for other counts."""
    return make_layout([[Logistic(1) if count == 2 else Softmax([count])] for count in n_classes])
