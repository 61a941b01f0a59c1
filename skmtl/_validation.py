"""X, y and weights as given become checked arrays: the border at which user input is refused."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import _check_sample_weight, check_array, check_consistent_length, validate_data

from skmtl._table import TargetTable, read_targets

_BAD_VALUES = re.compile("Input X contains|could not convert")  # in the messages of scikit-learn and numpy


def check_features(estimator, X, dtype, reset: bool) -> np.ndarray:
    """Return X as a float array of shape (n_samples, n_features)."""
    if not reset and _is_plain(estimator, X, dtype):
        return X
    try:
        return validate_data(estimator, X, dtype=dtype, reset=reset)
    except ValueError as error:
        column = _first_bad_column(X) if _BAD_VALUES.search(str(error)) else None
        if column is None:
            raise
        raise ValueError(f"Column {column!r} of X must hold finite numbers. {error}") from None


def _is_plain(estimator, X, dtype) -> bool:
    """Say whether X is an array that scikit-learn's checks would return as it is.

    They take 50 µs, more than half of the prediction of one row.
    """
    if type(X) is not np.ndarray or X.dtype != dtype or X.ndim != 2 or len(X) == 0:
        return False
    if X.shape[1] != estimator.n_features_in_ or "feature_names_in_" in vars(estimator):
        return False
    with np.errstate(all="ignore"):
        return bool(np.isfinite(X.sum()))


def _first_bad_column(X):
    """Return the name or number of the first column with NaN, infinity or what is no number; None if X has none."""
    table = np.asarray(X)
    if table.ndim != 2:
        return None
    for name, column in zip(getattr(X, "columns", range(table.shape[1])), table.T, strict=True):
        try:
            is_fine = np.isfinite(column.astype(np.float64)).all()
        except (TypeError, ValueError):
            return name
        if not is_fine:
            return name
    return None


def check_targets(y: ArrayLike, X: np.ndarray, name: str = "y", may_lack_tasks: bool = False) -> TargetTable:
    """Return the target table; refuse infinity, a wrong length and, unless it may, a task without a label."""
    table = read_targets(y, name)
    check_consistent_length(X, table.observed)
    place = "" if name == "y" else f" in {name}"
    for task, labels, seen in zip(table.task_names(), table.columns, table.observed.T, strict=True):
        if labels.dtype.kind == "f" and np.isinf(labels[seen]).any():
            raise ValueError(
                f"Input {name} contains infinity or a value too large for dtype('float64'). Found in task {task!r}."
            )
        if not seen.any() and not (may_lack_tasks and table.observed.any()):
            raise ValueError(
                f"Task {task!r}: every label is missing{place}. Give at least one observed label, or drop the column."
            )
    return table


def check_label_weights(sample_weight: ArrayLike | None, table: TargetTable, X: np.ndarray) -> np.ndarray | None:
    """Return the weight of each label, (n_samples, n_tasks) and 0 where missing; None if all are observed and equal."""
    if sample_weight is None:
        return None if table.observed.all() else table.observed.astype(np.float64)
    weight = np.asarray(sample_weight)
    if weight.ndim and weight.shape not in (table.observed.shape[:1], table.observed.shape):
        raise ValueError(
            f"sample_weight must have shape {table.observed.shape[:1]} or {table.observed.shape}. Found {weight.shape}."
        )
    if weight.ndim > 1:
        weight = check_array(weight, dtype=np.float64, input_name="sample_weight")
        if (weight < 0).any():
            raise ValueError("Negative values in data passed to `sample_weight`.")
    else:
        weight = _check_sample_weight(
            sample_weight if weight.ndim == 0 else weight, X, dtype=np.float64, ensure_non_negative=True
        )[:, None]
    weight = np.where(table.observed, weight, 0.0)
    check_some_weight(weight, table)
    return weight


def check_some_weight(weight: np.ndarray, table: TargetTable) -> None:
    """Refuse a task all of whose observed labels weigh nothing."""
    empty = table.observed.any(axis=0) & ~(weight > 0).any(axis=0)
    if not (weight > 0).any():
        raise ValueError("Sample weights are all zero: there is nothing to fit. Give at least one positive weight.")
    if empty.any():
        task = table.task_names()[int(np.flatnonzero(empty)[0])]
        raise ValueError(
            f"Task {task!r}: every observed label has weight zero. Give one of them a positive weight, or drop the "
            f"column."
        )


def check_task_weights(task_weights: ArrayLike | Mapping | None, names: Sequence[str]) -> np.ndarray | None:
    """Return the fixed weight of each task, (n_tasks,), or None for all 1; tasks a dict leaves out weigh 1."""
    if task_weights is None:
        return None
    by_name = isinstance(task_weights, Mapping)
    if by_name:
        check_task_names(task_weights, names, "task_weights")
    given = [task_weights.get(name, 1.0) for name in names] if by_name else task_weights
    try:
        weights = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"task_weights must hold numbers. Found {task_weights!r}.") from error
    if weights.shape != (len(names),):
        raise ValueError(
            f"task_weights must hold one weight for each of the {len(names)} tasks. Found shape {weights.shape}."
        )
    if not np.isfinite(weights).all() or (weights < 0).any() or not (weights > 0).any():
        raise ValueError(f"task_weights must be finite, >= 0 and not all zero. Found {weights.tolist()}.")
    return weights


def check_task_names(given: Mapping, names: Sequence[str], parameter: str) -> None:
    """Refuse keys that are no task."""
    unknown = [key for key in given if key not in names]
    if unknown:
        known = ", ".join(repr(name) for name in names[:20])
        raise ValueError(f"{parameter} names unknown tasks {unknown}. The tasks are {known}.")


def check_layer_sizes(sizes, parameter: str) -> tuple[int, ...]:
    """Return layer widths as a tuple of positive ints; a single int is one layer."""
    widths = tuple(sizes) if np.ndim(sizes) else (sizes,)
    for width in widths:
        if not isinstance(width, (int, np.integer)) or isinstance(width, bool) or width < 1:
            raise ValueError(f"{parameter} must hold integers >= 1. Found {sizes!r}.")
    return tuple(int(width) for width in widths)
