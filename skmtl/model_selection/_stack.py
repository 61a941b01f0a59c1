"""Fit many estimators side by side: those that differ only in what a member of a stack has for itself.

The way reads from `stack_key` (who may be together) over `Table` (who reads the same rows) to `fit_stack`.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import joblib
import numpy as np
import torch

from skmtl._base import BaseMultiTask
from skmtl._outcome import adopt_members
from skmtl._validation import check_task_weights
from skmtl.training import DivergedError, MultiTaskNet, TensorData, go_on, join_tables, train

OWN = ("sharing_lambda", "lr", "weight_decay", "dropout", "task_weights", "class_weight", "random_state")
"""Parameters that members of one stack may have different values of."""

CHUNK = 64
"""Largest number of members of a stack."""

CACHE = 2**24
"""Bytes that a stack of more than `FEW` members may take: those that leave the processor's cache train no faster."""

FEW = 4
"""Members that are worth being together whatever they take."""


class TooLargeError(ValueError):
    """One member alone takes more memory than allowed."""


def why_alone(estimator: BaseMultiTask) -> str | None:
    """Return why an estimator cannot be part of a stack, or None if it can."""
    if type(estimator).fit is not BaseMultiTask.fit:
        return f"{type(estimator).__name__} has a fit of its own"
    try:
        estimator._check_parameters()
    except ValueError:
        return "a parameter is not what it must be"
    if estimator.callbacks:
        return "callbacks act on a whole net"
    if not isinstance(estimator.optimizer, str):
        return "an optimizer class has one learning rate for all"
    if estimator.warm_start:
        return "warm_start goes on from an earlier fit"
    return None


def stack_key(estimator: BaseMultiTask) -> tuple:
    """Return what two estimators must have in common to be trained side by side."""
    shared = {k: content_key(v) for k, v in estimator.get_params(deep=True).items() if k not in OWN}
    return (type(estimator), estimator.dropout > 0, *sorted(shared.items()))


def reading_key(estimator: BaseMultiTask) -> tuple:
    """Return what two estimators of one `stack_key` must have in common to learn from and validate on equal rows."""
    draws_rows = estimator.random_state if estimator.early_stopping else None
    return content_key(estimator.get_params(deep=False).get("class_weight")), content_key(draws_rows)


def content_key(value) -> str:
    """Return a string that equals another's only if the values are alike; what cannot be told is like nothing else."""
    if value is None or isinstance(value, (str, int, float, bool)):
        return repr(value)
    try:
        return joblib.hash(value)
    except (pickle.PicklingError, TypeError, AttributeError, ValueError):
        return f"{type(value).__qualname__} at {id(value)}"


def bytes_per_member(estimator: BaseMultiTask, n_rows: float = math.inf) -> int:
    """Return about how many bytes one member takes in training: parameters, optimiser state and activations."""
    plan = estimator._plan
    network = plan.build_blank()
    parameters = sum(p.numel() for p in network.parameters())
    towers = plan.layout.n_tasks if network.trunk.per_task else 1
    widths = sum(plan.hidden_layer_sizes) * towers + sum(plan.head_layer_sizes) * plan.layout.n_tasks
    each = 4 if plan.dropout else 2  # activations and their gradients; what dropout leaves of them, and its masks
    row = each * (widths + plan.layout.n_outputs) + network.trunk.n_buffered + plan.n_features + 2 * plan.layout.n_tasks
    return estimator._numpy_dtype.itemsize * (9 * parameters + int(min(estimator.batch_size, n_rows)) * row)


@dataclass
class Table:
    """Estimators of one `reading_key`, unfitted, and what their `fit` would be given."""

    estimators: Sequence[BaseMultiTask]
    X: object
    y: object
    sample_weight: object = None
    reading: _Reading | None = field(default=None, init=False)

    def read(self) -> None:
        """Let the first estimator read the rows for all of them, once; from then on they are in `reading` alone.

        Estimators whose task weights do not fit the tasks that were found leave the table.
        """
        if self.reading is not None:
            return
        first, *others = self.estimators
        self.reading = _Reading(first, *first._read(self.X, self.y, self.sample_weight))
        self.X = self.y = self.sample_weight = None
        for estimator in others:
            if estimator.early_stopping and isinstance(estimator.random_state, np.random.RandomState):
                estimator.random_state.set_state(first.random_state.get_state())  # the first drew the validation rows
        self.estimators = [estimator for estimator in self.estimators if _knows_tasks(estimator, first.task_names_)]


def _knows_tasks(estimator: BaseMultiTask, names: list[str]) -> bool:
    """Say whether the weights of an estimator fit the tasks."""
    try:
        check_task_weights(estimator.task_weights, names)
    except ValueError:
        return False
    return True


def fit_stack(tables: Sequence[Table], max_bytes: float = math.inf, chunk: int = CHUNK) -> list[str | None]:
    """Fit estimators of one `stack_key` side by side; to within rounding, each becomes what its own `fit` makes of it.

    Parameters
    ----------
    tables : sequence of Table
        The estimators, and the rows that each of them learns from.
    max_bytes : float
        Bound on the memory of one stack; more members are trained one stack after the other.
    chunk : int
        Largest number of members of a stack, unless one estimator has more.

    Returns
    -------
    list of str or None
        For each estimator, table by table as `Table.read` left them, why it could not be fitted (its loss diverged),
        or None.

    Raises
    ------
    ValueError
        If the data are not what they must be, or one member alone takes more than `max_bytes`.
    """
    failures: dict[int, str | None] = {}
    stacks = make_stacks(tables, max_bytes, chunk)
    while stacks:  # no two of them at once hold networks
        stack = stacks.pop(0)
        failures.update(stack.fit())
        if stack.net is not None:
            stack.net.engine_.forget_optimizer()  # before the networks are copied
        stack.hand_out()
        del stack
    return [failures[id(estimator)] for table in tables for estimator in table.estimators]


def make_stacks(tables: Sequence[Table], max_bytes: float = math.inf, chunk: int = CHUNK) -> list[Stack]:
    """Return as few stacks as the memory and the shapes of the tables allow; every table is read once."""
    alike: dict[tuple, list[tuple[BaseMultiTask, _Reading]]] = {}
    for table in tables:
        table.read()
        for estimator in table.estimators:
            alike.setdefault(table.reading.shape, []).append((estimator, table.reading))
    stacks = []
    for members in alike.values():
        first, n_rows = members[0][1].first, len(members[0][1].data)
        fast = max(FEW, CACHE // bytes_per_member(first, n_rows))
        size = max(1, min(chunk, fast, _members_within(first, n_rows, max_bytes)) // int(first.n_members))
        stacks += [Stack(part) for part in cut_evenly(members, -(-len(members) // size))]
    return stacks


def cut_evenly(items: list, n_parts: int) -> list[list]:
    """Return consecutive parts whose sizes differ by at most one."""
    cuts = [k * len(items) // n_parts for k in range(n_parts + 1)]
    return [items[i:j] for i, j in pairwise(cuts)]


@dataclass
class _Reading:
    """What the first estimator of a table has read for all of them."""

    first: BaseMultiTask
    data: TensorData
    valid: TensorData | None

    @property
    def shape(self) -> tuple:
        """What two tables must have in common for their estimators to be members of one stack."""
        plan, parts = self.first._plan, [part for part in (self.data, self.valid) if part is not None]
        losses = tuple(repr(group.loss) for group in plan.layout.groups)
        rows = tuple((len(part), part.has_all_labels) for part in parts)
        return plan.n_features, losses, tuple(plan.layout.order.tolist()), str(self.data.X.dtype), rows


class Stack:
    """Estimators that are trained side by side.

    Parameters
    ----------
    members : list of (estimator, reading)
        The estimators and what was read for them; all readings of one shape.
    """

    def __init__(self, members: Sequence[tuple[BaseMultiTask, _Reading]]) -> None:
        members = sorted(members, key=lambda member: member[0].lr)  # those of one step size are updated at once
        self.estimators = [estimator for estimator, _ in members]
        self.readings = [reading for _, reading in members]
        each = int(self.estimators[0].n_members)
        self._members = [range(k * each, (k + 1) * each) for k in range(len(members))]
        self._reasons: dict[int, str] = {}  # why members could not be fitted
        self._data: TensorData | None = None
        self.net: MultiTaskNet | None = None

    def fit(self, epochs: int | None = None, max_epochs: int | None = None) -> dict[int, str | None]:
        """Train; return by the id of each estimator why it could not be fitted, or None.

        Parameters
        ----------
        epochs : int or None
            How far to train, counted from the beginning: a later call goes on from an earlier one. None for the end.
        max_epochs : int or None
            Epochs in all; None for the estimators' own.
        """
        first = self.readings[0].first
        try:
            if self.net is None:
                run = first._training_run(self.estimators, None, max_epochs or first.max_epochs)
                self._data, valid = self._join()
                self.net = train(run, self._data, valid, epochs)
            elif not all(self._why_failed(k) for k in range(len(self.estimators))):
                go_on(self.net, self._data, epochs - len(self.net.history))
        except DivergedError as error:
            self._reasons = error.reasons
        else:
            self._reasons = self.net.record_.diverged
            if self.net.interrupted_:
                raise KeyboardInterrupt
        return {id(estimator): self._why_failed(k) for k, estimator in enumerate(self.estimators)}

    def _join(self) -> tuple[TensorData, TensorData | None]:
        """Return the rows that the members learn from and validate on."""
        distinct = list({id(reading): reading for reading in self.readings}.values())
        places = {id(reading): k for k, reading in enumerate(distinct)}
        owners = [
            places[id(reading)]
            for estimator, reading in zip(self.estimators, self.readings, strict=True)
            for _ in range(int(estimator.n_members))
        ]
        data = join_tables([reading.data for reading in distinct], owners)
        if distinct[0].valid is None:
            return data, None
        return data, join_tables([reading.valid for reading in distinct], owners)

    def hand_out(self) -> None:
        """Give the estimators their trained networks, except those that diverged."""
        for k, (estimator, reading) in enumerate(zip(self.estimators, self.readings, strict=True)):
            if self._why_failed(k) is None:
                adopt_members(estimator, self.net, self._members[k], reading.first)

    def keep(self, stay: Collection[BaseMultiTask]) -> None:
        """Go on with some of the estimators; the others are let go."""
        chosen = {id(estimator) for estimator in stay}
        kept = [k for k, estimator in enumerate(self.estimators) if id(estimator) in chosen]
        self.estimators, self.readings, self._members = (
            [values[k] for k in kept] for values in (self.estimators, self.readings, self._members)
        )
        if self.net is None or not kept:
            return
        wanted = {m for members in self._members for m in members}
        places = [place for place, m in enumerate(self.net.active.tolist()) if m in wanted]
        if len(places) < len(self.net.active):
            self.net.select_members(torch.tensor(places))
            self.net.forget_left()

    def _why_failed(self, k: int) -> str | None:
        """Return what happened to the first member of estimator k if all of its members diverged."""
        reasons = [self._reasons.get(m) for m in self._members[k]]
        return reasons[0] if all(reasons) else None


def _members_within(estimator: BaseMultiTask, n_rows: int, max_bytes: float) -> int:
    """Return how many members of a stack take no more than `max_bytes`."""
    if max_bytes == math.inf:
        return 2**31
    each = bytes_per_member(estimator, n_rows)
    n_members, need = estimator.n_members, each * int(estimator.n_members)
    if need > max_bytes:
        raise TooLargeError(
            f"A stack of {'one member' if n_members == 1 else f'{n_members} members'} takes about {need} bytes in "
            f"training, more than max_bytes={max_bytes:.0f}. Found {type(estimator).__name__} with "
            f"hidden_layer_sizes={estimator.hidden_layer_sizes!r}, batch_size={estimator.batch_size}, "
            f"n_members={n_members} and {estimator.n_tasks_} tasks. Give more bytes or a smaller network."
        )
    return int(max_bytes / each)
