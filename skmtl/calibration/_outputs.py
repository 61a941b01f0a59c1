"""What a fitted estimator of several tasks, or a view of one, says of each task."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skmtl._labels import objects_of
from skmtl._table import TargetTable, check_columns, read_targets
from skmtl.task_view import TaskView


def views_of(estimator, kind: str) -> dict[str, TaskView]:
    """Return a view of each task that is a "classifier" or a "regressor", by name; refuse an estimator without one."""
    check_is_fitted(estimator)
    if isinstance(estimator, TaskView):
        views = {str(estimator.task): estimator}
    else:
        views = {str(name): TaskView(estimator, name) for name in TaskView(estimator, 0)._names()}
    chosen = {name: view for name, view in views.items() if view.__sklearn_tags__().estimator_type == kind}
    if not chosen:
        raise ValueError(f"The estimator has no task that is a {kind}. Its tasks are {list(views)[:20]}.")
    return chosen


def probabilities(estimator, views: dict[str, TaskView], X) -> dict[str, np.ndarray]:
    """Return the class probabilities of these tasks, (n_samples, n_classes) each, asking the estimator once."""
    proba = estimator.predict_proba(X)
    return {name: proba if view is estimator else view._part(proba) for name, view in views.items()}


def label_codes(estimator, views: dict[str, TaskView], y) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield each task's name, which rows have a label, and the places of those labels in ``classes_``, -1 for none."""
    table = _read(estimator, views, y)
    for name, view in views.items():
        own = view._own_columns(table)
        seen = own.observed[:, 0]
        place = {label: k for k, label in enumerate(objects_of(np.asarray(view.classes_)).tolist())}
        labels = objects_of(own.columns[0][seen]).tolist()
        yield name, seen, np.array([place.get(label, -1) for label in labels], dtype=int)


def known_ranges(estimator, views: dict[str, TaskView], y) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """Yield each task's name, which rows have a label, and the ends between which those labels are known to be."""
    table = _read(estimator, views, y)
    for name, view in views.items():
        own, task = view._own_columns(table), view._task()
        if task is None:
            seen, lower, upper = own.observed[:, 0], own.numbers[:, 0], own.numbers[:, 0]
        else:
            seen, (lower, upper) = task.observed_rows(own), task.known_range(own)
        yield name, seen, lower[seen], upper[seen]


def _read(estimator, views: dict[str, TaskView], y) -> TargetTable:
    """Return y; refuse one that has not the columns of the estimator."""
    table = read_targets(y)
    if not isinstance(estimator, TaskView):
        last = next(iter(views.values()))._last()[1]
        names = getattr(last, "_y_names", None)
        names = [str(name) for name in TaskView(estimator, 0)._names()] if names is None else names
        check_columns(table.names, table.n_columns, names, "y")
    return table


def in_shape(estimator, by_task: dict[str, np.ndarray], stacked: bool):
    """Return results as the estimator gives its own: a dict by task, or for all tasks an array or a list."""
    values, last = list(by_task.values()), TaskView(estimator, 0)._last()[1]
    if isinstance(estimator, TaskView):
        return values[0]
    if hasattr(last, "tasks_"):
        return by_task
    if len(values) == 1 and getattr(last, "_target_ndim", 1) == 1:
        return values[0]
    return np.stack(values, axis=1) if stacked else values
