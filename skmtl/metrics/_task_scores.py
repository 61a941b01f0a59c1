"""One score per task from arrays: each task on its observed rows of positive weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from skmtl._table import TargetTable, check_distinct, observed_in, read_targets
from skmtl.metrics._named import TaskMetric, find_metric

__all__ = [
    "check_keys",
    "check_names",
    "classes_of_each",
    "label_columns",
    "metric_of_each",
    "per_task",
    "score_each",
    "task_scores",
    "weight_of_each",
]


def task_scores(metric, y_true, y_pred, *, sample_weight=None, task_names=None, classes=None):
    """Score every task on its observed labels.

    Parameters
    ----------
    metric : str, callable or dict
        One metric, or the metric of each task by name. See `make_task_scorer` for the names. Here a value is what the
        name says: ``"rrmse"`` is a loss >= 0, ``"neg_rrmse"`` its negative.
    y_true : array-like or DataFrame of shape (n_samples,) or (n_samples, n_tasks)
        True labels; NaN, None and NA are missing and skipped.
    y_pred : array-like or DataFrame of the shape of `y_true`, or list
        Predicted labels. If a metric reads probabilities: a list with one array per task, of shape
        (n_samples, n_classes_t), or (n_samples,) where the task's own metric reads labels or numbers.
    sample_weight : array-like of shape (n_samples,) or (n_samples, n_tasks), default=None
        Row weights >= 0; a row of weight 0 counts as missing.
    task_names : sequence of str, default=None
        Keys of the result. None: the columns of a DataFrame `y_true`, else ``"0"``, ``"1"``, ...
    classes : list of n_tasks arrays, default=None
        The classes of each task, in the order of the columns of its probabilities. None: the sorted classes found.

    Returns
    -------
    dict
        One float per task name: NaN where the metric is undefined.

    Raises
    ------
    ValueError
        If shapes disagree, a prediction is missing or infinite, a metric is unknown or does not fit its task.

    Examples
    --------
    >>> from skmtl.metrics import task_scores
    >>> y = [["a", 1], ["b", None], [None, 0], ["b", 1]]
    >>> task_scores("accuracy", y, [["a", 1], ["a", 1], ["a", 0], ["a", 0]])
    {'0': 0.333..., '1': 0.666...}
    """
    table = read_targets(y_true, "y_true")
    names = check_names(table.task_names() if task_names is None else list(task_names), table)
    metrics = metric_of_each(metric, names)
    if any(m.reads == "probabilities" for m in metrics):
        predictions = [np.asarray(p) for p in per_task(y_pred, table.n_columns, "y_pred")]
    else:
        predictions = label_columns(y_pred, table.n_columns)
    weight = weight_of_each(sample_weight, table)
    return score_each(metrics, names, table, predictions, weight, classes_of_each(classes, names))


def score_each(metrics: list[TaskMetric], names, table: TargetTable, predictions, weight, classes) -> dict[str, float]:
    """Return one score per task over its observed rows of positive weight."""
    scores = {}
    for t, (name, metric) in enumerate(zip(names, metrics, strict=True)):
        if len(predictions[t]) != len(table):
            raise ValueError(f"y has {len(table)} rows, but task {name!r} has {len(predictions[t])} predictions.")
        keep = table.observed[:, t] if weight is None else table.observed[:, t] & (weight[:, t] > 0)
        task = _Task(name, table.columns[t][keep], np.asarray(predictions[t])[keep], classes[t])
        own_weight = None if weight is None else weight[keep, t]
        scores[name] = metric(*task.read_as(metric), own_weight) if keep.any() else np.nan
    return scores


@dataclass(frozen=True)
class _Task:
    """The scored rows of one task, read as its metric wants them."""

    name: str
    y: np.ndarray
    prediction: np.ndarray
    classes: Sequence | None

    def read_as(self, metric: TaskMetric) -> tuple[np.ndarray, np.ndarray]:
        if metric.reads == "probabilities":
            return self._probabilities(metric)
        self._check_complete()
        if metric.reads == "as given":
            return self.y, self.prediction
        if metric.reads == "numbers":
            return self._numbers(self.y, metric), self._numbers(self.prediction, metric)
        self._check_family()
        return self._labels(metric) if metric.reads == "labels" else (self.y, self.prediction)

    def _labels(self, metric: TaskMetric):
        """Return true and predicted labels as positions among the classes."""
        classes, (y, prediction) = _positions(self.classes, self.y, self.prediction)
        if metric.two_classes and len(classes) > 2:
            raise ValueError(
                f"Task {self.name!r}: {metric.name} needs two classes, found {len(classes)}. Use 'f1_macro'."
            )
        return y, prediction

    def _probabilities(self, metric: TaskMetric):
        """Return label positions, and probabilities with a column of zeros for each class the model never saw."""
        proba = self.prediction
        known, (y,) = _positions(self.classes, self.y)
        n_known = len(known) if self.classes is None else len(self.classes)
        if proba.ndim != 2 or proba.shape[1] != n_known or proba.dtype.kind not in "fiu":
            raise ValueError(
                f"Task {self.name!r}: {metric.name} needs probabilities of shape (n_samples, {n_known}), one column "
                f"per class. Found shape {proba.shape}. Pass the result of predict_proba, and its columns' classes."
            )
        if not np.isfinite(proba).all():
            raise ValueError(f"Task {self.name!r}: {metric.name} needs finite probabilities. Found NaN or infinity.")
        unseen = np.zeros((len(proba), len(known) - n_known), dtype=proba.dtype)
        return y, np.hstack([proba, unseen])

    def _numbers(self, values: np.ndarray, metric: TaskMetric) -> np.ndarray:
        try:
            numbers = values.astype(np.float64)
        except (TypeError, ValueError):
            raise ValueError(f"Task {self.name!r}: {metric.name} needs numbers. Found labels {values[:3]!r}.") from None
        if not np.isfinite(numbers).all():
            raise ValueError(f"Task {self.name!r}: {metric.name} needs finite numbers. Found infinity.")
        return numbers

    def _check_family(self):
        if {_family(self.y), _family(self.prediction)} == {"strings", "numbers"}:
            raise ValueError(
                f"Task {self.name!r}: labels are {_family(self.y)}, predictions are {_family(self.prediction)}. "
                "Score on the labels that the estimator was fitted on."
            )

    def _check_complete(self):
        observed = observed_in(self.prediction)
        if not observed.all():
            raise ValueError(
                f"Task {self.name!r}: every row with an observed label must have a prediction. "
                f"Found {int((~observed).sum())} missing predictions among {len(self.y)}."
            )


def _family(labels: np.ndarray) -> str:
    return {"U": "strings", "S": "strings", "O": "objects"}.get(labels.dtype.kind, "numbers")


def _positions(classes: Sequence | None, *columns: np.ndarray) -> tuple[list, list[np.ndarray]]:
    """Return the classes, those given first, then the new ones found, and each column as positions among them."""
    found = [_distinct(column) for column in columns]
    known = [] if classes is None else np.asarray(classes, dtype=object).tolist()
    fresh = set().union(*(labels for labels, _ in found)).difference(known)
    known += sorted(fresh, key=lambda label: (isinstance(label, str), label))
    position = {label: p for p, label in enumerate(known)}
    return known, [np.array([position[v] for v in labels], dtype=np.intp)[inverse] for labels, inverse in found]


def _distinct(labels: np.ndarray) -> tuple[list, np.ndarray]:
    if labels.dtype.kind != "O":
        values, inverse = np.unique(labels, return_inverse=True)
        return values.tolist(), inverse
    position = {label: p for p, label in enumerate(dict.fromkeys(labels.tolist()))}
    return list(position), np.fromiter((position[v] for v in labels.tolist()), dtype=np.intp, count=len(labels))


def label_columns(y_pred: ArrayLike, n_tasks: int) -> list[np.ndarray]:
    """Return predicted labels per task; a missing prediction is None."""
    table = read_targets(y_pred, "y_pred")
    if table.n_columns != n_tasks:
        raise ValueError(f"y has {n_tasks} columns, but the predictions have {table.n_columns}.")
    nothing = np.array([None], dtype=object)
    return [
        column if seen.all() else np.where(seen, column.astype(object), nothing)
        for column, seen in zip(table.columns, table.observed.T, strict=True)
    ]


def per_task(values, n_tasks: int, what: str) -> list:
    """Return one entry per task; with one target scikit-learn gives a bare array."""
    entries = list(values) if isinstance(values, (list, tuple)) else [values]
    if len(entries) != n_tasks:
        raise ValueError(f"{what} must have one entry per task: {n_tasks}. Found {len(entries)}.")
    return entries


def classes_of_each(classes, names: list[str]) -> list:
    """Return the classes of each task, None where they are not known."""
    return [None] * len(names) if classes is None else per_task(classes, len(names), "classes")


def check_names(names: list[str], table: TargetTable) -> list[str]:
    """Return the task names if they fit the table, one each, all different, in its order."""
    if len(names) != table.n_columns:
        raise ValueError(f"y must have one column per task: {len(names)}. Found {table.n_columns}.")
    check_distinct(names)
    if table.names and table.names != names and set(table.names) == set(names):
        raise ValueError(f"The columns of y must be in the order of the tasks: {names}. Found {table.names}.")
    return names


def metric_of_each(metric, names: list[str]) -> list[TaskMetric]:
    """Return the metric of each task from one for all or a dict by task name."""
    if not isinstance(metric, Mapping):
        return [find_metric(metric)] * len(names)
    return [find_metric(metric[name]) for name in check_keys(metric, names, "metric")]


def check_keys(by_task: Mapping, names: list[str], what: str) -> list[str]:
    """Return the names if the dict has exactly these keys."""
    unknown, absent = [k for k in by_task if k not in names], [k for k in names if k not in by_task]
    if unknown or absent:
        raise ValueError(
            f"{what} as a dict must name every task once. Unknown: {unknown}. Missing: {absent}. Tasks: {names}."
        )
    return names


def weight_of_each(sample_weight, table: TargetTable) -> np.ndarray | None:
    """Return weights of shape (n_samples, n_tasks), or None."""
    if sample_weight is None:
        return None
    weight = np.asarray(sample_weight, dtype=np.float64)
    if weight.shape not in [(len(table),), table.observed.shape]:
        raise ValueError(
            f"sample_weight must have shape {(len(table),)} or {table.observed.shape}. Found {weight.shape}."
        )
    if not (np.isfinite(weight).all() and (weight >= 0).all()):
        raise ValueError("sample_weight must be finite and >= 0. Found negative or infinite values, or NaN.")
    return np.broadcast_to(weight.reshape(len(table), -1), table.observed.shape)
