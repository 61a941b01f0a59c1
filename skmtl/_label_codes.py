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
        Labels of each task.
    observed : bool array of shape (n_samples, n_tasks)
        False where a label is missing.
    n_bins : int, default=5
        Bins of a column of numbers; fewer where it has less than two labels a bin.
    continuous : sequence of n_tasks bools, default=None
        Which columns are numbers to be binned. None: those that `is_continuous` names.

    Returns
    -------
    int array of shape (n_samples, n_tasks)
        Codes from 0 in every column, -1 where a label is missing.
    """
    codes = np.full(observed.shape, -1, dtype=np.int64, order="F")  # `assign_parts` reads it column by column
    for t, column in enumerate(columns):
        labels = column[observed[:, t]]
        binned = is_continuous(labels) if continuous is None else continuous[t]
        codes[observed[:, t], t] = _bins(labels, n_bins) if binned else _classes(labels)
    return codes


def is_continuous(labels: np.ndarray) -> bool:
    """Return whether a column is of numbers rather than classes.

    So are numbers with a fraction, as in scikit-learn's ``type_of_target``, and whole numbers most of which occur
    only once or twice (more than half as many different ones as labels), of which stratified parts could keep no share.

    Parameters
    ----------
    labels : array of shape (n_observed,)
        Observed labels.

    Returns
    -------
    bool
        True if the labels are to be binned.
    """
    if labels.dtype.kind not in "iuf":
        return False
    if labels.dtype.kind == "f" and (labels != np.floor(labels)).any():
        return True
    n_distinct = _n_distinct(labels)
    return n_distinct > 2 and n_distinct > len(labels) / 2


def _bins(labels: np.ndarray, n_bins: int) -> np.ndarray:
    n_bins = max(1, min(n_bins, len(labels) // 2))
    if n_bins == 1:
        return np.zeros(len(labels), dtype=np.int64)
    inner = np.arange(1, n_bins) / n_bins
    numbers = labels.astype(float, copy=False)
    edges = np.unique(np.quantile(numbers, inner, method="inverted_cdf"))
    return _classes(np.searchsorted(edges, numbers, side="left"))


def _classes(labels: np.ndarray) -> np.ndarray:
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
    """Return whole numbers less their lowest, if they are close enough to count each: far faster than sorting."""
    if labels.dtype.kind not in "biuf" or not len(labels):
        return None
    low, high = float(labels.min()), float(labels.max())
    if not (high - low < len(labels) and max(abs(low), abs(high)) < 2**53):
        return None
    whole = labels.astype(np.int64)
    return whole - int(low) if labels.dtype.kind != "f" or (whole == labels).all() else None
