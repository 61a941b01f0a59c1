"""Checks user input once, at the border of the package: X, y, weights and layer sizes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.utils.validation import check_consistent_length, validate_data

from skmtl._table import TargetTable, check_columns, read_targets
from skmtl._weights import by_name, read_weights
from skmtl.encoders import EncodedInput
from skmtl.sharing import AttentionSharing

_BAD_VALUES = re.compile(
    r"Input X contains|could not convert|float\(\) argument|must be a string or a real number|DType"
)
"""Phrases in messages of scikit-learn and numpy about values of X: these errors are raised again, with the column."""


def check_features(
    estimator: Any, X: Any, dtype: Any, reset: bool, may_lack_values: bool = False
) -> np.ndarray | sparse.sparray:
    """Return X as floats of shape (n_samples, n_features): an array, or a CSR matrix if X is sparse.

    Parameters
    ----------
    estimator : estimator
        Its `n_features_in_` and `feature_names_in_` are set if `reset`, else compared with X.
    X : array-like, tensor, frame or sparse matrix of shape (n_samples, n_features)
        Features.
    dtype : dtype or tuple of dtypes
        Allowed types; X is converted to the first unless it has one of them.
    reset : bool
        Whether X is the data of a new fit.
    may_lack_values : bool, default=False
        Whether NaN is allowed.
    """
    if estimator.encoder != "passthrough" if reset else estimator._entry is not None:
        return _encoded_rows(estimator, X, dtype, reset)
    if reset:
        estimator._entry = None
    if _is_plain(estimator, X, dtype, reset):
        if reset:
            estimator.n_features_in_ = X.shape[1]
            vars(estimator).pop("feature_names_in_", None)
        return X
    X = _as_table(estimator, X)
    try:
        finite = "allow-nan" if may_lack_values else True
        return validate_data(estimator, X, accept_sparse="csr", dtype=dtype, reset=reset, ensure_all_finite=finite)
    except (TypeError, ValueError) as error:
        if "array with dim" in str(error):
            raise ValueError(f"{error} An encoder reads rows of other shapes: encoder=ConvEncoder(), say.") from None
        column = _first_bad_column(X) if _BAD_VALUES.search(str(error)) else None
        if column is None:
            raise
        kind = TypeError if isinstance(error, TypeError) else ValueError
        remedy = "" if "infinity" in str(error) or sparse.issparse(X) else _remedy(estimator)
        raise kind(f"Column {column!r} of X must hold finite numbers. {error}{remedy}") from None


def _encoded_rows(estimator: Any, X: Any, dtype: Any, reset: bool) -> np.ndarray:
    """Return what encoders read of X as flat rows."""
    if sparse.issparse(X):
        raise TypeError("encoder= reads arrays. Found a sparse matrix: X.toarray() makes an array of it.")
    if np.ma.isMaskedArray(X):
        raise TypeError("encoder= reads arrays without masks. Found a masked array: fill its entries.")
    if reset:
        attends = estimator.sharing == AttentionSharing.name or isinstance(estimator.sharing, AttentionSharing)
        estimator._entry = EncodedInput(estimator.encoder, X, estimator._sites(), attends)
        estimator.n_features_in_ = estimator._entry.n_features
        vars(estimator).pop("feature_names_in_", None)
    allowed = [np.dtype(one) for one in (dtype if isinstance(dtype, tuple) else (dtype,))]
    own = estimator._entry.dtype
    return estimator._entry.rows(X, own if own in allowed else allowed[0])


def _remedy(estimator: Any) -> str:
    return (
        f"\nRead tables with missing values, categories, text or dates by "
        f"skmtl.table_pipeline({type(estimator).__name__}())."
    )


def _as_table(estimator: Any, X: Any) -> Any:
    """Return X in a container that scikit-learn reads; raise an error if scikit-learn would misread it."""
    if isinstance(X, Mapping) and not sparse.issparse(X):  # scipy's dok_matrix is a dict
        raise TypeError(
            "X must be a 2-D array, a list of rows or a frame. Found a dict: make it a DataFrame, or write "
            "skmtl.records(X) where an encoder reads its fields."
        )
    if getattr(getattr(X, "dtype", None), "names", None):
        fields = dict.fromkeys(X.dtype.names, "passthrough")
        raise TypeError(f"X is a structured array: name what reads each of its fields, such as encoder={fields}.")
    if np.ma.is_masked(X):
        raise ValueError(
            f"X must hold finite numbers. Found masked entries: fill them, or impute them.{_remedy(estimator)}"
        )
    column = _date_column(X)
    if column is not None:  # scikit-learn would count its nanoseconds
        raise TypeError(f"Column {column!r} of X must hold finite numbers. Found dates or times.{_remedy(estimator)}")
    return X.detach().cpu().numpy() if isinstance(X, torch.Tensor) else X


def _date_column(X: Any) -> Any:
    """Return the name or position of the first column whose type is that of dates, times or durations, or None."""
    if hasattr(X, "columns") and hasattr(X, "dtypes"):
        types = zip(X.columns, X.dtypes, strict=True)
    else:
        types = iter([(0, getattr(X, "dtype", ""))])
    marks = ("date", "time", "duration", "period")
    return next((name for name, dtype in types if str(dtype).lower().startswith(marks)), None)


def _is_plain(estimator: Any, X: Any, dtype: Any, reset: bool) -> bool:
    """Return whether X is an array that scikit-learn's checks would return unchanged.

    Those checks take 50 µs, more than half the time of predicting one row.
    """
    if type(X) is not np.ndarray or X.ndim != 2 or 0 in X.shape:
        return False
    if X.dtype not in (dtype if isinstance(dtype, tuple) else (dtype,)):
        return False
    if not reset and (X.shape[1] != estimator.n_features_in_ or "feature_names_in_" in vars(estimator)):
        return False
    with np.errstate(all="ignore"):
        return bool(np.isfinite(X.sum()))  # if a sum of finite numbers overflows, scikit-learn's checks decide


def _first_bad_column(X: Any) -> Any:
    """Return the name or position of the first column that holds NaN, infinity or no numbers; None if all are fine."""
    if sparse.issparse(X):
        entries = sparse.coo_array(X)
        bad = entries.col[~np.isfinite(entries.data)]
        return int(bad.min()) if len(bad) else None
    if hasattr(X, "columns"):
        columns = {name: np.asarray(X[name]) for name in X.columns}
    elif (table := np.asarray(X)).ndim == 2:
        columns = dict(enumerate(table.T))
    else:
        return None
    for name, column in columns.items():
        try:
            is_fine = column.dtype.kind not in "mM" and np.isfinite(column.astype(np.float64)).all()
        except (TypeError, ValueError):
            return name
        if not is_fine:
            return name
    return None


def check_targets(
    y: ArrayLike, X: np.ndarray, name: str = "y", tasks: Sequence[str] | None = None, may_lack_tasks: bool = False
) -> TargetTable:
    """Return the target table; raise ValueError if it does not suit X or cannot be learned.

    Parameters
    ----------
    y : array-like or frame of shape (n_samples,) or (n_samples, n_tasks)
        Targets; infinity is refused.
    X : array of shape (n_samples, n_features)
        Features, checked before.
    name : str, default="y"
        Name of `y` in error messages.
    tasks : sequence of str, default=None
        Names that the columns must have; None if the tasks are not yet known.
    may_lack_tasks : bool, default=False
        Whether a task may be without any label, as long as another one has some.
    """
    table = read_targets(y, name)
    check_consistent_length(X, table.observed)
    if tasks is not None:
        check_columns(table.names, table.n_columns, tasks, name)
    where = "" if name == "y" else f" in {name}"
    for task, labels, seen in zip(tasks or table.task_names(), table.columns, table.observed.T, strict=True):
        if _has_infinity(labels, seen):
            raise ValueError(
                f"Input {name} contains infinity or a value too large for dtype('float64'). Found in task {task!r}."
            )
        if not seen.any() and not (may_lack_tasks and table.observed.any()):
            raise ValueError(
                f"Task {task!r}: every label is missing{where}. Give at least one observed label, or drop the column."
            )
    return table


def _has_infinity(labels: np.ndarray, seen: np.ndarray) -> bool:
    if labels.dtype.kind == "O":
        return any(isinstance(v, (float, Decimal)) and math.isinf(v) for v in labels[seen].ravel())
    return labels.dtype.kind == "f" and bool(np.isinf(labels[seen]).any())


def check_label_weights(
    sample_weight: ArrayLike | None, table: TargetTable, tasks: Sequence[str], may_lack_tasks: bool = False
) -> np.ndarray | None:
    """Return the weight of each label, (n_samples, n_tasks), 0 where it is missing; None if every weight is 1."""
    missing = not table.observed.all()
    if sample_weight is None:
        return table.observed.astype(np.float64) if missing else None
    weight = read_weights(sample_weight, len(table), tasks)
    if not missing and (weight == 1).all():
        return None
    weight = np.where(table.observed, weight, 0.0)
    check_some_weight(weight, table, tasks, may_lack_tasks)
    return weight


def check_some_weight(weight: np.ndarray, table: TargetTable, tasks: Sequence[str], may_lack_tasks: bool) -> None:
    """Raise ValueError if all weights are zero or, unless tasks may be lacking, all those of one task with labels."""
    empty = table.observed.any(axis=0) & ~(weight > 0).any(axis=0)
    if not (weight > 0).any():
        raise ValueError("Sample weights must contain at least one non-zero number. Found only zeros.")
    if empty.any() and not may_lack_tasks:
        task = tasks[int(np.flatnonzero(empty)[0])]
        raise ValueError(
            f"Task {task!r}: every observed label has weight zero. Give one of them a positive weight, or drop the "
            f"column."
        )


def check_task_weights(task_weights: ArrayLike | Mapping | None, names: Sequence[str]) -> np.ndarray | None:
    """Return the fixed weight of each task, (n_tasks,), 1 for tasks that a dict leaves out; None if none are given."""
    if task_weights is None:
        return None
    named = by_name(task_weights)
    if named is not None:
        check_task_names(named, names, "task_weights")
    given = task_weights if named is None else [named.get(name, 1.0) for name in names]
    try:
        weights = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"task_weights must hold numbers. Found {task_weights!r}.") from error
    if weights.shape != (len(names),):
        raise ValueError(
            f"task_weights must hold one weight for each of the {len(names)} tasks. Found shape {weights.shape}."
        )
    if not np.isfinite(weights).all() or (weights < 0).any() or not (weights > 0).any():
        raise ValueError(f"task_weights must be finite, >= 0 and not all zero. Found {weights.tolist()}.")
    return weights


def check_task_names(given: Mapping, names: Sequence[str], parameter: str) -> None:
    """Raise ValueError if a key is not the name of a task."""
    unknown = [key for key in given if key not in names]
    if unknown:
        known = ", ".join(repr(name) for name in names[:20])
        raise ValueError(f"{parameter} names unknown tasks {unknown}. The tasks are {known}.")


def check_layer_sizes(sizes: Any, parameter: str) -> tuple[int, ...]:
    """Return layer widths as a tuple of positive ints; a single int means one layer."""
    try:
        widths = tuple(sizes) if np.ndim(sizes) else (sizes,)
    except ValueError:  # nested lists of unequal lengths
        widths = (None,)
    for width in widths:
        is_whole = isinstance(width, (int, np.integer)) and not isinstance(width, bool)
        if not is_whole or not 1 <= width < 2**31:
            raise ValueError(f"{parameter} must hold integers from 1 to 2**31 - 1. Found {sizes!r}.")
    return tuple(int(width) for width in widths)
