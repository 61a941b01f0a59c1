"""Scores per task from arrays, each over the rows where the task is observed and has positive weight."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from skmtl._table import TargetTable, check_columns, check_distinct, read_targets
from skmtl.metrics._average import check_keys
from skmtl.metrics._comparison import is_class_list
from skmtl.metrics._means import weight_of_each
from skmtl.metrics._named import TaskMetric, find_metric
from skmtl.metrics._predictions import label_columns, per_task, probabilities
from skmtl.metrics._task import ScoredTask


def task_scores(metric, y_true, y_pred, *, sample_weight=None, task_names=None, classes=None):
    """Score every task on its observed labels.

    Parameters
    ----------
    metric : str, callable or dict
        One metric for all tasks, or a dict with the metric of each task, by task name. See `make_task_scorer` for the
        names. Unlike a scorer, this function does not negate losses: ``"rrmse"`` is >= 0, ``"neg_rrmse"`` its negative.
    y_true : array-like or DataFrame of shape (n_samples,) or (n_samples, n_tasks)
        True labels; NaN, None, NA and masked entries are missing and skipped.
    y_pred : array-like or DataFrame of the shape of `y_true`, or list
        Predicted labels or numbers. If any metric reads probabilities: a list with one array per task, of shape
        (n_samples, n_classes_t) for a metric of probabilities and (n_samples,) for one of labels or numbers.
    sample_weight : array-like or DataFrame of shape (n_samples,) or (n_samples, n_tasks), default=None
        Weights >= 0 of rows or labels. Only their ratios within a task matter; a label of weight 0 counts as missing.
    task_names : sequence of str, default=None
        Keys of the result. None: the column names of `y_true`, or ``"0"``, ``"1"``, ... if it has none.
    classes : list of n_tasks arrays, default=None
        Classes of each task, in the order of the columns of its probabilities; an entry may be None. None: the sorted
        classes found in `y_true`.

    Returns
    -------
    dict
        One float per task name; NaN if the metric is undefined.

    Raises
    ------
    ValueError
        If shapes disagree; if the column names of a table are not those of the tasks, in the same order; if a
        prediction is missing or infinite; if a metric is unknown or does not suit its task; if the labels differ in
        type from the predictions or `classes`, such as numbers and strings.
    TypeError
        If `y_true`, `y_pred` or `sample_weight` is not a table but, for example, a dict.

    Notes
    -----
    Labels are compared as in Python: ``1 == 1.0 == True``, and ``2**53 + 1 != float(2**53)``. The positive class of a
    task with two classes is the greater one, in whatever order `classes` holds them. If only one class is known or
    found, it is positive if it is 1 or True; for any other class ``"f1"``, ``"roc_auc"`` and ``"average_precision"``
    are NaN.

    For a target that is constant up to rounding, R² and explained variance are 1 if the residual is zero, else 0, and
    ``"rrmse"`` is NaN.

    Examples
    --------
    >>> from skmtl.metrics import task_scores
    >>> y = [["a", 1], ["b", None], [None, 0], ["b", 1]]
    >>> task_scores("accuracy", y, [["a", 1], ["a", 1], ["a", 0], ["a", 0]])
    {'0': 0.333..., '1': 0.666...}
    """
    table = read_targets(y_true, "y_true")
    names = table.task_names() if task_names is None else [str(name) for name in task_names]
    check_columns(table.names, table.n_columns, check_distinct(names), "y_true")
    metrics = metric_of_each(metric, names)
    predictions = _read_predictions(y_pred, metrics, names)
    weight = weight_of_each(sample_weight, table, names)
    return score_each(metrics, names, table, predictions, weight, classes_of_each(classes, names))


def _read_predictions(y_pred: Any, metrics: list[TaskMetric], names: list[str]) -> list[np.ndarray]:
    """Return the predictions of each task, from a table, or from a list if a metric reads probabilities."""
    if all(m.reads != "probabilities" for m in metrics):
        return label_columns(read_targets(y_pred, "y_pred"), names, "y_pred")
    entries = per_task(y_pred, len(names), "y_pred")
    return [
        probabilities(entry, name) if m.reads == "probabilities" else _one_column(entry, name)
        for m, name, entry in zip(metrics, names, entries, strict=True)
    ]


def _one_column(entry: Any, name: str) -> np.ndarray:
    what = f"The entry of y_pred for task {name!r}"
    return label_columns(replace(read_targets(entry, what), names=None), [name], what)[0]


def score_each(
    metrics: list[TaskMetric],
    names: list[str],
    table: TargetTable,
    predictions: list[np.ndarray],
    weight: np.ndarray | None,
    classes: list[Any],
) -> dict[str, float]:
    """Return the score of each task over the rows where it is observed and has positive weight; NaN without any.

    Parameters
    ----------
    metrics, names, predictions, classes : lists of length n_tasks
        Metric, name, predictions of shape (n_samples,) or (n_samples, n_classes), and classes (or None) of each task.
    table : TargetTable
        True labels.
    weight : array of shape (n_samples, n_tasks) or None
        Weights >= 0 of the labels.
    """
    scores = {}
    for t, (name, metric) in enumerate(zip(names, metrics, strict=True)):
        if len(predictions[t]) != len(table):
            raise ValueError(f"y has {len(table)} rows, but task {name!r} has {len(predictions[t])} predictions.")
        scored = table.observed[:, t] if weight is None else table.observed[:, t] & (weight[:, t] > 0)
        y, predicted = _rows(table.columns[t], scored), _rows(predictions[t], scored)
        task_weight = None if weight is None else weight[scored, t]
        scores[name] = ScoredTask(name, y, predicted, classes[t]).score(metric, task_weight) if len(y) else np.nan
    return scores


def _rows(values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Return a copy of the chosen rows, because a function of the user may write to it."""
    return values.copy() if chosen.all() else values[chosen]


def classes_of_each(classes: Any, names: list[str]) -> list[Any]:
    """Return the classes of each task, None for a task whose classes are not known."""
    if classes is None:
        return [None] * len(names)
    entries = per_task(classes, len(names), "classes")
    for name, entry in zip(names, entries, strict=True):
        if not is_class_list(entry):
            raise ValueError(f"classes must hold one array per task, or None. Found {entry!r} for task {name!r}.")
    return entries


def metric_of_each(metric: Any, names: list[str]) -> list[TaskMetric]:
    """Return the metric of each task; `metric` is one for all tasks, or a dict by task name."""
    if not isinstance(metric, Mapping):
        return [find_metric(metric)] * len(names)
    return [find_metric(metric[name]) for name in check_keys(metric, names, "metric")]
