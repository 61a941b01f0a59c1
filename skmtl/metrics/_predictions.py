"""Reads predictions from any container: labels, or one array of probabilities per task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from skmtl._labels import floats_of
from skmtl._table import TargetTable, check_columns, read_targets


def label_columns(table: TargetTable, names: Sequence[str], what: str) -> list[np.ndarray]:
    """Return the predicted labels of each task, shape (n_samples,), with None for missing predictions."""
    one = table.n_columns == len(names) == 1  # a single column may have any name, such as "prediction"
    check_columns(None if one else table.names, table.n_columns, names, what)
    nothing = np.array([None], dtype=object)
    return [
        column if seen.all() else np.where(seen, column.astype(object), nothing)
        for column, seen in zip(table.columns, table.observed.T, strict=True)
    ]


def per_task(values: Any, n_tasks: int, what: str) -> list[Any]:
    """Return a list with one entry per task; `values` may be a bare array for one task, as in scikit-learn."""
    entries = list(values) if isinstance(values, (list, tuple)) else [values]
    if len(entries) != n_tasks:
        raise ValueError(f"{what} must have one entry per task: {n_tasks}. Found {len(entries)}.")
    return entries


def probabilities(values: Any, task: str) -> np.ndarray:
    """Return the probabilities of a task as numbers, (n_samples, n_classes), NaN where missing or masked."""
    if type(values) is np.ndarray and values.dtype.kind in "fiu":
        return values
    what = f"Task {task!r}: probabilities"
    table = read_targets(values, what)
    precision = table.dtype if table.dtype.kind == "f" else np.float64  # log_loss clips at the epsilon of the dtype
    numbers = np.full(table.observed.shape, np.nan, dtype=precision)
    for t, (column, seen) in enumerate(zip(table.columns, table.observed.T, strict=True)):
        numbers[seen, t] = floats_of(column[seen], what)
    return numbers if table.ndim == 2 else numbers[:, 0]
