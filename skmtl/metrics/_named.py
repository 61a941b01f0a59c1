"""The metrics of one task, by name: observed labels and predictions in, one number out, NaN where undefined.

A metric says what it reads. Functions of ``"labels"`` and of ``"probabilities"`` see class positions, never the labels
themselves, so strings and mixed objects need no care here; ``"raw labels"`` are only compared.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import (
    average_precision_score,
    explained_variance_score,
    f1_score,
    log_loss,
    recall_score,
    roc_auc_score,
)

__all__ = ["METRICS", "TaskMetric", "find_metric"]

Weight = np.ndarray | None


@dataclass(frozen=True)
class TaskMetric:
    """One metric of one task.

    Attributes
    ----------
    name : str
        How messages call it.
    reads : {"labels", "raw labels", "probabilities", "numbers", "as given"}
        What the function receives: ``"as given"`` is a user's own function, for labels or numbers.
    function : callable (y_true, prediction, weight) -> float
        Over observed rows of positive weight, at least one; NaN where the metric is undefined.
    sign : {1, -1}
        -1 for a ``"neg_"`` name.
    is_loss : bool
        True if smaller is better.
    two_classes : bool
        True if the metric has no meaning for more than two classes.
    """

    name: str
    reads: str
    function: Callable[[np.ndarray, np.ndarray, Weight], float]
    sign: int = 1
    is_loss: bool = False
    two_classes: bool = False

    def __call__(self, y_true: np.ndarray, prediction: np.ndarray, weight: Weight) -> float:
        return self.sign * float(self.function(y_true, prediction, weight))


def find_metric(metric: str | Callable) -> TaskMetric:
    """Return the metric of a name, or wrap a function ``f(y_true, y_pred)``.

    Raises
    ------
    ValueError
        If no metric has that name.
    TypeError
        If `metric` is neither a name nor callable.
    """
    if callable(metric):
        name = getattr(metric, "__name__", repr(metric))
        return TaskMetric(name, "as given", _OwnFunction(metric, name))
    if not isinstance(metric, str):
        raise TypeError(f"A metric must be a name or a function f(y_true, y_pred). Found {metric!r}.")
    if metric not in METRICS:
        raise ValueError(f"Unknown metric {metric!r}. Known metrics: {', '.join(sorted(METRICS))}.")
    return METRICS[metric]


@dataclass(frozen=True)
class _OwnFunction:
    """A user's function, given weights only if it can take them."""

    function: Callable
    name: str

    def __call__(self, y, prediction, weight: Weight):
        if weight is None:
            return self.function(y, prediction)
        if "sample_weight" not in inspect.signature(self.function).parameters:
            raise ValueError(
                f"sample_weight was given, but metric {self.name!r} takes none. Add a parameter sample_weight to it, "
                "or score without weights."
            )
        return self.function(y, prediction, sample_weight=weight)


def _mean(values, weight):
    """Return what `np.average` does, which takes twice as long to see that there are no weights."""
    return values.mean() if weight is None else np.average(values, weights=weight)


def _accuracy(y, predicted, weight):
    return _mean(y == predicted, weight)


def _balanced_accuracy(y, predicted, weight):
    return recall_score(y, predicted, labels=np.unique(y), average="macro", sample_weight=weight, zero_division=0.0)


def _f1_macro(y, predicted, weight):
    return f1_score(y, predicted, average="macro", sample_weight=weight, zero_division=0.0)


def _f1(y, predicted, weight):
    """Return the F1 of class position 1: 0/0, when that class is neither observed nor predicted, is undefined."""
    return f1_score(y == 1, predicted == 1, sample_weight=weight, zero_division=np.nan)


def _roc_auc(y, proba, weight):
    return _one_vs_rest(roc_auc_score, y, proba, weight) if y.min() < y.max() else np.nan


def _average_precision(y, proba, weight):
    return _one_vs_rest(average_precision_score, y, proba, weight)


def _one_vs_rest(score, y, proba, weight):
    """Score the positive class of two, or average over the classes present, each against the rest."""
    present = set(np.unique(y).tolist())
    scored = present & {1} if proba.shape[1] <= 2 else present
    values = [score(y == c, proba[:, c], sample_weight=weight) for c in sorted(scored)]
    return np.mean(values) if values else np.nan


def _log_loss(y, proba, weight):
    if proba.shape[1] == 1:  # of one class scikit-learn refuses to say that nothing can be lost
        return 0.0
    return log_loss(y, proba, labels=np.arange(proba.shape[1]), sample_weight=weight)


def _r2(y, predicted, weight):
    """Return scikit-learn's R²; its own function takes a millisecond to check what has been checked before."""
    if len(y) < 2:
        return np.nan
    residual, total = _mse(y, predicted, weight), _mse(y, _mean(y, weight), weight)
    if total == 0:  # a constant target
        return 1.0 if residual == 0 else 0.0
    return 1.0 - residual / total


def _explained_variance(y, predicted, weight):
    return explained_variance_score(y, predicted, sample_weight=weight) if len(y) > 1 else np.nan


def _mae(y, predicted, weight):
    return _mean(np.abs(y - predicted), weight)


def _mse(y, predicted, weight):
    return _mean((y - predicted) ** 2, weight)


def _rmse(y, predicted, weight):
    return np.sqrt(_mse(y, predicted, weight))


def _rrmse(y, predicted, weight):
    mean = np.full(len(y), _mean(y, weight))
    variance = _mse(y, mean, weight)
    return np.sqrt(_mse(y, predicted, weight) / variance) if variance > 0 else np.nan


_GAINS = {
    "accuracy": ("raw labels", _accuracy),
    "balanced_accuracy": ("labels", _balanced_accuracy),
    "f1_macro": ("labels", _f1_macro),
    "roc_auc": ("probabilities", _roc_auc),
    "average_precision": ("probabilities", _average_precision),
    "r2": ("numbers", _r2),
    "explained_variance": ("numbers", _explained_variance),
}
_LOSSES = {
    "log_loss": ("probabilities", _log_loss),
    "mean_absolute_error": ("numbers", _mae),
    "mean_squared_error": ("numbers", _mse),
    "root_mean_squared_error": ("numbers", _rmse),
    "rrmse": ("numbers", _rrmse),
}

METRICS: dict[str, TaskMetric] = (
    {name: TaskMetric(name, *row) for name, row in _GAINS.items()}
    | {"f1": TaskMetric("f1", "labels", _f1, two_classes=True)}
    | {name: TaskMetric(name, *row, is_loss=True) for name, row in _LOSSES.items()}
    | {f"neg_{name}": TaskMetric(f"neg_{name}", *row, sign=-1) for name, row in _LOSSES.items()}
)
