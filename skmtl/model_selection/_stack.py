"""Fits that are trained side by side, as one network of many members.

`read_tables` lets one estimator read the rows for all that learn from them; a `Stack` trains the fits of one or more
tables. To within rounding, each becomes what fitting its estimator alone would give.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch

from skmtl._base import BaseMultiTask
from skmtl._outcome import adopt_members
from skmtl._parameters import draw_seeds, training_run
from skmtl._reading import Reading
from skmtl._validation import check_task_weights
from skmtl.model_selection._fit import Fit
from skmtl.training import DivergedError, MultiTaskNet, TensorData, go_on, join_tables, train


@dataclass(eq=False)
class Table:
    """Rows that one estimator has read, and the fits that learn from them.

    Attributes
    ----------
    first : BaseMultiTask
        The estimator that has read them, for the others of its `table_key` too.
    fits : list of Fit
        Those whose task weights fit the tasks that were found, and that draw the same rows.
    reading : Reading
        All that it has read.
    data, valid : TensorData, TensorData or None
        Rows to learn from and to validate on.
    """

    first: BaseMultiTask
    fits: list[Fit]
    reading: Reading
    data: TensorData
    valid: TensorData | None

    @property
    def shape(self) -> tuple:
        """What two tables must have in common for their fits to be members of one stack."""
        plan, X = self.first._plan, self.data.X
        layout, parts = plan.layout, [part for part in (self.data, self.valid) if part is not None]
        losses = tuple(repr(group.loss) for group in layout.groups)
        places = tuple(layout.order.tolist()), tuple(layout.owners.tolist())
        rows = tuple((len(part), part.has_all_labels) for part in parts)
        return (
            plan.n_features,
            plan.inputs,
            None if plan.entry is None else plan.entry.key,
            losses,
            places,
            type(X).__name__,
            str(X.dtype),
            rows,
            self.first.early_stopping_,
        )


def read_tables(fits: Sequence[Fit], X, y, sample_weight, groups=None) -> list[Table]:
    """Let the first of some fits, all of one `table_key`, read the rows for all of them.

    The tables have the rows in common, and differ in which of them are held out.
    """
    first = fits[0].last
    reading = first._read(X, y, sample_weight, groups=groups)
    for fit in fits[1:]:
        fit.last.n_members_ = first.n_members_
        draw_seeds(fit.last, range(first.n_members_))
    alike: dict[tuple, list[Fit]] = {}
    for fit in fits:
        if _suits_tasks(fit.last, first.task_names_):
            draws_rows = first.early_stopping_ or first._draws_negatives
            alike.setdefault(tuple(fit.last._seeds) if draws_rows else (), []).append(fit)
    return [Table(first, own, reading, *reading.divided(own[0].last._seeds)) for own in alike.values()]


def _suits_tasks(estimator: BaseMultiTask, names: list[str]) -> bool:
    """Return whether the weights of an estimator fit the tasks."""
    try:
        check_task_weights(estimator.task_weights, names)
    except ValueError:
        return False
    return True


class Stack:
    """Fits that are trained side by side.

    Parameters
    ----------
    number : int
        Its number in its job.
    members : list of (fit, table)
        The fits, and what each learns from; all tables of one shape.
    """

    def __init__(self, number: int, members: Sequence[tuple[Fit, Table]]) -> None:
        # Members of one step size side by side are updated by one call of the fused kernel.
        members = sorted(members, key=lambda member: member[0].last.lr)
        self.number = number
        self.fits = [fit for fit, _ in members]
        self.tables = [table for _, table in members]
        each = self.tables[0].first.n_members_
        self._members = [range(k * each, (k + 1) * each) for k in range(len(members))]
        self._reasons: dict[int, str] = {}  # why members could not be fitted
        self._data: TensorData | None = None
        self._net: MultiTaskNet | None = None

    def train(self, epochs: int | None = None, max_epochs: int | None = None) -> None:
        """Train every fit, and give it its network or the reason why it has none.

        Parameters
        ----------
        epochs : int or None
            How far to train, counted from the beginning: a later call continues an earlier one. None for the end,
            after which there is no later call.
        max_epochs : int or None
            Epochs in all; None for the estimators' own.
        """
        first = self.tables[0].first
        try:
            if self._net is None:
                run = training_run(first, [fit.last for fit in self.fits], None, max_epochs or first.max_epochs_)
                self._data, valid = self._join()
                self._net = train(run, self._data, valid, epochs)
            elif not self._net.is_done and not all(self._why_failed(k) for k in range(len(self.fits))):
                go_on(self._net, self._data, epochs - len(self._net.history))
        except DivergedError as error:
            self._reasons = error.reasons
        else:
            self._reasons = self._net.record_.diverged
            if self._net.interrupted_:
                raise KeyboardInterrupt  # the net took it for a wish to stop here
            if epochs is None:
                self._net.engine_.forget_optimizer()  # before the networks are copied
        self._hand_out()

    def _join(self) -> tuple[TensorData, TensorData | None]:
        """Return the rows that the members learn from and validate on."""
        each = len(self._members[0])
        data = join_tables([table.data for table in self.tables], each)
        if self.tables[0].valid is None:
            return data, None
        return data, join_tables([table.valid for table in self.tables], each)

    def _hand_out(self) -> None:
        """Give each fit its trained network, or the reason why it has none."""
        for k, (fit, table) in enumerate(zip(self.fits, self.tables, strict=True)):
            fit.stack, reason = self.number, self._why_failed(k)
            if reason is None:
                adopt_members(fit.last, self._net, self._members[k], table.first)
                fit.last._finish(table.reading)
            else:
                fit.fail(reason)

    def _why_failed(self, k: int) -> str | None:
        """Return what happened to the first member of fit k if all of its members diverged."""
        reasons = [self._reasons.get(m) for m in self._members[k]]
        return reasons[0] if all(reasons) else None

    def select(self, candidates: Collection[int]) -> None:
        """Let the fits of all other candidates go."""
        places = [k for k, fit in enumerate(self.fits) if fit.candidate in candidates]
        self.fits, self.tables, self._members = (
            [values[k] for k in places] for values in (self.fits, self.tables, self._members)
        )
        for table in self.tables:
            table.fits = [fit for fit in table.fits if fit.candidate in candidates]  # the others hold networks
        if self._net is None or not places:
            return
        wanted = {m for members in self._members for m in members}
        index = [place for place, m in enumerate(self._net.active.tolist()) if m in wanted]
        if len(index) < len(self._net.active):
            self._net.select_members(torch.tensor(index))
            self._net.engine_.roster.forget_left()
