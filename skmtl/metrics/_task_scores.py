"""One score per task from arrays: each task on its observed rows of positive weight."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

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
        One metric, or the metric of each task by name. See `make_task_scorer` for the names. Here a value is what the
        name says: ``"rrmse"`` is a loss >= 0, ``"neg_rrmse"`` its negative.
    y_true : array-like or DataFrame of shape (n_samples,) or (n_samples, n_tasks)
        True labels; NaN, None, NA and masked entries are missing and skipped.
    y_pred : array-like or DataFrame of the shape of `y_true`, or list
        Predicted labels. If a metric reads probabilities: a list with one array per task, of shape
        (n_samples, n_classes_t), or (n_samples,) where the task's own metric reads labels or numbers.
    sample_weight : array-like or DataFrame of shape (n_samples,) or (n_samples, n_tasks), default=None
        Row weights >= 0, of which only the ratios within a task matter; a row of weight 0 counts as missing.
    task_names : sequence of str, default=None
        Keys of the result. None: the column names of `y_true`, else ``"0"``, ``"1"``, ...
    classes : list of n_tasks arrays, default=None
        The classes of each task, in the order of the columns of its probabilities; None for a task without classes.
        None: the sorted classes found.

    Returns
    -------
    dict
        One float per task name: NaN where the metric is undefined.

    Raises
    ------
    ValueError
        If shapes disagree, or the columns of a named table are not the tasks, in their order; if a
        prediction is missing or infinite; if a metric is unknown or does not fit its task; if labels are of another
        type than the predictions or `classes`, such as numbers beside strings.
    TypeError
        If `y_true`, `y_pred` or `sample_weight` is no table, such as a dict.

    Notes
    -----
    Labels are equal as they are in Python: ``1 == 1.0 == True``, and ``2**53 + 1 != float(2**53)``. A task of two
    classes has the greater one as its positive class, whichever of them `classes` holds. If just one class is known or
    found, 1 and True are positive, and of any other class ``"f1"``, ``"roc_auc"`` and ``"average_precision"`` are NaN.

    A target that is constant up to rounding has an R² and an explained variance of 1 if nothing remains unexplained,
    else of 0; its ``"rrmse"`` is NaN.

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


def _read_predictions(y_pred, metrics: list[TaskMetric], names: list[str]) -> list[np.ndarray]:
    """Return the predictions of each task: of a table, or of one entry per task where probabilities are read."""
    if all(m.reads != "probabilities" for m in metrics):
        return label_columns(read_targets(y_pred, "y_pred"), names, "y_pred")
    entries = per_task(y_pred, len(names), "y_pred")
    return [
        probabilities(entry, name) if m.reads == "probabilities" else _one_column(entry, name)
        for m, name, entry in zip(metrics, names, entries, strict=True)
    ]


def _one_column(entry, name: str) -> np.ndarray:
    what = f"The entry of y_pred for task {name!r}"
    return label_columns(replace(read_targets(entry, what), names=None), [name], what)[0]


def score_each(metrics: list[TaskMetric], names, table: TargetTable, predictions, weight, classes) -> dict[str, float]:
    """Return one score per task over its observed rows of positive weight."""
    scores = {}
    for t, (name, metric) in enumerate(zip(names, metrics, strict=True)):
        if len(predictions[t]) != len(table):
            raise ValueError(f"y has {len(table)} rows, but task {name!r} has {len(predictions[t])} predictions.")
        scored = table.observed[:, t] if weight is None else table.observed[:, t] & (weight[:, t] > 0)
        y, predicted = _rows(table.columns[t], scored), _rows(predictions[t], scored)
        own_weight = None if weight is None else weight[scored, t]
        scores[name] = ScoredTask(name, y, predicted, classes[t]).score(metric, own_weight) if len(y) else np.nan
    return scores


def _rows(values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Return a copy of the chosen rows: a user's own function may write on it."""
    return values.copy() if chosen.all() else values[chosen]


def classes_of_each(classes, names: list[str]) -> list:
    """Return the classes of each task, None where they are not known."""
    if classes is None:
        return [None] * len(names)
    entries = per_task(classes, len(names), "classes")
    for name, entry in zip(names, entries, strict=True):
        if not is_class_list(entry):
            raise ValueError(f"classes must hold one array per task, or None. Found {entry!r} for task {name!r}.")
    return entries


def metric_of_each(metric, names: list[str]) -> list[TaskMetric]:
    """Return the metric of each task from one for all or a dict by task name."""
    if not isinstance(metric, Mapping):
        return [find_metric(metric)] * len(names)
    return [find_metric(metric[name]) for name in check_keys(metric, names, "metric")]
