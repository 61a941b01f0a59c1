"""Labels as the codes that stratification reads: classes as they are, numbers binned at their quantiles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def label_codes(
    columns: Sequence[np.ndarray],
    observed: np.ndarray,
    n_bins: int = 5,
    continuous: Sequence[bool] | None = None,
) -> np.ndarray:
    """Return the codes that `assign_parts` reads: classes as they are, numbers binned at their quantiles.

    Parameters
    ----------
    columns : list of n_tasks arrays of shape (n_samples,)
        Labels of each task; of fields with more axes, whether a row has labels is all that is read.
    observed : bool array of shape (n_samples, n_tasks)
        False where a label is missing.
    n_bins : int, default=5
        Bins of a column of numbers; fewer if a bin would have less than two labels.
    continuous : sequence of n_tasks bools, default=None
        Which columns are binned. None: those for which `is_continuous` returns True.

    Returns
    -------
    int array of shape (n_samples, n_tasks)
        Codes, numbered from 0 in each column; -1 where a label is missing.
    """
    codes = np.full(observed.shape, -1, dtype=np.int64, order="F")  # `assign_parts` reads it column by column
    for t, column in enumerate(columns):
        if column.ndim > 1:
            codes[observed[:, t], t] = 0
            continue
        labels = column[observed[:, t]]
        binned = is_continuous(labels) if continuous is None else continuous[t]
        codes[observed[:, t], t] = _bins(labels, n_bins) if binned else class_codes(labels)
    return codes


def is_continuous(labels: np.ndarray) -> bool:
    """Return whether the labels of a column are numbers to be binned rather than classes.

    They are if any number has a fraction, as in scikit-learn's ``type_of_target``, or if more than two
    integers, and more than half as many as there are labels, are distinct. Most of those occur only once, so parts
    could not have them in proportion.

    Parameters
    ----------
    labels : array of shape (n_observed,)
        Observed labels.

    Returns
    -------
    bool
        True for numbers to be binned, False for classes.
    """
    if labels.dtype.kind not in "iuf":
        return False
    if labels.dtype.kind == "f" and (labels != np.floor(labels)).any():
        return True
    n_distinct = _n_distinct(labels)
    return n_distinct > 2 and n_distinct > len(labels) / 2


def _bins(labels: np.ndarray, n_bins: int) -> np.ndarray:
    """Return the bin of each label, between quantiles: empty bins are left out, equal labels share one."""
    n_bins = max(1, min(n_bins, len(labels) // 2))
    if n_bins == 1:
        return np.zeros(len(labels), dtype=np.int64)
    inner = np.arange(1, n_bins) / n_bins
    numbers = labels.astype(float, copy=False)
    edges = np.unique(np.quantile(numbers, inner, method="inverted_cdf"))
    return class_codes(np.searchsorted(edges, numbers, side="left"))


def class_codes(labels: np.ndarray) -> np.ndarray:
    """Return the number of each label's class: sorted, or for objects, which may not be sortable, as first found."""
    if labels.dtype.kind == "O":
        position = {label: c for c, label in enumerate(dict.fromkeys(labels.tolist()))}
        return np.fromiter((position[v] for v in labels.tolist()), dtype=np.int64, count=len(labels))
    whole = _whole(labels)
    if whole is None:
        return np.unique(labels, return_inverse=True)[1]
    return (np.cumsum(np.bincount(whole) > 0) - 1)[whole]


def _n_distinct(labels: np.ndarray) -> int:
    whole = _whole(labels)
    if whole is not None:
        return int(np.count_nonzero(np.bincount(whole)))
    in_order = np.sort(labels)  # np.unique takes ten times as long where most numbers differ
    return len(labels[:1]) + int(np.count_nonzero(in_order[1:] != in_order[:-1]))


def _whole(labels: np.ndarray) -> np.ndarray | None:
    """Return integers minus their minimum, if their range is small enough to count each value; else None.

    Counting is far faster than sorting.
    """
    if labels.dtype.kind not in "biuf" or not len(labels):
        return None
    low, high = float(labels.min()), float(labels.max())  # beyond 2**53 these would be rounded
    if not (high - low < len(labels) and max(abs(low), abs(high)) < 2**53):
        return None
    whole = labels.astype(np.int64)
    return whole - int(low) if labels.dtype.kind != "f" or (whole == labels).all() else None
