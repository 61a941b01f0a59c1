"""What a fitted estimator of several tasks says, by task."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skmtl._table import TargetTable, check_columns, read_targets
from skmtl.task_view import TaskView


def views_of(estimator, kind: str) -> dict[str, TaskView]:
    """Return a view of each task that is a "classifier" or a "regressor", by name; refuse an estimator without one."""
    check_is_fitted(estimator)
    names = TaskView(estimator, 0)._names()
    views = {str(name): TaskView(estimator, name) for name in names}
    chosen = {name: view for name, view in views.items() if view.__sklearn_tags__().estimator_type == kind}
    if not chosen:
        raise ValueError(f"The estimator has no task that is a {kind}. Its tasks are {list(views)[:20]}.")
    return chosen


def probabilities(estimator, views: dict[str, TaskView], X) -> dict[str, np.ndarray]:
    """Return the class probabilities of these tasks, (n_samples, n_classes) each, asking the estimator once."""
    proba = estimator.predict_proba(X)
    return {name: view._part(proba) for name, view in views.items()}


def labelled(table: TargetTable, views: dict[str, TaskView]) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield each task's name, which rows have a label, and those labels."""
    last = next(iter(views.values()))._last()[1]
    names = getattr(last, "_y_names", [str(k) for k in range(table.n_columns)])
    check_columns(table.names, table.n_columns, names, "y")
    columns = getattr(last, "_columns", None)  # of each task of a `MultiTaskEstimator`
    for name, view in views.items():
        column = view._number() if columns is None else columns[name][0]
        seen = table.observed[:, column]
        yield name, seen, table.columns[column][seen]


def read(y) -> TargetTable:
    """Read calibration labels."""
    return read_targets(y)


def in_shape(estimator, by_task: dict[str, np.ndarray], stacked: bool):
    """Return results as the estimator gives its own: a dict by task, or for all tasks an array or a list."""
    last = TaskView(estimator, 0)._last()[1]
    if hasattr(last, "tasks_"):
        return by_task
    values = list(by_task.values())
    if len(values) == 1 and getattr(last, "_target_ndim", 1) == 1:
        return values[0]
    return np.stack(values, axis=1) if stacked else values
