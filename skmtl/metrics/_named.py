"""The metrics of one task, by name: observed labels and predictions in, one number out, NaN where undefined.

Each metric declares what it reads. Most metrics of classes receive each label's position among the sorted classes, so
they work for strings and mixed objects, too; accuracy compares the labels themselves.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from skmtl.metrics import _of_classes as of_classes
from skmtl.metrics import _of_numbers as of_numbers

Weight = np.ndarray | None


@dataclass(frozen=True)
class TaskMetric:
    """One metric of one task.

    Attributes
    ----------
    name : str
        Name in messages.
    reads : {"positions", "labels", "probabilities", "numbers", "as given"}
        What the function receives: true and predicted classes as positions among the sorted classes, or as the labels
        themselves; positions of true classes, and probabilities; numbers; or, for a function of the user, true and
        predicted labels unchanged.
    function : callable (y_true, prediction, weight) -> float
        Called with at least one row; all rows are observed and have positive weight. Returns NaN where the metric is
        undefined. Weights are divided by the largest, except for a function of the user.
    sign : {1, -1}
        -1 for the metrics named ``"neg_..."``.
    is_loss : bool
        True if smaller is better.
    two_classes : bool
        True if the metric is defined for two classes only.
    """

    name: str
    reads: str
    function: Callable[[np.ndarray, np.ndarray, Weight], float]
    sign: int = 1
    is_loss: bool = False
    two_classes: bool = False

    def __call__(self, y_true: np.ndarray, prediction: np.ndarray, weight: Weight) -> float:
        score = self.function(y_true, prediction, weight)
        try:
            return self.sign * float(score)
        except TypeError:
            raise ValueError(f"Metric {self.name!r} must return one number for a task. Found {score!r}.") from None


def find_metric(metric: str | Callable[..., Any]) -> TaskMetric:
    """Return the metric with a name, or one that calls a function ``f(y_true, y_pred)``.

    Raises
    ------
    ValueError
        If no metric has that name.
    TypeError
        If `metric` is neither a name nor callable.
    """
    if callable(metric):
        name = getattr(metric, "__name__", repr(metric))
        return TaskMetric(name, "as given", _UserFunction(metric, name))
    if not isinstance(metric, str):
        raise TypeError(f"A metric must be a name or a function f(y_true, y_pred). Found {metric!r}.")
    if metric not in METRICS:
        raise ValueError(f"Unknown metric {metric!r}. Known metrics: {', '.join(sorted(METRICS))}.")
    return METRICS[metric]


@dataclass(frozen=True)
class _UserFunction:
    """A function of the user, which may or may not have a parameter `sample_weight`."""

    function: Callable[..., Any]
    name: str

    def __call__(self, y: np.ndarray, prediction: np.ndarray, weight: Weight) -> Any:
        if weight is None:
            return self.function(y, prediction)
        if "sample_weight" not in inspect.signature(self.function).parameters:
            raise ValueError(
                f"sample_weight was given, but metric {self.name!r} takes none. Add a parameter sample_weight to it, "
                "or score without weights."
            )
        return self.function(y, prediction, sample_weight=weight)


_GAINS = {
    "accuracy": ("labels", of_classes.accuracy),
    "balanced_accuracy": ("positions", of_classes.balanced_accuracy),
    "f1_macro": ("positions", of_classes.f1_macro),
    "roc_auc": ("probabilities", of_classes.roc_auc),
    "average_precision": ("probabilities", of_classes.average_precision),
    "r2": ("numbers", of_numbers.r2),
    "explained_variance": ("numbers", of_numbers.explained_variance),
}
_LOSSES = {
    "log_loss": ("probabilities", of_classes.log_loss),
    "mean_absolute_error": ("numbers", of_numbers.mean_absolute_error),
    "mean_squared_error": ("numbers", of_numbers.mean_squared_error),
    "root_mean_squared_error": ("numbers", of_numbers.root_mean_squared_error),
    "rrmse": ("numbers", of_numbers.rrmse),
}

METRICS: dict[str, TaskMetric] = (
    {name: TaskMetric(name, *row) for name, row in _GAINS.items()}
    | {"f1": TaskMetric("f1", "positions", of_classes.f1, two_classes=True)}
    | {name: TaskMetric(name, *row, is_loss=True) for name, row in _LOSSES.items()}
    | {f"neg_{name}": TaskMetric(f"neg_{name}", *row, sign=-1) for name, row in _LOSSES.items()}
)
