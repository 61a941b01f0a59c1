"""What a fit reads: X, y and weights become the tables that a network learns from and validates on."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from skmtl._catalogue import remember
from skmtl._groups import group_codes
from skmtl._hold_out import hold_out
from skmtl._label_codes import label_codes
from skmtl._negatives import with_negatives
from skmtl._network import NetworkPlan
from skmtl._parameters import device_of, draw_seeds, epochs_of, input_dtypes, network_plan, settle
from skmtl._rows import Rows, rows_of
from skmtl._table import TargetTable, check_distinct, name_tasks
from skmtl._validation import check_features, check_targets
from skmtl.tasks import TaskLayout
from skmtl.training import TensorData, make_tables


@dataclass(frozen=True)
class Start:
    """What a fit begins with.

    Attributes
    ----------
    earlier : MultiTaskNet, MultiTaskNetwork or None
        Whose weights, and optimiser's state where there is one, it continues from; None begins anew.
    adds_rows : bool
        Whether its rows come in addition to those of earlier fits.
    classes : object
        Classes given beside the labels, to `partial_fit`; None takes those of the labels.
    """

    earlier: object = None
    adds_rows: bool = False
    classes: object = None

    @cached_property
    def is_anew(self) -> bool:
        """Whether names, classes and architecture are yet to be learned."""
        return self.earlier is None


ANEW = Start()


@dataclass(frozen=True, eq=False)
class Reading:
    """What a fit has read, in the network's task order and precision.

    Attributes
    ----------
    estimator : BaseMultiTask
        The one that has learned names, targets and architecture from it.
    table : TargetTable of n_samples rows
        Labels as they were given.
    X : Rows of shape (n_samples, n_features)
        Features.
    y : Tensor of shape (n_samples, part)
        Encoded targets; 0 where missing.
    weight : array of shape (n_samples, part) or None
        Weight of each label, 0 where missing; None where all are observed and weigh 1.
    rows : int array or None
        Those that have a label of some weight; None for all.
    codes : int array of shape (n_rows, n_columns), or None
        Their labels as stratification reads them; None where no rows are held out.
    groups : int array of shape (n_rows,), or None
        Groups of these rows that are held out together.
    valid : TensorData or None
        A validation set of the user's own.
    """

    estimator: object
    table: TargetTable
    X: Rows
    y: torch.Tensor
    weight: np.ndarray | None
    rows: np.ndarray | None
    codes: np.ndarray | None
    groups: np.ndarray | None
    valid: TensorData | None

    def divided(self, seeds: Sequence[int]) -> tuple[TensorData, TensorData | None]:
        """Return the rows to learn from and those to validate on, if any, for members of these seeds.

        Each member holds out rows that it draws from its own seed.
        """
        divisions = [[self.rows]]
        if self.codes is not None:
            held_out = [self._hold_out(seed) for seed in seeds]
            if all(len(part) for division in held_out for part in division):
                divisions = held_out
            elif self.estimator.early_stopping == "auto":
                self.estimator.early_stopping_ = False
                self.estimator.max_epochs_ = epochs_of(self.estimator, stops=False)
            else:
                raise ValueError(
                    f"validation_fraction={self.estimator.validation_fraction} of {len(self.codes)} rows leaves an "
                    f"empty training or validation set. Give more rows or another fraction."
                )
        size, layout = int(self.estimator.batch_size), self.estimator._plan.layout
        how = (size, _owners(layout), layout.has_places)
        if self.estimator._draws_negatives:
            data, *valid = make_tables(*with_negatives(self, divisions, seeds), *how)
            return data, valid[0] if valid else None
        data, *valid = make_tables(self.X, self.y, self.weight, divisions, *how)
        return data, valid[0] if valid else self.valid

    def _hold_out(self, seed: int) -> list[np.ndarray]:
        """Return the rows to learn from and those held out."""
        held_out = hold_out(self.codes, self.estimator.validation_fraction, seed, self.groups)
        if self.rows is None:
            return [np.flatnonzero(~held_out), np.flatnonzero(held_out)]
        return [self.rows[~held_out], self.rows[held_out]]


def read(estimator, X, y, sample_weight, X_val, y_val, groups, start: Start) -> Reading:
    """Check all data that a fit was given; let the estimator learn names, targets and architecture from them."""
    known, may_lack = (None, start.classes is not None) if start.is_anew else (estimator._y_names, True)
    may_lack = may_lack or not estimator._needs_labels_in_every_column
    dtypes = input_dtypes(estimator) if start.is_anew else _earlier_dtype(estimator)
    may_lack_values, as_given = estimator._may_lack_values(), X
    X = check_features(estimator, X, dtypes, start.is_anew, may_lack_values)
    table = check_targets(y, X, "y", known, may_lack)
    if table.is_structured and not estimator._reads_records:
        _refuse_records(type(estimator).__name__, table)
    names = check_distinct(name_tasks(table, known))  # an earlier table may have had no names
    estimator._name_tasks(table, names, start)
    groups = None if groups is None else group_codes(groups, len(table))
    if (X_val is None) != (y_val is None):
        raise ValueError("X_val and y_val must be given together. Found only one of them.")
    if start.is_anew:
        estimator._numpy_dtype = X.dtype if estimator._entry is None else _precision(estimator, dtypes)
        estimator._target_ndim, estimator._predicts_records = table.ndim, table.is_structured
        estimator.n_tasks_ = len(estimator.task_names_)
    targets, weight = estimator._learn_targets(table, sample_weight, start)
    if may_lack_values:
        if start.is_anew:
            estimator._find_inputs(as_given)
        X = estimator._fill_inputs(X, weight)
    used = None if weight is None else (weight > 0).any(axis=1)  # rows without a label would fill batches for nothing
    rows = None if used is None or used.all() else np.flatnonzero(used)
    if estimator._entry is not None:
        remember(estimator, X, rows, start.is_anew)
    settle(estimator, start, len(table) if rows is None else len(rows), X_val is not None)
    estimator._plan = _plan(estimator, start)
    draw_seeds(estimator, range(estimator.n_members_) if start.is_anew else estimator._member_ids)
    codes = None
    if estimator.early_stopping_ and X_val is None:
        codes = _codes(estimator, table, weight, rows)
        if groups is not None and rows is not None:
            groups = np.unique(groups[rows], return_inverse=True)[1]
    valid = None if X_val is None else _validation_table(estimator, X_val, y_val)
    X = estimator._with_written(X, table)
    return Reading(estimator, table, *_in_order(estimator, X, targets, weight), rows, codes, groups, valid)


def _refuse_records(estimator: str, table: TargetTable) -> None:
    """Raise the error of an estimator that reads one label in each cell."""
    for name, labels in zip(table.task_names(), table.columns, strict=True):
        if labels.ndim > 1:
            raise ValueError(
                f"Task {name!r} must have one label in each row for {estimator}. Found arrays of shape "
                f"{labels.shape[1:]}: MultiTaskEstimator reads them."
            )
    raise ValueError(
        f"{estimator} reads y as a table. Found a structured array with the fields {table.names}: MultiTaskEstimator "
        f"reads it."
    )


def _precision(estimator, dtypes) -> np.dtype:
    """Return the precision of a network behind encoders: that of the floats in X, where it is allowed."""
    allowed = [np.dtype(dtype) for dtype in (dtypes if isinstance(dtypes, tuple) else (dtypes,))]
    return estimator._entry.dtype if estimator._entry.dtype in allowed else allowed[0]


def _earlier_dtype(estimator) -> np.dtype:
    """Return the precision of the earlier fit; refuse a parameter that asks for another one."""
    if estimator.dtype not in ("auto", estimator._numpy_dtype):
        raise ValueError(
            f"Continuing an earlier fit needs the same dtype. It was {estimator._numpy_dtype}, now dtype="
            f"{estimator.dtype!r}. Fit anew with warm_start=False."
        )
    return estimator._numpy_dtype


def _plan(estimator, start: Start) -> NetworkPlan:
    """Return what the network is built from; refuse another architecture than that of the earlier one."""
    if start.is_anew:
        return network_plan(estimator, estimator._layout())
    plan = network_plan(estimator, estimator._plan.layout)
    was, now = estimator._plan.architecture(), plan.architecture()
    changed = [f"{name} was {was[name]} and is {now[name]}" for name in was if was[name] != now[name]]
    if changed:
        raise ValueError(
            f"Continuing an earlier fit needs the same architecture. Found that {', '.join(changed)}. Fit anew with "
            f"warm_start=False."
        )
    return plan


def _codes(estimator, table: TargetTable, weight: np.ndarray | None, rows: np.ndarray | None) -> np.ndarray:
    """Return the labels of rows as stratification reads them; a label of weight 0 has no say in it."""
    observed, columns = estimator._counted(table, weight), table.columns
    if rows is not None:
        columns, observed = table.take(rows).columns, observed[rows]
    return label_codes(columns, observed, continuous=estimator._are_continuous(table))


def _validation_table(estimator, X_val, y_val) -> TensorData:
    """Return a validation set of the user's own; tasks without a label in it have no say."""
    may_lack_values = estimator._may_lack_values()
    X_val = check_features(estimator, X_val, input_dtypes(estimator), False, may_lack_values)
    table = check_targets(y_val, X_val, "y_val", estimator._y_names, may_lack_tasks=True)
    targets, weight = estimator._encode(table)
    X_val = estimator._fill_inputs(X_val, weight) if may_lack_values else X_val
    names = estimator.task_names_
    absent = [] if weight is None else estimator._without_label(weight)
    if absent:
        warnings.warn(
            f"y_val has no label of {len(absent)} of {len(names)} tasks, which the validation loss leaves out: "
            f"{', '.join(map(repr, absent[:10]))}{', ...' if len(absent) > 10 else ''}.",
            stacklevel=6,
        )
    layout, size = estimator._plan.layout, X_val.shape[0]
    X_val = estimator._with_written(X_val, table)
    read = _in_order(estimator, X_val, targets, weight)
    return make_tables(*read, [[None]], size, _owners(layout), layout.has_places)[0]


def _owners(layout: TaskLayout) -> np.ndarray | None:
    """Return the task of each part; None where every task has one part and reads rows as a whole."""
    if layout.has_places is not None:
        return layout.owners
    return None if layout.has_one_part_each else layout.owners


def _in_order(estimator, X, y: np.ndarray, weight: np.ndarray | None):
    """Return features, encoded targets and weights in the network's order of parts and in its precision."""
    order, place = estimator._plan.layout.part_order, {"dtype": estimator._torch_dtype, "device": device_of(estimator)}
    if weight is not None:
        y = np.where(weight > 0, y, 0.0)  # 0 times a wild value would not be 0
    if not (order == np.arange(len(order))).all():
        y, weight = y[:, order], None if weight is None else weight[:, order]
    rows = rows_of(X, **place) if estimator._entry is None else rows_of(X, device=place["device"])
    return rows, torch.as_tensor(y, **place), weight
