"""What a fit reads: X, y and weights become the tables that a network learns from and validates on."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.utils import check_random_state

from skmtl._label_codes import label_codes
from skmtl._network import NetworkPlan
from skmtl._parameters import device_of, input_dtypes, network_plan
from skmtl._rows import rows_of
from skmtl._stratify import assign_parts
from skmtl._table import TargetTable, check_distinct, name_tasks
from skmtl._validation import check_features, check_label_weights, check_targets
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

    @property
    def is_anew(self) -> bool:
        """Whether names, classes and architecture are yet to be learned."""
        return self.earlier is None


ANEW = Start()

Reading = tuple[TensorData, TensorData | None]
"""Rows to learn from, and rows to validate on, if any."""


def read(estimator, X, y, sample_weight, X_val, y_val, start: Start) -> Reading:
    """Check all data that a fit was given; let the estimator learn names, targets and architecture from them."""
    known, may_lack = (None, start.classes is not None) if start.is_anew else (estimator.task_names_, True)
    dtypes = input_dtypes(estimator) if start.is_anew else _earlier_dtype(estimator)
    X = check_features(estimator, X, dtypes, start.is_anew)
    table = check_targets(y, X, "y", known, may_lack)
    estimator.task_names_ = names = check_distinct(name_tasks(table, known))  # an earlier table may have had no names
    weight = check_label_weights(sample_weight, table, names, may_lack)
    if start.is_anew:
        estimator._numpy_dtype, estimator.n_tasks_, estimator._target_ndim = X.dtype, table.n_columns, table.ndim
    weight = estimator._learn_targets(table, weight, start)
    estimator._plan = _plan(estimator, start)
    return _divide(estimator, X, table, weight, X_val, y_val)


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


def _divide(estimator, X, table: TargetTable, weight: np.ndarray | None, X_val, y_val) -> Reading:
    """Return the rows to learn from and those to validate on, if any; rows of weight 0 are in neither."""
    if (X_val is None) != (y_val is None):
        raise ValueError("X_val and y_val must be given together. Found only one of them.")
    used = None if weight is None else (weight > 0).any(axis=1)  # rows without a label would fill batches for nothing
    rows = None if used is None or used.all() else np.flatnonzero(used)
    hold_out = estimator.early_stopping and X_val is None
    parts = _hold_out(estimator, table, weight, rows) if hold_out else [rows]
    data, *held_out = _tables(estimator, X, table, weight, parts, int(estimator.batch_size))
    if X_val is None:
        return data, held_out[0] if hold_out else None
    return data, _validation_table(estimator, X_val, y_val)


def _hold_out(
    estimator, table: TargetTable, weight: np.ndarray | None, rows: np.ndarray | None
) -> list[np.ndarray | None]:
    """Return the rows to learn from and those held out; a label of weight 0 has no say in it."""
    observed = table.observed if weight is None else weight > 0
    if rows is None:
        rows, columns = np.arange(len(table)), table.columns
    else:
        columns, observed = table.take(rows).columns, observed[rows]
    codes = label_codes(columns, observed, continuous=[estimator._is_continuous] * estimator.n_tasks_)
    shares = (1.0 - estimator.validation_fraction, estimator.validation_fraction)
    part = assign_parts(codes, shares, check_random_state(estimator.random_state))
    if not (part == 1).any() or not (part == 0).any():
        raise ValueError(
            f"validation_fraction={estimator.validation_fraction} of {len(rows)} rows leaves an empty training or "
            f"validation set. Give more rows or another fraction."
        )
    return [rows[part == k] for k in (0, 1)]


def _validation_table(estimator, X_val, y_val) -> TensorData:
    """Return a validation set of the user's own; tasks without a label in it have no say."""
    X_val = check_features(estimator, X_val, input_dtypes(estimator), reset=False)
    names = estimator.task_names_
    table = check_targets(y_val, X_val, "y_val", names, may_lack_tasks=True)
    absent = [name for name, seen in zip(names, table.observed.T, strict=True) if not seen.any()]
    if absent:
        warnings.warn(
            f"y_val has no label of {len(absent)} of {len(names)} tasks, which the validation loss leaves out: "
            f"{', '.join(map(repr, absent[:10]))}{', ...' if len(absent) > 10 else ''}.",
            stacklevel=7,
        )
    weight = check_label_weights(None, table, names)
    return _tables(estimator, X_val, table, weight, [None], X_val.shape[0])[0]


def _tables(
    estimator, X, table: TargetTable, weight: np.ndarray | None, parts: list[np.ndarray | None], batch_size: int
) -> list[TensorData]:
    """Return rows with encoded targets, in the network's task order and precision: one table for each part."""
    order, place = estimator._plan.layout.order, {"dtype": estimator._torch_dtype, "device": device_of(estimator)}
    y = estimator._encode(table)
    if weight is not None:
        y = np.where(weight > 0, y, 0.0)  # 0 times a wild value would not be 0
    if not (order == np.arange(len(order))).all():
        y, weight = y[:, order], None if weight is None else weight[:, order]
    return make_tables(rows_of(X, **place), torch.as_tensor(y, **place), weight, parts, batch_size)
